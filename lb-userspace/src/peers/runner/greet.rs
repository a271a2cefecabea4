//! From a TCP connection to a peer that has proved its key and said its greeting.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::shared::Shared;
use crate::peers::noise::{Channel, Handshake, LONGEST_HANDSHAKE};
use crate::peers::wire::Greeting;

/// Connecting, handshake and greeting together may take so long.
pub const GREETING: Duration = Duration::from_secs(5);

/// A greeting's frame at most; this version's has about 60 bytes.
const LONGEST_GREETING: usize = 512;

/// A connection over which a peer has greeted.
pub struct Met {
    pub stream: TcpStream,
    pub channel: Channel,
    /// The peer's greeting, as it came.
    pub greeting: Vec<u8>,
    /// The number of its run.
    pub instance: u64,
    /// This director called, and has greeted.
    pub called: bool,
    pub since: Instant,
}

/// Calls a peer.
pub async fn call(shared: &Shared, address: SocketAddr) -> Result<Met, String> {
    let met = timeout(GREETING, async {
        let mut stream = connect(shared.listen, address).await.map_err(|error| format!("can't be reached: {error}"))?;
        let mut handshake = Handshake::call(&shared.key).map_err(|error| error.to_string())?;
        let hello = handshake.write().map_err(|error| error.to_string())?;
        stream.write_all(&hello).await.map_err(ended)?;
        let reply = read(&mut stream, LONGEST_HANDSHAKE).await.map_err(ended)?;
        handshake.read(&reply).map_err(|_| "has another key: copy one key_file to all directors")?;
        let mut channel = handshake.finish().map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        channel.seal(&shared.own.encode(), &mut out).map_err(|error| error.to_string())?;
        stream.write_all(&out).await.map_err(ended)?;
        finish(stream, channel, true).await
    });
    met.await.unwrap_or_else(|_| Err(format!("can't be reached: no answer within {} s", GREETING.as_secs())))
}

/// Answers one that called.
pub async fn answer(shared: &Shared, mut stream: TcpStream) -> Result<Met, String> {
    let met = timeout(GREETING, async {
        let _ = stream.set_nodelay(true);
        let mut handshake = Handshake::answer(&shared.key).map_err(|error| error.to_string())?;
        let hello =
            read(&mut stream, LONGEST_HANDSHAKE).await.map_err(|error| format!("called and hung up: {error}"))?;
        let stranger = "called with another key, and was refused: copy one key_file to all directors";
        handshake.read(&hello).map_err(|_| stranger)?;
        let reply = handshake.write().map_err(|error| error.to_string())?;
        stream.write_all(&reply).await.map_err(|error| error.to_string())?;
        let channel = handshake.finish().map_err(|error| error.to_string())?;
        finish(stream, channel, false).await
    });
    met.await.unwrap_or_else(|_| Err(format!("called, and said nothing within {} s", GREETING.as_secs())))
}

async fn finish(mut stream: TcpStream, mut channel: Channel, called: bool) -> Result<Met, String> {
    let sealed = read(&mut stream, LONGEST_GREETING).await.map_err(ended)?;
    let mut greeting = Vec::new();
    channel.open(&sealed, &mut greeting).map_err(|_| "repeats what another said, and was refused")?;
    let instance = Greeting::parse(&greeting).map_err(|error| error.to_string())?.instance;
    Ok(Met { stream, channel, greeting, instance, called, since: Instant::now() })
}

fn ended(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "ended the connection before it greeted: have both the same key_file, and each the other in `addresses`?"
                .to_owned()
        }
        _ => format!("can't be talked to: {error}"),
    }
}

async fn connect(own: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The other one knows this director by its address.
    socket
        .bind(SocketAddr::new(own.ip(), 0))
        .map_err(|error| io::Error::new(error.kind(), format!("this director's own address {}: {error}", own.ip())))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One message behind its length.
async fn read(stream: &mut TcpStream, most: usize) -> io::Result<Vec<u8>> {
    let size = usize::from(stream.read_u16().await?);
    if size > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what it says isn't of this protocol"));
    }
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
