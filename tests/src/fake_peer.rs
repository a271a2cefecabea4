//! A peer of which a test decides every byte: it has the directors' key, and calls as a director would.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lb_userspace::peers::Key;
use lb_userspace::peers::noise::{Channel, Handshake, first};
use lb_userspace::peers::wire::{Greeting, Message};
use socket2::{Domain, Socket, Type};

use crate::lab::{DEADLINE, Host};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection over which it has greeted.
pub struct FakePeer {
    /// The connection.
    pub stream: TcpStream,
    channel: Channel,
    input: Vec<u8>,
    /// All that it has said, the handshake too, as it went over the wire.
    pub said: Vec<u8>,
}

/// A connection from an address of a host's, with a receive buffer of so many bytes if not the kernel's own size.
///
/// # Errors
/// Nobody answers.
pub fn connect(host: &Host, from: Ipv4Addr, to: SocketAddr, buffer: Option<usize>) -> Result<TcpStream> {
    let connect = || -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer)?;
        }
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    host.within(connect)?.with_context(|| format!("{from} can't call {to}"))
}

/// Waits until the other side has ended the connection, whatever it says before.
///
/// # Errors
/// It goes on.
pub fn is_ended(stream: &mut TcpStream) -> Result<()> {
    let (start, mut bytes) = (Instant::now(), [0; 4096]);
    stream.set_read_timeout(Some(PATIENCE))?;
    while start.elapsed() < DEADLINE {
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(_) => return Ok(()),
        }
    }
    bail!("the connection goes on")
}

impl FakePeer {
    /// Proves the key of this file, and greets.
    ///
    /// # Errors
    /// The other side refuses it.
    pub fn greet(mut stream: TcpStream, key_file: &Path) -> Result<Self> {
        let key = Key::read(key_file)?;
        let mut handshake = Handshake::call(&key)?;
        let mut said = handshake.write()?;
        stream.write_all(&said)?;
        let mut reply = vec![0; said.len()];
        stream.read_exact(&mut reply)?;
        handshake.read(first(&reply).context("half an answer")?.0)?;
        let mut channel = handshake.finish()?;
        let mut greeting = Vec::new();
        // Its rings are of another kind: the other side takes no slots of it, but holds each word against what it may say.
        channel.seal(&Greeting::new(fastrand::u64(..), 1).encode(), &mut greeting)?;
        stream.write_all(&greeting)?;
        said.extend(greeting);
        Ok(Self { stream, channel, input: Vec::new(), said })
    }

    /// Says something.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn say(&mut self, message: &Message) -> Result<()> {
        let mut sealed = Vec::new();
        self.channel.seal(&message.encode(), &mut sealed)?;
        self.stream.write_all(&sealed)?;
        self.said.extend(sealed);
        Ok(())
    }

    /// Says it all in one breath.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn say_all(&mut self, messages: &[Message]) -> Result<()> {
        messages.iter().try_for_each(|message| self.say(message))
    }

    /// The next thing that the other side says, the greeting not counted.
    ///
    /// # Errors
    /// The connection has ended, or nothing comes.
    pub fn hear(&mut self) -> Result<Message> {
        loop {
            let mut opened = Vec::new();
            if let Some((sealed, size)) = first(&self.input) {
                self.channel.open(sealed, &mut opened)?;
                self.input.drain(..size);
                if let Ok(message) = Message::parse(&opened) {
                    return Ok(message);
                }
                // The greeting.
                continue;
            }
            let mut bytes = [0; 1 << 16];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                bail!("the connection has ended");
            }
            self.input.extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
    }
}
