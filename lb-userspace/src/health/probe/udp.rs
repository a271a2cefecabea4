//! The UDP check: one datagram from a socket of its own. An ICMP port-unreachable is a refusal; otherwise the expected
//! answer decides, or where none is expected, silence until the timeout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::{Deadline, Failure};
use crate::config::Udp;

/// Bytes of an answer that are looked at; the rest of the datagram is cut off.
const ANSWER: usize = 2048;

pub(super) async fn check(real: SocketAddr, question: &Udp, deadline: &Deadline) -> Result<(), Failure> {
    let any = if real.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).await?;
    // A connected socket hears the ICMP errors of its datagrams, and takes answers from the real alone.
    socket.connect(real).await?;
    socket.send(&question.send).await?;
    let heard = timeout_at(deadline.at, answer(&socket, question.expect.as_deref())).await;
    match (heard, &question.expect) {
        (Ok(result), _) => result,
        (Err(_), None) => Ok(()),
        (Err(_), Some(_)) => Err(Failure::Waiting(deadline.timeout)),
    }
}

/// The first answer, good or not. Where none is expected any will do: a port that answers is there.
async fn answer(socket: &UdpSocket, expected: Option<&[u8]>) -> Result<(), Failure> {
    let mut answer = [0; ANSWER];
    let length = socket.recv(&mut answer).await?;
    let answer = answer.get(..length).unwrap_or_default();
    match expected {
        Some(expected) if !answer.starts_with(expected) => Err(Failure::Answer),
        _ => Ok(()),
    }
}
