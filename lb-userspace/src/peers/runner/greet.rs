//! From a TCP connection to a peer that has proved its key and said its greeting.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::shared::Shared;
use crate::peers::noise::{Channel, Forged, Handshake, LONGEST_HANDSHAKE};
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

/// Why a peer isn't met, in words that follow its address.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Nobody answers.
    #[error("can't be reached: {0}")]
    Unreached(String),
    /// It has another key, as it seems.
    #[error("{0}")]
    OtherKey(&'static str),
    /// Somebody answers who can't be talked to.
    #[error("{0}")]
    Refused(String),
}

impl Failed {
    /// What is the same for all failures of one cause, though the words differ with who called.
    pub fn cause(&self) -> String {
        match self {
            Self::OtherKey(_) => "key".to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Self::OtherKey(
                "ended the connection before it greeted: have both the same key_file, and each the other in `addresses`?",
            ),
            _ => Self::Refused(format!("can't be talked to: {error}")),
        }
    }
}

impl From<Forged> for Failed {
    fn from(error: Forged) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<snow::Error> for Failed {
    fn from(error: snow::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Calls a peer.
pub async fn call(shared: &Shared, address: SocketAddr) -> Result<Met, Failed> {
    let met = timeout(GREETING, async {
        let connected = connect(shared.listen, address).await;
        let mut stream = connected.map_err(|error| Failed::Unreached(error.to_string()))?;
        let mut handshake = Handshake::call(&shared.key)?;
        let hello = handshake.write()?;
        stream.write_all(&hello).await?;
        let reply = read(&mut stream, LONGEST_HANDSHAKE).await?;
        let other = |_| Failed::OtherKey("has another key: copy one key_file to all directors");
        handshake.read(&reply).map_err(other)?;
        let mut channel = handshake.finish()?;
        let mut out = Vec::new();
        channel.seal(&shared.own.encode(), &mut out)?;
        stream.write_all(&out).await?;
        finish(stream, channel, true).await
    });
    met.await.unwrap_or_else(|_| Err(Failed::Unreached(format!("no answer within {} s", GREETING.as_secs()))))
}

/// Answers one that called.
pub async fn answer(shared: &Shared, mut stream: TcpStream) -> Result<Met, Failed> {
    let met = timeout(GREETING, async {
        let _ = stream.set_nodelay(true);
        let mut handshake = Handshake::answer(&shared.key)?;
        let hello = read(&mut stream, LONGEST_HANDSHAKE).await;
        let hello = hello.map_err(|error| Failed::Refused(format!("called and hung up: {error}")))?;
        let other =
            |_| Failed::OtherKey("called with another key, and was refused: copy one key_file to all directors");
        handshake.read(&hello).map_err(other)?;
        let reply = handshake.write()?;
        stream.write_all(&reply).await?;
        finish(stream, handshake.finish()?, false).await
    });
    met.await
        .unwrap_or_else(|_| Err(Failed::Refused(format!("called, and said nothing within {} s", GREETING.as_secs()))))
}

async fn finish(mut stream: TcpStream, mut channel: Channel, called: bool) -> Result<Met, Failed> {
    let sealed = read(&mut stream, LONGEST_GREETING).await?;
    let mut greeting = Vec::new();
    let replayed = |_| Failed::Refused("repeats what another said, and was refused".to_owned());
    channel.open(&sealed, &mut greeting).map_err(replayed)?;
    let parsed = Greeting::parse(&greeting).map_err(|error| Failed::Refused(error.to_string()))?;
    Ok(Met { stream, channel, greeting, instance: parsed.instance, called, since: Instant::now() })
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
