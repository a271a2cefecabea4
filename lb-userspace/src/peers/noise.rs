//! The secret channel of a connection: Noise (revision 34) `NNpsk0` by `snow`. Each side proves that it has the
//! directors' key; the keys of a connection are its own, so that nothing recorded can be read later or sent again.
//!
//! On the wire each Noise message follows its length in two bytes, in network byte order. The caller of a connection
//! proves its key by its first message after the handshake: the handshake's own first message may be a replay.

use snow::{Builder, HandshakeState, TransportState};

use super::key::Key;
use super::wire::MOST;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Both sides must have it: another protocol with the same key is another one.
const PROLOGUE: &[u8] = b"lb peers";
/// After so many messages one way, the key of that way is replaced by the next that follows from it.
const REKEY: u64 = 1 << 16;
/// Bytes that encryption adds.
const TAG: usize = 16;
/// Bytes of a message's length on the wire.
const LENGTH: usize = 2;
/// Bytes of a handshake message: a public key of 32, and a tag.
const HANDSHAKE: usize = 48;

/// What was sent isn't from a director with this key, or not in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was sent isn't by this key")]
pub struct Forged;

/// A handshake under way.
pub struct Handshake(HandshakeState);

impl Handshake {
    /// Of the side that calls.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn call(key: &Key) -> Result<Self, snow::Error> {
        let psk = key.noise();
        Ok(Self(builder(&psk)?.build_initiator()?))
    }

    /// Of the side that is called.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn answer(key: &Key) -> Result<Self, snow::Error> {
        let psk = key.noise();
        Ok(Self(builder(&psk)?.build_responder()?))
    }

    /// The next handshake message, with its length.
    ///
    /// # Errors
    /// It isn't this side's turn.
    pub fn write(&mut self) -> Result<Vec<u8>, Forged> {
        let mut message = [0; HANDSHAKE];
        let size = self.0.write_message(&[], &mut message).map_err(|_| Forged)?;
        let mut out = Vec::with_capacity(LENGTH + size);
        out.extend((size as u16).to_be_bytes());
        out.extend(message.get(..size).ok_or(Forged)?);
        Ok(out)
    }

    /// Takes the other side's message, without its length.
    ///
    /// # Errors
    /// The other side has another key.
    pub fn read(&mut self, message: &[u8]) -> Result<(), Forged> {
        self.0.read_message(message, &mut [0; HANDSHAKE]).map(drop).map_err(|_| Forged)
    }

    /// The channel, after each side has sent a message.
    ///
    /// # Errors
    /// One of them hasn't.
    pub fn finish(self) -> Result<Channel, Forged> {
        let transport = self.0.into_transport_mode().map_err(|_| Forged)?;
        Ok(Channel { transport, sent: 0, received: 0 })
    }
}

fn builder(psk: &[u8; 32]) -> Result<Builder<'_>, snow::Error> {
    Builder::new(PATTERN.parse()?).psk(0, psk)?.prologue(PROLOGUE)
}

/// Encrypts what goes and decrypts what comes.
pub struct Channel {
    transport: TransportState,
    sent: u64,
    received: u64,
}

impl Channel {
    /// Appends a message, encrypted and with its length.
    ///
    /// # Errors
    /// It is longer than [`MOST`].
    pub fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Forged> {
        let size = message.len() + TAG;
        let length = u16::try_from(size).map_err(|_| Forged)?;
        let start = out.len() + LENGTH;
        out.extend(length.to_be_bytes());
        out.resize(start + size, 0);
        let room = out.get_mut(start..).ok_or(Forged)?;
        self.transport.write_message(message, room).map_err(|_| Forged)?;
        self.sent += 1;
        if self.sent.is_multiple_of(REKEY) {
            self.transport.rekey_outgoing();
        }
        Ok(())
    }

