//! Those who ask: single requests, loops in the background, and a connection that must not notice anything.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{Host, sys, wait_until};

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
        Self {
            host: host.clone(),
            timeout: TIMEOUT,
            source_port: None,
        }
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
        Ok(Answer {
            took: start.elapsed(),
            ..answer
        })
    }

    /// Asks `count` times, each over a new connection, one after the other.
    ///
    /// # Errors
    /// At the first request that fails; the message has its number.
    pub fn get_many(&self, server: (impl Into<IpAddr>, u16), count: usize) -> Result<Vec<Answer>> {
        let server = (server.0.into(), server.1);
        (1..=count)
            .map(|n| {
                self.get(server)
                    .with_context(|| format!("request {n} of {count}"))
            })
            .collect()
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When it is refused or there is no answer in time.
    pub fn connect(&self, server: (impl Into<IpAddr>, u16)) -> Result<Connection> {
        let server = SocketAddr::from((server.0.into(), server.1));
        let stream = self.host.within(|| self.open(server))?;
        let stream =
            stream.with_context(|| format!("{} cannot connect to {server}", self.host.name()))?;
        Ok(Connection {
            server,
            reader: BufReader::new(stream),
        })
    }

    /// Called inside the namespace.
    fn open(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(
            Domain::for_address(server),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
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
        let length = socket
            .recv(&mut buffer)
            .with_context(|| format!("no answer from {server}"))?;
        buffer.truncate(length);
        let body = String::from_utf8_lossy(&buffer).into_owned();
        Ok(Answer {
            real: real_of(&body),
            status: 200,
            body,
            took: start.elapsed(),
        })
    }

    /// Called inside the namespace.
    fn open_udp(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(any(server, self.source_port.unwrap_or(0)))?;
        socket.set_read_timeout(Some(self.timeout))?;
        // Connected: the kernel drops what another address sends.
        socket.connect(server)?;
        Ok(socket)
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
        Ok(Answer {
            took: start.elapsed(),
            ..answer
        })
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
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {kept}\r\n\r\n");
        self.reader
            .get_mut()
            .write_all(request.as_bytes())
            .with_context(|| format!("cannot send to {host}"))
    }

    fn receive(&mut self) -> Result<Answer> {
        let server = self.server;
        read_answer(&mut self.reader).with_context(|| format!("no good answer from {server}"))
    }
}

fn read_answer(reader: &mut impl BufRead) -> Result<Answer> {
    let mut limited = reader.take(ANSWER);
    let mut line = String::new();
    ensure!(
        limited.read_line(&mut line)? > 0,
        "the connection was closed"
    );
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
    limited
        .read_exact(&mut body)
        .context("the body breaks off")?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer {
        real: real_of(&body),
        status,
        body,
        took: Duration::ZERO,
    })
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

/// One request of a loop.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it was begun.
    pub at: Instant,
    /// When its answer, or its error, was there.
    pub end: Instant,
    /// The answer, or why there is none.
    pub outcome: Result<Answer, String>,
}

/// A loop of requests on a thread of its own. It ends when dropped.
#[derive(Debug)]
pub struct Background {
    log: Arc<Mutex<Vec<Entry>>>,
    stop: Arc<AtomicBool>,
    connection: Option<TcpStream>,
    asker: Option<JoinHandle<()>>,
}

