//! The UDP check: one datagram from a socket of its own. An ICMP port-unreachable is a refusal; otherwise the expected
//! answer decides, or where none is expected, silence until the timeout.

use tokio::time::timeout_at;

use super::source::Datagrams;
use super::{Deadline, Fault, Way};
use crate::config::Udp;

/// Bytes of an answer that are looked at; the rest of the datagram is cut off.
const ANSWER: usize = 2048;

pub(super) async fn check(way: Way<'_>, question: &Udp, deadline: &Deadline) -> Result<(), Fault> {
    let mut socket = Datagrams::new(way).await?;
    socket.send(&question.send).await?;
    let heard = timeout_at(deadline.at, answer(&mut socket, question.expect.as_deref())).await;
    match (heard, &question.expect) {
        (Ok(result), _) => result,
        (Err(_), None) => Ok(()),
        (Err(_), Some(_)) => Err(Fault::Waiting(deadline.timeout)),
    }
}

/// The first answer, good or not. Where none is expected any will do: a port that answers is there.
async fn answer(socket: &mut Datagrams, expected: Option<&[u8]>) -> Result<(), Fault> {
    let mut answer = [0; ANSWER];
    let length = socket.recv(&mut answer).await?;
    let answer = answer.get(..length).unwrap_or_default();
    match expected {
        Some(expected) if !answer.starts_with(expected) => Err(Fault::Answer),
        _ => Ok(()),
    }
}
