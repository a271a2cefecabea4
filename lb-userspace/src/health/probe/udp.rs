//! The UDP check: one datagram from a socket of its own. An ICMP port-unreachable is a refusal; otherwise the expected
//! answer decides, or where none is expected, silence until the timeout.

use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::source::unspecified;
use super::{Deadline, Fault, Way};
use crate::config::Udp;

/// Bytes of an answer that are looked at; the rest of the datagram is cut off.
const ANSWER: usize = 2048;

pub(super) async fn check(way: Way, question: &Udp, deadline: &Deadline) -> Result<(), Fault> {
    let socket = socket(way).await?;
    socket.send(&question.send).await?;
    let heard = timeout_at(deadline.at, answer(&socket, question)).await;
    match heard {
        Ok(result) => result,
        Err(_) if question.expects_none() => Ok(()),
        Err(_) => Err(Fault::Waiting(deadline.timeout)),
    }
}

/// A connected socket: it hears the ICMP errors of its datagrams, and takes answers from the real alone.
pub(super) async fn socket(Way { real, source }: Way) -> Result<UdpSocket, Fault> {
    let socket = UdpSocket::bind(source.unwrap_or_else(|| unspecified(real))).await?;
    socket.connect(real).await?;
    Ok(socket)
}

/// The first answer, good or not. Where none is expected any will do: a port that answers is there.
async fn answer(socket: &UdpSocket, question: &Udp) -> Result<(), Fault> {
    let mut answer = [0; ANSWER];
    let length = socket.recv(&mut answer).await?;
    let answer = answer.get(..length).unwrap_or_default();
    let starts = question.expect.as_ref().is_none_or(|expected| answer.starts_with(expected));
    let matches = question.matches.as_ref().is_none_or(|pattern| pattern.matches(answer));
    if starts && matches { Ok(()) } else { Err(Fault::Answer) }
}