impl Background {
    fn start(
        interval: Duration,
        connection: Option<TcpStream>,
        mut ask: impl FnMut(usize) -> Result<Answer> + Send + 'static,
    ) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let ends_with_error = connection.is_some();
        let asker = thread::spawn({
            let (log, stop) = (log.clone(), stop.clone());
            move || {
                let mut next = Instant::now();
                for number in 1.. {
                    let at = Instant::now();
                    let outcome = ask(number).map_err(|error| format!("{error:#}"));
                    let last = ends_with_error && outcome.is_err();
                    let end = Instant::now();
                    lock(&log).push(Entry { at, end, outcome });
                    // The beat is kept; what a slow request has missed is not made up for.
                    next = (next + interval).max(end);
                    while !stop.load(Ordering::Relaxed) && Instant::now() < next {
                        thread::park_timeout(next.saturating_duration_since(Instant::now()));
                    }
                    if last || stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        Self {
            log,
            stop,
            connection,
            asker: Some(asker),
        }
    }

    /// All requests so far.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        lock(&self.log).clone()
    }

    /// Waits until `count` more requests have been answered well.
    ///
    /// # Errors
    /// When they have not within `deadline`; the message has the last error.
    pub fn wait_for_answers(&self, count: usize, deadline: Duration) -> Result<()> {
        let good = || {
            lock(&self.log)
                .iter()
                .filter(|it| it.outcome.is_ok())
                .count()
        };
        let wanted = good() + count;
        let waited = wait_until(deadline, &format!("{count} more answers"), || {
            good() >= wanted
        });
        waited.map(|_| ()).with_context(|| {
            let log = lock(&self.log);
            let error = log.iter().rev().find_map(|it| it.outcome.clone().err());
            format!("the last error: {}", error.unwrap_or("none".to_owned()))
        })
    }

    /// Stops the loop after its present request and returns what it has seen.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.end();
        let retransmitted = self
            .connection
            .as_ref()
            .and_then(|connection| sys::retransmitted_segments(connection).ok());
        Report {
            entries: std::mem::take(&mut *lock(&self.log)),
            retransmitted,
        }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(asker) = self.asker.take() {
            asker.thread().unpark();
            // One that has panicked has said so.
            let _ = asker.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(log: &Mutex<Vec<Entry>>) -> std::sync::MutexGuard<'_, Vec<Entry>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a loop of requests has seen. Prints as a line of figures.
#[derive(Debug, Clone)]
pub struct Report {
    /// Every request in order.
    pub entries: Vec<Entry>,
    /// For a held connection, the segments that the client had to send again: the losses that nobody else notices.
    pub retransmitted: Option<u32>,
}

impl Report {
    /// The answers in order.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.entries
            .iter()
            .filter_map(|it| it.outcome.as_ref().ok())
    }

    /// The errors in order.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter_map(|it| it.outcome.as_ref().err().map(String::as_str))
    }

    /// The longest time from the end of one good answer to that of the next: how long the service was away, give or take
    /// the interval.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let ends: Vec<_> = self
            .entries
            .iter()
            .filter(|it| it.outcome.is_ok())
            .map(|it| it.end)
            .collect();
        let gaps = ends.windows(2).filter_map(|pair| match pair {
            [one, next] => Some(next.duration_since(*one)),
            _ => None,
        });
        gaps.max().unwrap_or_default()
    }

    /// Checks that every request was answered.
    ///
    /// # Errors
    /// When one was not, or there was none at all; the message has the figures and the first error.
    pub fn without_loss(&self) -> Result<()> {
        ensure!(!self.entries.is_empty(), "nothing was asked");
        if let Some(error) = self.errors().next() {
            bail!("{self}; the first error: {error}");
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good = self.answers().count();
        let (all, gap) = (self.entries.len(), self.longest_gap());
        write!(
            f,
            "{good} of {all} requests answered, longest gap {gap:.1?}"
        )?;
        if let Some(again) = self.retransmitted {
            write!(f, ", {again} segments sent again")?;
        }
        Ok(())
    }
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
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nI am Real-1\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
        let mut reader = BufReader::new(text.as_bytes());
        let first = read_answer(&mut reader).unwrap();
        assert_eq!((first.status, first.real.as_str()), (200, "Real-1"));
        assert_eq!(read_answer(&mut reader).unwrap().status, 503);
        let end = read_answer(&mut reader).unwrap_err();
        assert_eq!(end.to_string(), "the connection was closed");
    }

    #[test]
    fn a_gap_lies_between_good_answers() {
        let start = Instant::now();
        let answer = |real: &str| Answer {
            real: real.to_owned(),
            status: 200,
            body: String::new(),
            took: Duration::ZERO,
        };
        let entry = |at: u64, outcome| Entry {
            at: start + Duration::from_secs(at),
            end: start + Duration::from_secs(at),
            outcome,
        };
        let report = Report {
            entries: vec![
                entry(0, Ok(answer("Real-1"))),
                entry(1, Err("refused".to_owned())),
                entry(3, Ok(answer("Real-2"))),
                entry(4, Ok(answer("Real-2"))),
            ],
            retransmitted: None,
        };
        assert_eq!(report.longest_gap(), Duration::from_secs(3));
        assert_eq!(tally(report.answers())["Real-2"], 2);
        let error = report.without_loss().unwrap_err().to_string();
        assert_eq!(
            error,
            "3 of 4 requests answered, longest gap 3.0s; the first error: refused"
        );
    }
}
