//! One check of one real, over the network. Each probe ends within its timeout, reads a bounded number
//! of bytes, and closes its connection before it gives its outcome.
//!
//! Connections are closed with a reset (`SO_LINGER` of 0). A checker is the side that closes first, so an
//! orderly close would leave a socket in TIME_WAIT for a minute per check: 300,000 of them for 10,000 targets
//! every 2 s, more than the kernel keeps. The price is that a real that reads from a connection of a bare TCP
//! check sees "connection reset" in place of an end of file. An HTTP check reads the answer first and asks for
//! `Connection: close`, so that a real of good manners has closed by then.
//!
//! Cancel safety: dropping a probe's future closes its socket; nothing else is left behind.

mod dns;
pub mod grpc;
mod http;
pub mod http2;
mod ping;
mod script;
pub mod smtp;
mod source;
mod tcp;
mod through;
mod tls;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::either::Either;

use super::via::{self, Passage, Road};
use super::{Failure, Target};
pub use source::Vips;
pub use tls::Memory;

use super::machine::Outcome;
use crate::config::{CheckKind, Unusable, Via};
use crate::host::command;

/// Why a check was not good. The texts are shown to people as they are.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The kernel's word on the connection, which the real may have caused.
    #[error("{}", sentence(.0))]
    Io(#[from] io::Error),
    /// No connection was begun: nothing was sent to the real.
    #[error("{}", own(.0))]
    Local(#[source] io::Error),
    /// No connection in time.
    #[error("timed out after {} connecting", humantime::format_duration(*.0))]
    Connecting(Duration),
    /// A connection, but no answer in time.
    #[error("timed out after {} waiting for a response", humantime::format_duration(*.0))]
    Waiting(Duration),
    /// The real closed the connection without a whole response head.
    #[error("closed before a response")]
    Closed,
    /// What came is not HTTP/1.
    #[error("the answer is not an HTTP response")]
    NotHttp,
    /// The response head does not end within the bytes that are read for it.
    #[error("the response's headers are too large (more than {} KiB or 100 lines)", http::HEAD / 1024)]
    TooLarge,
    /// Another status than those asked for.
    #[error("status {status}, expected {expected}")]
    Status {
        /// What came.
        status: u16,
        /// The ranges, for people.
        expected: String,
    },
    /// The status is good, but the body isn't.
    #[error("the body has no \"{text}\"{}", cut(*.limit))]
    Body {
        /// What is looked for, for people.
        text: String,
        /// The bytes that were read, where there may be more.
        limit: Option<usize>,
    },
    /// Frames can't be sent to it, so it can't be asked on a VIP.
    #[error("its MAC address is not known")]
    NoMac,
    /// A real that has the VIP too can't answer to it.
    #[error("this director has no address but VIPs to ask from")]
    NoOwn,
    /// As [`Self::Body`], by a pattern.
    #[error("the body doesn't match {text}{}", cut(*.limit))]
    Pattern {
        /// As in the file.
        text: String,
        /// The bytes that were read, where there may be more.
        limit: Option<usize>,
    },
    /// A connection, but no TLS session in time.
    #[error("timed out after {} in the TLS handshake", humantime::format_duration(*.0))]
    Shaking(Duration),
    /// A TLS session that isn't good.
    #[error(transparent)]
    Tls(#[from] tls::Fault),
    /// A script that didn't end well.
    #[error("script: {0}")]
    Script(#[source] command::Failure),
    /// What came by HTTP/2 isn't good.
    #[error(transparent)]
    Http2(#[from] http2::Fault),
    /// A gRPC server that isn't good.
    #[error(transparent)]
    Grpc(#[from] grpc::Fault),
    /// A mail server that isn't good.
    #[error(transparent)]
    Smtp(#[from] smtp::Fault),
    /// A file that the check names can't be used.
    #[error("{0}")]
    File(String),
    /// What came in place of a DNS message.
    #[error("the answer is not DNS's")]
    NotDns,
    /// Another response code than the one asked for.
    #[error("{rcode}, expected {expected}")]
    Rcode {
        /// What came, as servers' logs have it.
        rcode: String,
        /// What is good.
        expected: String,
    },
    /// None of the records is the one asked for.
    #[error("the answer has {found}, not {wanted}")]
    Records {
        /// Some of those that came, for people.
        found: String,
        /// What is good.
        wanted: String,
    },
    /// This process may not open a raw socket.
    #[error("this director may not send ICMP: it needs CAP_NET_RAW")]
    NotRaw,
    /// The interface that the check is to be sent from has no address for that.
    #[error("this director has no address on {0} that the check could be sent from")]
    NoSource(String),
    /// A datagram came that isn't what the check expects.
    #[error("another answer than expected")]
    Answer,
    /// The check's method, path or host can't be put into a request.
    #[error("the check's {0} can't be sent in an HTTP request")]
    Request(&'static str),
}

impl Fault {
    /// Whether the fault lies with this director, so that it says nothing about the real.
    fn is_own(&self) -> bool {
        let error = match self {
            Self::Local(_) | Self::NoOwn | Self::NotRaw | Self::NoSource(_) | Self::Request(_) | Self::File(_) => {
                return true;
            }
            // It hasn't run.
            Self::Script(command::Failure::Start(_) | command::Failure::Untrusted(_)) => return true,
            Self::Io(error) => error.raw_os_error().map(Errno::from_raw),
            _ => return false,
        };
        use Errno::{EADDRNOTAVAIL, EAGAIN, EMFILE, ENETDOWN, ENFILE, ENOBUFS, ENODEV, ENOMEM, EPERM};
        let own = [EADDRNOTAVAIL, EAGAIN, EMFILE, ENETDOWN, ENFILE, ENOBUFS, ENODEV, ENOMEM, EPERM];
        error.is_some_and(|error| own.contains(&error))
    }

    /// What it says of the real.
    fn kind(&self) -> Failure {
        match self {
            Self::NotHttp
            | Self::Http2(_)
            | Self::TooLarge
            | Self::Status { .. }
            | Self::Body { .. }
            | Self::Pattern { .. }
            | Self::NotDns
            | Self::Rcode { .. }
            | Self::Records { .. }
            | Self::Answer => Failure::Wrong,
            Self::Tls(tls::Fault::Closed) => Failure::Unreachable,
            Self::Tls(_) => Failure::Wrong,
            Self::Grpc(fault) => fault.kind(),
            Self::Smtp(fault) => fault.kind(),
            Self::Script(command::Failure::Timeout(..)) => Failure::Unreachable,
            Self::Script(_) => Failure::Wrong,
            Self::Io(_)
            | Self::Local(_)
            | Self::Connecting(_)
            | Self::Shaking(_)
            | Self::Waiting(_)
            | Self::File(_)
            | Self::Closed
            | Self::NoMac
            | Self::NoOwn
            | Self::NotRaw
            | Self::NoSource(_)
            | Self::Request(_) => Failure::Unreachable,
        }
    }
}

/// What is wrong with the files that a check names, as they are now.
#[must_use]
pub fn unusable(kind: &CheckKind) -> Vec<Unusable> {
    let mut found = tls::unusable(kind);
    found.extend(script::unusable(kind));
    found
}

/// Checks the target once, from an address that is none of the VIPs, on the addresses that it says. `memory` is this target's.
pub async fn run_by(target: &Target, vips: &Vips, passage: &Passage, memory: &Memory) -> Outcome {
    match &target.check.via {
        Via::Real => run(target, vips, memory).await,
        Via::Vip(on) => through::run(target, on, false, vips, passage, memory).await,
        Via::Both(on) => through::run(target, on, true, vips, passage, memory).await,
    }
}

/// Checks it once, on its own address.
pub async fn run(target: &Target, vips: &Vips, memory: &Memory) -> Outcome {
    match on_its_own(target, vips, memory, &Deadline::new(target.check.timeout)).await {
        Ok(Some(weight)) => Outcome::Weighed(weight),
        answer => outcome(answer.map(drop)),
    }
}

/// The weight that it asks for, if it does.
async fn on_its_own(target: &Target, vips: &Vips, memory: &Memory, deadline: &Deadline) -> Result<Option<u8>, Fault> {
    let real = SocketAddr::new(target.asked(), target.check.port);
    let source = source::wanted(real, target.check.source.as_ref(), vips).map_err(Fault::NoSource)?;
    let way = Way { real, source, through: None };
    match &target.check.kind {
        CheckKind::Command(question) => script::check(way, question, deadline).await,
        _ => ask(target, way, memory, deadline).await.map(|()| None),
    }
}

async fn ask(target: &Target, way: Way<'_>, memory: &Memory, deadline: &Deadline) -> Result<(), Fault> {
    match &target.check.kind {
        CheckKind::Tcp(_) => tcp::check(way, deadline).await,
        CheckKind::Http(question) => http::check(way, question, memory, deadline).await,
        CheckKind::Ping(_) => ping::check(way, deadline).await,
        CheckKind::Dns(question) => dns::check(way, question, deadline).await,
        CheckKind::Grpc(question) => grpc::check(way, question, memory, deadline).await,
        CheckKind::Smtp(question) => smtp::check(way, question, memory, deadline).await,
        CheckKind::Command(question) => script::check(way, question, deadline).await.map(drop),
        CheckKind::Udp(question) => udp::check(way, question, deadline).await,
    }
}

fn outcome(result: Result<(), Fault>) -> Outcome {
    match result {
        Ok(()) => Outcome::Good,
        Err(fault) if fault.is_own() => Outcome::Void(fault.to_string()),
        Err(fault) => Outcome::Bad(fault.kind(), fault.to_string()),
    }
}

/// From where to where.
#[derive(Debug, Clone, Copy)]
struct Way<'a> {
    /// The address that is asked: the real's own, or a VIP.
    real: SocketAddr,
    /// Without it the kernel chooses.
    source: Option<SocketAddr>,
    /// By which real a VIP is asked; without it the kernel's sockets are used.
    through: Option<&'a Road>,
}

/// A connection to a real.
type Connection = Either<TcpStream, via::Stream>;

/// The end of a whole check, and the timeout that it comes from (which the texts name).
struct Deadline {
    timeout: Duration,
    at: Instant,
}

impl Deadline {
    fn new(timeout: Duration) -> Self {
        Self { timeout, at: Instant::now() + timeout }
    }
}

/// A connection that will be reset when it is dropped.
async fn connect(way: Way<'_>, deadline: &Deadline) -> Result<Connection, Fault> {
    if let Some(road) = way.through {
        let connection = via::Stream::new(road).map_err(Fault::Local)?;
        let connected = timeout_at(deadline.at, connection.connect()).await;
        return Ok(Either::Right(connected.map_err(|_| Fault::Connecting(deadline.timeout))??));
    }
    let connection = begin(way)?;
    timeout_at(deadline.at, connection.writable()).await.map_err(|_| Fault::Connecting(deadline.timeout))??;
    match connection.take_error()? {
        Some(error) => Err(error.into()),
        None => Ok(Either::Left(connection)),
    }
}

/// Begins a connection. What the kernel refuses at once it refuses without having heard of the real: no descriptor, no
/// source address, no route, a firewall here.
fn begin(Way { real, source, .. }: Way<'_>) -> Result<TcpStream, Fault> {
    let connection = Socket::new(Domain::for_address(real), Type::STREAM.nonblocking(), Some(Protocol::TCP))
        .and_then(|socket| socket.set_linger(Some(Duration::ZERO)).map(|()| socket))
        .and_then(|socket| source.map_or(Ok(()), |source| socket.bind(&source.into())).map(|()| socket))
        .map_err(Fault::Local)?;
    match connection.connect(&real.into()).map_err(|error| (error.raw_os_error().map(Errno::from_raw), error)) {
        Ok(()) | Err((Some(Errno::EINPROGRESS), _)) => {}
        // On this host itself an answer can be that quick.
        Err((Some(Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::ETIMEDOUT), error)) => return Err(error.into()),
        Err((_, error)) => return Err(Fault::Local(error)),
    }
    TcpStream::from_std(connection.into()).map_err(Fault::Local)
}

/// Said of a body that wasn't read to its end.
fn cut(limit: Option<usize>) -> String {
    match limit {
        None => String::new(),
        Some(bytes) if bytes % 1024 == 0 => format!(" in its first {} KiB", bytes / 1024),
        Some(bytes) => format!(" in its first {bytes} bytes"),
    }
}

/// What the kernel says of a connection, in the words that an operator greps for.
fn sentence(error: &io::Error) -> String {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return error.to_string();
    };
    match errno {
        Errno::ECONNREFUSED => "connection refused".to_owned(),
        Errno::ECONNRESET | Errno::EPIPE => "connection reset".to_owned(),
        Errno::EHOSTUNREACH => "no route to host".to_owned(),
        Errno::ENETUNREACH => "network unreachable".to_owned(),
        Errno::ETIMEDOUT => "timed out connecting".to_owned(),
        // An ICMPv6 error of the real's firewall.
        Errno::EACCES => "the connection is administratively prohibited".to_owned(),
        other => other.desc().to_lowercase(),
    }
}

/// What the kernel says of a connection that it didn't begin.
fn own(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM) => "this director's own firewall forbids the connection".to_owned(),
        Some(Errno::EADDRNOTAVAIL) => "this director has no free local port, or no source address".to_owned(),
        Some(Errno::EMFILE | Errno::ENFILE) => "this director is out of descriptors: raise LimitNOFILE".to_owned(),
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH) => "this director has no route there".to_owned(),
        _ => format!("this director can't connect: {}", sentence(error)),
    }
}

#[cfg(test)]
mod tests;
