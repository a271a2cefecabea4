//! Reals that need no program of their own: an HTTP server that says which real it is, and a UDP one.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::Host;

/// The longest head of a request that is read.
const HEAD: u64 = 16 << 10;

/// How often a blocked thread looks whether it is to stop.
const TICK: Duration = Duration::from_millis(20);

/// An HTTP/1.1 server inside a host. To every request it answers `I am Real-1 (TIME)`, with its host's title and the
/// time in UTC. It stops when dropped: its port refuses, and its connections are closed.
#[derive(Debug)]
pub struct Http {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    title: String,
    status: AtomicU16,
    delay_ms: AtomicU64,
    served: AtomicU64,
    stop: AtomicBool,
    /// The open connections, to be closed from outside.
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl Http {
    /// Starts one at port 80 of all of the host's addresses, IPv4 and IPv6.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_at(host, 80)
    }

    /// As [`Http::start`], at another port.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_at(host: &Host, port: u16) -> Result<Self> {
        host.within(|| Self::start_here(host.title(), port))?
            .with_context(|| format!("no responder on {}", host.name()))
    }

    /// As [`Http::start_at`], in the network namespace of the calling thread and with a title of the caller's: for a
    /// program that is itself a real.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_here(title: &str, port: u16) -> Result<Self> {
        let listener = listen(port).with_context(|| format!("cannot listen at port {port}"))?;
        let shared = Arc::new(Shared {
            title: title.to_owned(),
            status: AtomicU16::new(200),
            delay_ms: AtomicU64::new(0),
            served: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let acceptor = thread::Builder::new().name("http".to_owned()).spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        })?;
        Ok(Self { shared, acceptor: Some(acceptor) })
    }

    /// Answers with this status from now on: a real that is up and says that it is not well.
    pub fn set_status(&self, status: u16) {
        self.shared.status.store(status, Ordering::Relaxed);
    }

    /// Answers only after this long from now on.
    pub fn set_delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(delay, Ordering::Relaxed);
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// Stops it, as dropping it does.
    pub fn stop(self) {}
}

impl Drop for Http {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            // One that has panicked has said so.
            let _ = acceptor.join();
        }
        for connection in self.shared.open().values() {
            // The client may have closed it first.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener for both families.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    // One that was stopped a moment ago must not be in the way.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(1024)?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut number = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            // The time-out, or a client that gave up early.
            continue;
        };
        let Ok(handle) = stream.try_clone() else {
            continue;
        };
        number += 1;
        shared.open().insert(number, handle);
        let shared = shared.clone();
        thread::spawn(move || {
            // A connection that breaks is the client's affair.
            let _ = serve(&stream, &shared);
            shared.open().remove(&number);
        });
    }
}

/// Serves one connection until either side wants to close it.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Inherited from the listener, which only wants to look up now and then.
    stream.set_read_timeout(None)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        thread::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::Relaxed)));
        let close = request.close || shared.stop.load(Ordering::Relaxed);
        let time = humantime::format_rfc3339_seconds(SystemTime::now());
        let body = format!("I am {} ({time})\n", shared.title);
        let status = shared.status.load(Ordering::Relaxed);
        let mut answer = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n",
            reason(status),
            body.len(),
            if close { "close" } else { "keep-alive" },
        );
        if !request.head {
            answer.push_str(&body);
        }
        // Counted first: who has the answer finds it counted.
        shared.served.fetch_add(1, Ordering::Relaxed);
        (&mut &*stream).write_all(answer.as_bytes())?;
        if close {
            break;
        }
    }
    Ok(())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// What the responder needs to know of a request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    head: bool,
    close: bool,
}

impl Request {
    /// Reads a request with its body; `None` when the client has closed the connection between two of them.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = reader.by_ref().take(HEAD);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut request = Self { head: line.starts_with("HEAD "), close: !line.trim_end().ends_with("HTTP/1.1") };
        let mut body = 0;
        loop {
            line.clear();
            if head.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("connection") {
                request.close =
                    !value.eq_ignore_ascii_case("keep-alive") && (request.close || value.eq_ignore_ascii_case("close"));
            } else if name.eq_ignore_ascii_case("content-length") {
                body = value.parse().map_err(io::Error::other)?;
            }
        }
        io::copy(&mut reader.take(body), &mut io::sink())?;
        Ok(Some(request))
    }
}

/// A UDP server inside a host. To every datagram it answers `I am Real-1: ` and the datagram, from the address that
/// was asked. It stops when dropped.
#[derive(Debug)]
pub struct Udp {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Udp {
    /// Starts one at `port` of each of the host's addresses, a real's VIPs among them.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let mut udp = Self { stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        for address in host.addresses() {
            // A socket for each address: it then answers from that one.
            let socket = host
                .within(|| bind(address, port))?
                .with_context(|| format!("cannot bind {address} port {port} of {}", host.name()))?;
            let (title, stop) = (host.title().to_owned(), udp.stop.clone());
            udp.threads.push(thread::spawn(move || echo(&socket, &title, &stop)));
        }
        Ok(udp)
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, port))?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}

fn echo(socket: &UdpSocket, title: &str, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let asked = buffer.get(..length).unwrap_or(&buffer);
        let answer = [format!("I am {title}: ").as_bytes(), asked].concat();
        // A client that is gone misses nothing.
        let _ = socket.send_to(&answer, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Request> {
        let mut reader = BufReader::new(text.as_bytes());
        std::iter::from_fn(|| Request::read(&mut reader).unwrap()).collect()
    }

    #[test]
    fn a_body_is_no_request() {
        let text = "POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nGET /\nHEAD / HTTP/1.1\r\n\r\n";
        let requests = read(text);
        assert_eq!(requests.len(), 2);
        assert!(requests[1].head);
    }

    #[test]
    fn connections_are_kept_or_closed_as_the_client_says() {
        for (text, close) in [
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", false),
        ] {
            assert_eq!(read(text), [Request { head: false, close }], "{text:?}");
        }
    }

    #[test]
    fn half_a_head_is_an_error() {
        let mut reader = BufReader::new(&b"GET / HTTP/1.1\r\nHost:"[..]);
        assert!(Request::read(&mut reader).is_err());
    }
}
