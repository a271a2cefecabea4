//! The ports that checks on VIPs are sent from. Each is held by a socket of the kernel's while a check uses it: nobody else
//! gets it, and the kernel answers nothing that comes to it. The socket's filter drops everything; without a socket the
//! kernel would reset a connection that it knows nothing of, and on a backup that reset would reach the VIP's master.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Behind the ports that Linux gives to clients by default.
const FIRST: u16 = 61_000;
/// Fewer ports than this behind the clients' are too few to be worth it.
const ENOUGH: u16 = 1024;
/// Ports that are tried before there are none.
const TRIES: usize = 64;

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// `BPF_RET | BPF_K`: how many bytes of a packet the socket takes.
const RETURN: u16 = 0x06;

/// A port of one protocol and address, until this is dropped.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) number: u16,
    _holder: Socket,
}

impl Port {
    /// Takes a free one that is `first` or above.
    ///
    /// # Errors
    /// EADDRNOTAVAIL where the address isn't this host's or no port is free, EMFILE, or what else the system says.
    pub(super) fn take(own: IpAddr, is_tcp: bool, first: u16) -> io::Result<Self> {
        let kind = if is_tcp { (Type::STREAM, Protocol::TCP) } else { (Type::DGRAM, Protocol::UDP) };
        let holder = Socket::new(Domain::for_address(SocketAddr::new(own, 0)), kind.0.nonblocking(), Some(kind.1))?;
        holder.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
        for number in std::iter::repeat_with(|| fastrand::u16(first..)).take(TRIES) {
            match holder.bind(&SocketAddr::new(own, number).into()) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(Errno::EADDRINUSE as i32) => continue,
                Err(error) => return Err(error),
            }
            if is_tcp {
                // One that only has the port hears nothing of what comes to it.
                holder.listen(1)?;
            }
            return Ok(Self { number, _holder: holder });
        }
        Err(Errno::EADDRNOTAVAIL.into())
    }
}

/// The first of the ports that checks are sent from: behind those that this host gives to its own clients, where there are
/// enough.
pub(super) fn first() -> u16 {
    behind(&fs::read_to_string(RANGE).unwrap_or_default())
}

/// As the kernel writes it: the first and the last of the clients' ports.
fn behind(range: &str) -> u16 {
    let last = range.split_whitespace().nth(1).and_then(|last| last.parse().ok()).unwrap_or(FIRST - 1);
    if (FIRST..u16::MAX - ENOUGH).contains(&last) { last + 1 } else { FIRST }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn they_are_behind_the_clients_ports_where_there_is_room() {
        let rows = [
            ("32768\t60999\n", 61_000),
            ("", 61_000),
            ("1024 61999", 62_000),
            ("1024\t65535\n", 61_000),
            ("1024 65000", 61_000),
            ("10000 20000", 61_000),
            ("x y", 61_000),
        ];
        for (range, first) in rows {
            assert_eq!(behind(range), first, "{range:?}");
        }
    }

    #[test]
    fn a_port_is_nobody_elses_and_answers_nothing() {
        let own = IpAddr::from(Ipv4Addr::LOCALHOST);
        let port = Port::take(own, true, FIRST).unwrap();
        let address = SocketAddr::new(own, port.number);
        assert_eq!(std::net::TcpListener::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let brief = std::time::Duration::from_millis(100);
        let silent = std::net::TcpStream::connect_timeout(&address, brief).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        drop(port);
        let refused = std::net::TcpStream::connect_timeout(&address, brief).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        let port = Port::take(own, false, u16::MAX).unwrap();
        assert_eq!(port.number, u16::MAX);
        assert_eq!(Port::take(own, false, u16::MAX).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        let elsewhere = Port::take(Ipv4Addr::new(192, 0, 2, 1).into(), true, FIRST).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
