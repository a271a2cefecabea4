//! `UDP_CHECK`: what is sent, and what an answer has.

use std::fmt::Write as _;

use super::super::tree::Node;
use super::super::words::{changed, left};
use super::super::{number, taken};
use crate::import::ledger::Ledger;
use crate::import::model::{Key, quoted};

/// A UDP_CHECK while its lines are read.
#[derive(Debug, Default)]
pub(super) struct Datagram {
    send: Option<String>,
    /// The digits that an answer starts with; an `x` is any.
    reply: Option<String>,
    shortest: usize,
    longest: Option<usize>,
}

impl Datagram {
    /// Takes a statement if it is one of these. `answered` says whether the check wants an answer.
    pub(super) fn read(&mut self, node: &Node, answered: bool, ledger: &mut Ledger) -> bool {
        match node.word() {
            "payload" => self.send = digits(node, "send", false, ledger),
            "require_reply" => self.reply = digits(node, "expect", true, ledger).or(Some(String::new())),
            "min_reply_length" | "max_reply_length" if !answered => {
                left(node, "an answer's length isn't looked at where none is required", ledger);
            }
            "min_reply_length" => self.shortest = length(node, ledger).unwrap_or(0),
            "max_reply_length" => self.longest = length(node, ledger),
            _ => return false,
        }
        true
    }

    /// The keys of the check.
    pub(super) fn keys(&self) -> Vec<Key> {
        let bytes = |digits: &str| match digits {
            "" => quoted(""),
            digits => quoted(&format!("hex:{digits}")),
        };
        let mut keys: Vec<Key> = self.send.iter().map(|digits| ("send", bytes(digits))).collect();
        let Some(reply) = &self.reply else { return keys };
        let is_plain = !reply.contains('x');
        if is_plain {
            keys.push(("expect", bytes(reply)));
        }
        let pattern = self.pattern(reply);
        keys.extend((!is_plain || self.is_measured()).then(|| ("expect_regex", quoted(&pattern))));
        keys
    }

    fn is_measured(&self) -> bool {
        self.shortest > 0 || self.longest.is_some()
    }

    /// A pattern of an answer that starts so and is so long.
    fn pattern(&self, reply: &str) -> String {
        let mut pattern = "(?s-u)^".to_owned();
        let nibbles: Vec<char> = reply.chars().collect();
        for pair in nibbles.chunks(2) {
            match pair {
                ['x', 'x'] => pattern.push('.'),
                [high, 'x'] => drop(write!(pattern, "[\\x{high}0-\\x{high}f]")),
                ['x', low] => {
                    pattern.push('[');
                    for high in "0123456789abcdef".chars() {
                        let _ = write!(pattern, "\\x{high}{low}");
                    }
                    pattern.push(']');
                }
                _ => pattern.extend("\\x".chars().chain(pair.iter().copied())),
            }
        }
        if self.is_measured() {
            let known = nibbles.len() / 2;
            let rest = |length: usize| length.saturating_sub(known);
            let most = self.longest.map(|most| rest(most).max(rest(self.shortest)).to_string()).unwrap_or_default();
            let _ = write!(pattern, ".{{{},{most}}}$", rest(self.shortest));
        }
        pattern
    }
}

/// Hexadecimal digits, two for each byte, in small letters; else tells that there are none.
fn digits(node: &Node, key: &str, any: bool, ledger: &mut Ledger) -> Option<String> {
    let digits = node.args().concat().to_lowercase();
    let is_one = |byte: u8| byte.is_ascii_hexdigit() || any && byte == b'x';
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(is_one) {
        left(node, format!("its digits are no whole bytes: write `{key}` of the check"), ledger);
        return None;
    }
    if digits.contains('x') {
        changed(node, "`expect_regex`: a pattern that any digit fits in the place of X", ledger);
    } else {
        taken(node, usize::MAX - 1, ledger);
    }
    Some(digits)
}

fn length(node: &Node, ledger: &mut Ledger) -> Option<usize> {
    let length = number::<usize>(node, ledger)?;
    if length > MOST {
        left(node, format!("a pattern is written for up to {MOST} bytes: write `expect_regex` of the check"), ledger);
        return None;
    }
    changed(node, "`expect_regex`: a pattern of that length", ledger);
    Some(length)
}

/// Bytes of an answer that keepalived reads where the file says nothing.
const MOST: usize = 255;

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::*;

    #[test]
    fn an_answer_is_held_against_digits_and_length() {
        let of = |reply: &str, shortest, longest| {
            let datagram = Datagram { send: None, reply: Some(reply.to_owned()), shortest, longest };
            Regex::new(&datagram.pattern(reply)).unwrap()
        };
        type Row = (&'static str, usize, Option<usize>, &'static [u8], bool);
        let rows: [Row; 12] = [
            ("", 2, None, b"\xff\n", true),
            ("", 2, None, b"\xff", false),
            ("", 0, Some(2), b"\xff\x80", true),
            ("", 0, Some(2), b"\xff\x80\0", false),
            ("00", 2, Some(3), b"\0\xff", true),
            ("00", 2, Some(3), b"\0\xff\xff\xff", false),
            ("8x", 0, None, b"\x8f\xff", true),
            ("8x", 0, None, b"\x7f", false),
            ("x8", 0, None, b"\xf8", true),
            ("x8", 0, None, b"\xf9", false),
            ("xx01", 0, None, b"\n\x01", true),
            ("xx01", 2, Some(2), b"\n\x01\x01", false),
        ];
        for (reply, shortest, longest, answer, expected) in rows {
            assert_eq!(of(reply, shortest, longest).is_match(answer), expected, "{reply} {shortest} {longest:?}");
        }
    }
}
