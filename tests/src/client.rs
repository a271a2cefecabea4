//! Those who ask: single requests, loops in the background, and a connection that must not notice anything.

mod background;
mod connections;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

pub use background::{Background, Entry, Report};
pub use connections::{Connections, Lost};

use crate::lab::{Host, sys};

/// How long a request may take unless the client is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The longest answer that is read.
const ANSWER: u64 = 1 << 20;

/// What a real has answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The real's title, such as `Real-1`; empty when the body does not say.
    pub real: String,
    /// The HTTP status; 200 for UDP.
    pub status: u16,
    /// The body, or the datagram.
    pub body: String,
    /// From the first packet of the connection to the last byte of the answer.
    pub took: Duration,
}

/// Asks from inside a host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    host: Host,
    timeout: Duration,
    source_port: Option<u16>,
}

impl Client {
    /// A client on `host`, whose requests may take three seconds.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self { host: host.clone(), timeout: TIMEOUT, source_port: None }
    }

    /// Sets the longest time for a connection to open, and for each read of it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends from this port, which may have been used a moment ago.
    #[must_use]
    pub fn source_port(mut self, port: u16) -> Self {
        self.source_port = Some(port);
        self
    }

    /// Asks for `/` over a new connection.
    ///
    /// # Errors
    /// When the connection can't be opened, breaks, or is silent for longer than the time-out.
    pub fn get(&self, server: (impl Into<IpAddr>, u16)) -> Result<Answer> {
        let start = Instant::now();
        let mut connection = self.connect(server)?;
        connection.send("GET", "/", true)?;
        let answer = connection.receive()?;
        Ok(Answer { took: start.elapsed(), ..answer })
    }

    /// Asks `count` times, each over a new connection, one after the other.
    ///
    /// # Errors
    /// At the first request that fails; the message has its number.
    pub fn get_many(&self, server: (impl Into<IpAddr>, u16), count: usize) -> Result<Vec<Answer>> {
        let server = (server.0.into(), server.1);
        (1..=count).map(|n| self.get(server).with_context(|| format!("request {n} of {count}"))).collect()
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When it is refused or there is no answer in time.
    pub fn connect(&self, server: (impl Into<IpAddr>, u16)) -> Result<Connection> {
        let server = SocketAddr::from((server.0.into(), server.1));
        let stream = self.host.within(|| self.open(server))?;
        let stream = stream.with_context(|| format!("{} cannot connect to {server}", self.host.name()))?;
        Ok(Connection { server, reader: BufReader::new(stream) })
    }

    /// Called inside the namespace.
    fn open(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(port) = self.source_port {
            socket.set_reuse_address(true)?;
            socket.bind(&any(server, port).into())?;
        }
        socket.connect_timeout(&server.into(), self.timeout)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(self.timeout))?;
        socket.set_write_timeout(Some(self.timeout))?;
        Ok(socket.into())
    }

    /// Sends a datagram from a new socket and waits for the answer to it.
    ///
    /// # Errors
    /// When none comes in time, or it comes from another address than was asked.
    pub fn ask_udp(&self, server: (impl Into<IpAddr>, u16), question: &str) -> Result<Answer> {
        let server = SocketAddr::from((server.0.into(), server.1));
        let start = Instant::now();
        let socket = self.host.within(|| self.open_udp(server))?;
        let socket = socket.with_context(|| format!("no socket for {server}"))?;
        socket.send(question.as_bytes())?;
        let mut buffer = vec![0; 1 << 16];
        let length = socket.recv(&mut buffer).with_context(|| format!("no answer from {server}"))?;
        buffer.truncate(length);
        let body = String::from_utf8_lossy(&buffer).into_owned();
        Ok(Answer { real: real_of(&body), status: 200, body, took: start.elapsed() })
    }

    /// Called inside the namespace.
    fn open_udp(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(any(server, self.source_port.unwrap_or(0)))?;
        socket.set_read_timeout(Some(self.timeout))?;
        // Connected: the kernel drops what another address sends.
        socket.connect(server)?;
        Ok(socket)
    }

    /// Sends an ICMP echo request and waits for the answer to it.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn ping(&self, address: Ipv4Addr) -> Result<()> {
        // Echo request, its checksum, id 0x6c62, sequence number 1.
        const REQUEST: [u8; 8] = [8, 0, 0x8b, 0x9c, 0x6c, 0x62, 0, 1];
        const REPLY: [u8; 8] = [0, 0, 0x93, 0x9c, 0x6c, 0x62, 0, 1];
        let socket = self.host.within(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)))??;
        let timeout = Some(self.timeout);
        socket.set_read_timeout(timeout)?;
        socket.connect(&SocketAddr::from((address, 0)).into())?;
        socket.send(&REQUEST)?;
        let mut socket = socket;
        let mut buffer = [0; 128];
        loop {
            let length = socket.read(&mut buffer).with_context(|| format!("no echo from {address}"))?;
            if buffer.get(..length).is_some_and(|packet| packet.ends_with(&REPLY)) {
                return Ok(());
            }
        }
    }

    /// Asks once in every `interval`, each time over a new connection, until told to stop.
    #[must_use]
    pub fn poll(&self, server: (impl Into<IpAddr>, u16), interval: Duration) -> Background {
        let (client, server) = (self.clone(), (server.0.into(), server.1));
        Background::start(interval, None, move |_| client.get(server))
    }

    /// Opens one connection and asks over it once in every `interval`, until told to stop. The first error ends it,
    /// since a connection does not heal; see [`Report::retransmitted`] for the losses that TCP has made good.
    ///
    /// # Errors
    /// When the connection can't be opened.
    pub fn hold(&self, server: (impl Into<IpAddr>, u16), interval: Duration) -> Result<Background> {
        let mut connection = self.connect(server)?;
        let probe = connection.reader.get_ref().try_clone()?;
        let ask = move |number| connection.ask(&format!("/?request={number}"));
        Ok(Background::start(interval, Some(probe), ask))
    }
}

