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
    match timeout_at(deadline.at, answer(&mut socket, question)).await {
        Ok(result) => result,
        Err(_) if question.expects_none() => Ok(()),
        Err(_) => Err(Fault::Waiting(deadline.timeout)),
    }
}

/// The first answer, good or not. Where none is expected any will do: a port that answers is there.
async fn answer(socket: &mut Datagrams, question: &Udp) -> Result<(), Fault> {
    let mut answer = [0; ANSWER];
    let length = socket.recv(&mut answer).await?;
    let answer = answer.get(..length).unwrap_or_default();
    let starts = question.expect.as_ref().is_none_or(|expected| answer.starts_with(expected));
    let matches = question.matches.as_ref().is_none_or(|pattern| pattern.matches(answer));
    if starts && matches { Ok(()) } else { Err(Fault::Answer) }
}