    /// Decrypts a message, which was without its length.
    ///
    /// # Errors
    /// It isn't the next that the other side sealed.
    pub fn open(&mut self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Forged> {
        out.resize(sealed.len(), 0);
        let size = self.transport.read_message(sealed, out).map_err(|_| Forged)?;
        out.truncate(size);
        self.received += 1;
        if self.received.is_multiple_of(REKEY) {
            self.transport.rekey_incoming();
        }
        Ok(())
    }
}

/// Bytes of the longest message on the wire.
pub const LONGEST: usize = LENGTH + MOST + TAG;
/// Bytes of the longest message before the channel is there.
pub const LONGEST_HANDSHAKE: usize = LENGTH + HANDSHAKE;

/// The first whole message of what has come, without its length, and how many bytes it takes with it.
pub fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let size = usize::from(u16::from_be_bytes(*length));
    Some((rest.get(..size)?, LENGTH + size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(call: &str, answer: &str) -> Result<(Channel, Channel), Forged> {
        let mut call = Handshake::call(&Key::of(call)).unwrap();
        let mut answer = Handshake::answer(&Key::of(answer)).unwrap();
        let hello = call.write()?;
        assert!(hello.len() <= LONGEST_HANDSHAKE);
        answer.read(first(&hello).unwrap().0)?;
        let reply = answer.write()?;
        call.read(first(&reply).unwrap().0)?;
        Ok((call.finish()?, answer.finish()?))
    }

    fn sealed(channel: &mut Channel, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        channel.seal(message, &mut out).unwrap();
        assert_eq!(first(&out).unwrap().1, out.len());
        out.split_off(LENGTH)
    }

    #[test]
    fn both_hear_what_was_said() {
        let (mut a, mut b) = join("k", "k").unwrap();
        let mut out = Vec::new();
        // Past the change of keys, with the longest and the shortest messages among them.
        for n in 0..REKEY + 3 {
            let message = vec![n as u8; if n.is_multiple_of(REKEY) { MOST } else { n as usize % 3 }];
            let bytes = sealed(&mut a, &message);
            b.open(&bytes, &mut out).unwrap();
            assert_eq!(out, message);
        }
        let bytes = sealed(&mut b, b"answer");
        a.open(&bytes, &mut out).unwrap();
        assert_eq!(out, b"answer");
        assert_eq!(a.seal(&vec![0; MOST + 1], &mut out), Err(Forged));
    }

    #[test]
    fn another_key_is_heard_at_the_first_message() {
        assert!(join("k", "another").is_err());
    }

    #[test]
    fn changed_repeated_and_left_out_messages_are_refused() {
        let (mut a, mut b) = join("k", "k").unwrap();
        let mut out = Vec::new();
        let one = sealed(&mut a, b"one");
        let two = sealed(&mut a, b"two");
        assert_eq!(b.open(&two, &mut out), Err(Forged));
        assert_eq!(b.open(&one[1..], &mut out), Err(Forged));
        let mut changed = one.clone();
        changed[0] ^= 1;
        assert_eq!(b.open(&changed, &mut out), Err(Forged));
        b.open(&one, &mut out).unwrap();
        assert_eq!(b.open(&one, &mut out), Err(Forged));
        assert_eq!(b.open(b"", &mut out), Err(Forged));
        // What another connection of the same key said.
        let (mut c, _) = join("k", "k").unwrap();
        assert_eq!(b.open(&sealed(&mut c, b"two"), &mut out), Err(Forged));
    }

    #[test]
    fn a_replayed_call_proves_nothing() {
        let mut call = Handshake::call(&Key::of("k")).unwrap();
        let hello = call.write().unwrap();
        // It is answered, but whoever has recorded it can't say a word more.
        let mut answer = Handshake::answer(&Key::of("k")).unwrap();
        answer.read(first(&hello).unwrap().0).unwrap();
        answer.write().unwrap();
        let mut channel = answer.finish().unwrap();
        assert_eq!(channel.open(&[7; 64], &mut Vec::new()), Err(Forged));
    }
}
