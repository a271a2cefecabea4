//! Requests to the kernel that are answered at once, and the kernel's own words where it refuses one.

use std::fmt;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};

/// Length of nlmsghdr, and of what stands in front of the words in an error (nlmsgerr with the request's header).
const HEADER: usize = 16;
const ERROR: usize = HEADER + 4 + HEADER;
/// NLMSGERR_ATTR_MSG (linux/netlink.h).
const WORDS: u16 = 1;
/// Bits of an attribute's type that aren't its number (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
const NUMBER: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// What the kernel answered instead of doing as it was asked.
#[derive(Debug, thiserror::Error)]
pub struct Refusal {
    /// Its error.
    #[source]
    pub error: io::Error,
    /// Its reason in words, where it has one.
    pub words: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words {
            Some(words) => write!(f, "{words} ({})", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { error, words: None }
    }
}

/// A netlink socket of the calling thread's network namespace.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// For links, queueing disciplines and filters: rtnetlink(7).
    ///
    /// # Errors
    /// The system's.
    pub fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// For the kernel's generic families.
    ///
    /// # Errors
    /// The system's.
    pub fn generic() -> io::Result<Self> {
        Self::open(NETLINK_GENERIC)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes a request; the bodies of what is answered.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn ask(&mut self, kind: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK, body)
    }

    /// Asks for all there are of a kind.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn dump(&mut self, kind: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, body)
    }

    /// Makes a request of a generic family; the attributes of what is answered.
    ///
    /// # Errors
    /// As [`Self::ask`]; ENOENT where the kernel has no such family.
    pub fn ask_family(&mut self, family: &str, command: u8, attributes: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        const CONTROL: u16 = 0x10;
        const GET_FAMILY: u8 = 3;
        const ID: u16 = 1;
        const NAME: u16 = 2;
        let mut name = family.as_bytes().to_vec();
        name.push(0);
        let answers = self.ask(CONTROL, &generic(GET_FAMILY, &attribute(NAME, &name)))?;
        let id = answers.iter().find_map(|answer| find(answer.get(4..)?, ID)?.try_into().ok().map(u16::from_ne_bytes));
        let id = id.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let answers = self.ask(id, &generic(command, attributes))?;
        Ok(answers.iter().filter_map(|answer| answer.get(4..).map(<[u8]>::to_vec)).collect())
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        self.socket.send(&message, 0)?;
        let mut bodies = Vec::new();
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            if answers(&bytes, self.sequence, &mut bodies)? {
                return Ok(bodies);
            }
        }
    }
}

/// Takes the answers to one request out of what was received; whether they are all.
fn answers(mut bytes: &[u8], sequence: u32, bodies: &mut Vec<Vec<u8>>) -> Result<bool, Refusal> {
    while let Some((header, rest)) = bytes.split_at_checked(HEADER) {
        let length = word(header, 0).unwrap_or_default() as usize;
        let message = bytes.get(..length).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let kind = i32::from(half(header, 4).unwrap_or_default());
        if word(header, 8) == Some(sequence) {
            match kind {
                libc::NLMSG_ERROR => return refusal(message).map_or(Ok(true), Err),
                libc::NLMSG_DONE => return Ok(true),
                _ => bodies.push(message.get(HEADER..).unwrap_or_default().to_vec()),
            }
        }
        bytes = rest.get(length.next_multiple_of(4).saturating_sub(HEADER)..).unwrap_or_default();
    }
    Ok(false)
}

/// What an acknowledgement refuses, if it does.
fn refusal(message: &[u8]) -> Option<Refusal> {
    let code = word(message, HEADER)?.cast_signed();
    if code == 0 {
        return None;
    }
    let words = message.get(ERROR..).and_then(|attributes| find(attributes, WORDS)).map(text);
    Some(Refusal { error: io::Error::from_raw_os_error(-code), words })
}

/// The header of a generic request, and its attributes.
fn generic(command: u8, attributes: &[u8]) -> Vec<u8> {
    const VERSION: u8 = 1;
    let mut body = vec![command, VERSION, 0, 0];
    body.extend(attributes);
    body
}

/// An attribute, padded to four bytes.
pub fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len());
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that holds attributes.
pub fn nested(number: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(number | NESTED, attributes)
}

/// The value of the first attribute of this number.
pub fn find(attributes: &[u8], number: u16) -> Option<&[u8]> {
    each(attributes).find_map(|(found, value)| (found == number).then_some(value))
}

/// Every attribute: its number and its value.
pub fn each(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let number = half(bytes, 2)? & NUMBER;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, value))
    })
}

/// A text up to its NUL.
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend((kind as u16).to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn acknowledgement(code: i32, words: &str) -> Vec<u8> {
        let mut body = code.to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        if !words.is_empty() {
            body.extend(attribute(WORDS, &[words.as_bytes(), &[0]].concat()));
        }
        message(libc::NLMSG_ERROR, 7, &body)
    }

    #[test]
    fn answers_end_with_their_acknowledgement_and_others_are_passed_over() {
        let mut bodies = Vec::new();
        let bytes = [message(20, 6, b"old!"), message(20, 7, b"answer"), acknowledgement(0, "")].concat();
        assert!(answers(&bytes, 7, &mut bodies).unwrap());
        assert_eq!(bodies, [b"answer".to_vec()]);
        assert!(!answers(&message(20, 7, b"part"), 7, &mut bodies).unwrap());
        assert!(answers(&message(libc::NLMSG_DONE, 7, &[]), 7, &mut bodies).unwrap());
        assert!(answers(&bytes[..bytes.len() - 4], 7, &mut bodies).is_err(), "cut off");
    }

    #[test]
    fn a_refusal_has_the_kernels_words() {
        let told = answers(&acknowledgement(-libc::ERANGE, "MTU too large for XDP"), 7, &mut Vec::new()).unwrap_err();
        assert_eq!(told.error.raw_os_error(), Some(libc::ERANGE));
        assert_eq!(told.words.as_deref(), Some("MTU too large for XDP"));
        assert!(told.to_string().starts_with("MTU too large for XDP (Numerical result"), "{told}");
        assert!(answers(&acknowledgement(-libc::EPERM, ""), 7, &mut Vec::new()).unwrap_err().words.is_none());
    }

    #[test]
    fn attributes_are_found_by_number_whatever_their_flags() {
        let bytes = [attribute(1, b"abc"), nested(2, &attribute(9, b"in"))].concat();
        assert_eq!(find(&bytes, 1), Some(&b"abc"[..]));
        assert_eq!(find(&bytes, 2).and_then(|inner| find(inner, 9)), Some(&b"in"[..]));
        assert_eq!(find(&bytes, 3), None);
        assert_eq!(each(&[3, 0, 1, 0]).count(), 0, "shorter than its own header");
    }
}
