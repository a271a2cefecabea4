//! What the fuzz target `peer_message` does with one input. The inputs it has kept are replayed as a test.

use std::time::Duration;

use super::differences::Differences;
use super::ours::Ours;
use super::session::Session;
use super::state::Told;
use super::wire::{Greeting, Message};

/// Reads an input as the messages of a peer that has the key, each behind its length in two bytes, and hands them to
/// a session, until it is over. What is a message is written again and must be read as the same.
///
/// # Panics
/// When a promise of the messages or of the session is broken.
#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
pub fn exercise(input: &[u8]) {
    let ours = Ours::default();
    let (mut differences, mut told) = (Differences::default(), Vec::new());
    let mut session = Session::new(Duration::ZERO, Greeting::new(1, 1), true);
    let mut rest = input;
    while let Some((message, behind)) = first(rest) {
        rest = behind;
        if let Ok(parsed) = Message::parse(message) {
            let written = parsed.encode();
            let again = Message::parse(&written);
            if again.as_ref() != Ok(&parsed) {
                panic!("{parsed:?} was written as {written:?} and read again as {again:?}");
            }
        }
        if session.receive(Duration::ZERO, message, &ours, &mut differences, &mut told).is_err() {
            break;
        }
        if session.tick(Duration::ZERO).is_err() {
            break;
        }
    }
    let things: usize = told.iter().map(size).sum();
    // The smallest of what is told, a slot's word, takes three bytes.
    if things > input.len() {
        panic!("{} bytes told of {things} things", input.len());
    }
}

fn size(told: &Told) -> usize {
    match told {
        Told::Members(services, members) => services.len() + members.len(),
        Told::Slots { services, slots, .. } => services.len() + slots.len(),
        Told::Flows(flows) => flows.len(),
        Told::Begin | Told::Service { .. } | Told::Gone(_) | Told::Whole | Told::Lost => 1,
        Told::Asked(_) | Told::Answered(_) => 1,
    }
}

fn first(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::peers::wire::samples;

    fn input(messages: &[Vec<u8>]) -> Vec<u8> {
        messages.iter().flat_map(|bytes| [&(bytes.len() as u16).to_be_bytes(), bytes.as_slice()].concat()).collect()
    }

    /// The greeting, and all messages in an order that a peer may send them in.
    fn good() -> Vec<Vec<u8>> {
        let greeting = Greeting::new(2, 1).encode();
        let messages = samples().into_iter().map(|message| message.encode());
        std::iter::once(greeting).chain(messages).collect()
    }

    #[test]
    fn the_fuzz_corpus_holds_every_kind_of_message_and_breaks_nothing() {
        let good = good();
        let seeds = (1..=good.len()).map(|number| (format!("first-{number}"), input(&good[..number])));
        for bytes in crate::corpus::held("peer_message", seeds) {
            exercise(&bytes);
            for end in 0..bytes.len() {
                exercise(&bytes[..end]);
                let mut changed = bytes.clone();
                changed[end] ^= 1 << (end % 8);
                exercise(&changed);
            }
        }
    }

    #[test]
    fn the_corpus_reaches_what_follows_a_good_message() {
        let (ours, mut differences, mut told) = (Ours::default(), Differences::default(), Vec::new());
        let mut session = Session::new(Duration::ZERO, Greeting::new(1, 1), true);
        for message in good() {
            let taken = session.receive(Duration::ZERO, &message, &ours, &mut differences, &mut told);
            assert_eq!(taken, Ok(()), "{:?}", Message::parse(&message));
        }
        assert!(session.is_taken());
    }
}