/// Any address of the server's family, with a port.
fn any(server: SocketAddr, port: u16) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

/// An open connection to a server.
#[derive(Debug)]
pub struct Connection {
    server: SocketAddr,
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Sends a request that keeps the connection, and reads the answer.
    ///
    /// # Errors
    /// When the connection breaks or is silent for longer than the client's time-out.
    pub fn ask(&mut self, path: &str) -> Result<Answer> {
        let start = Instant::now();
        self.send("GET", path, false)?;
        let answer = self.receive()?;
        Ok(Answer { took: start.elapsed(), ..answer })
    }

    /// The client's own end.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn local_address(&self) -> Result<SocketAddr> {
        Ok(self.reader.get_ref().local_addr()?)
    }

    /// How many segments had to be sent again so far.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn retransmitted(&self) -> Result<u32> {
        Ok(sys::retransmitted_segments(self.reader.get_ref())?)
    }

    fn send(&mut self, method: &str, path: &str, close: bool) -> Result<()> {
        let kept = if close { "close" } else { "keep-alive" };
        let host = self.server;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {kept}\r\n\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).with_context(|| format!("cannot send to {host}"))
    }

    fn receive(&mut self) -> Result<Answer> {
        let server = self.server;
        read_answer(&mut self.reader).with_context(|| format!("no good answer from {server}"))
    }
}

fn read_answer(reader: &mut impl BufRead) -> Result<Answer> {
    let mut limited = reader.take(ANSWER);
    let mut line = String::new();
    ensure!(limited.read_line(&mut line)? > 0, "the connection was closed");
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("not an HTTP status line: {line:?}"))?;
    let mut length = None;
    loop {
        line.clear();
        ensure!(limited.read_line(&mut line)? > 0, "the head breaks off");
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse()?);
        }
    }
    let Some(length) = length else {
        bail!("the answer has no Content-Length");
    };
    let mut body = vec![0; usize::try_from(u64::min(length, ANSWER))?];
    limited.read_exact(&mut body).context("the body breaks off")?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { real: real_of(&body), status, body, took: Duration::ZERO })
}

/// `Real-1` of `I am Real-1 (…)`.
fn real_of(body: &str) -> String {
    let name = body.trim().strip_prefix("I am ").unwrap_or_default();
    let end = name.find([' ', ':']).unwrap_or(name.len());
    name.get(..end).unwrap_or_default().to_owned()
}

/// How many answers each real gave.
#[must_use]
pub fn tally<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(answer.real.clone()).or_default() += 1;
    }
    tally
}

/// Whether no real gave two answers in a row.
#[must_use]
pub fn alternate<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> bool {
    let mut last = None;
    answers.into_iter().all(|answer| last.replace(&answer.real) != Some(&answer.real))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_real() {
        assert_eq!(real_of("I am Real-1\n"), "Real-1");
        assert_eq!(real_of("I am Real-12 (2026-01-01T00:00:00Z)\n"), "Real-12");
        assert_eq!(real_of("I am Real-2: hello"), "Real-2");
        assert_eq!(real_of("sorry"), "");
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let text =
            "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nI am Real-1\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
        let mut reader = BufReader::new(text.as_bytes());
        let first = read_answer(&mut reader).unwrap();
        assert_eq!((first.status, first.real.as_str()), (200, "Real-1"));
        assert_eq!(read_answer(&mut reader).unwrap().status, 503);
        let end = read_answer(&mut reader).unwrap_err();
        assert_eq!(end.to_string(), "the connection was closed");
    }
}
