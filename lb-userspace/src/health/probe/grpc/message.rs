//! The two messages of gRPC's health protocol, by hand: each has one field. A message stands behind a byte that says
//! whether it is compressed, and its length in four (network order).

/// Bytes of an answer that are read at most: a state takes 7.
pub const BYTES: usize = 4096;

/// `HealthCheckRequest { service = 1 }`, behind its prefix. A name is shorter than 256 bytes.
#[must_use]
pub fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | LENGTH_DELIMITED);
        varint(service.len(), &mut message);
        message.extend(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// Kinds of fields on the wire.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

fn varint(mut number: usize, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// The state of the service that was asked for: 1 is SERVING.
    State(u64),
    /// No answer of the health protocol's.
    Other,
}

/// Reads `HealthCheckResponse { status = 1 }` behind its prefix: the one message of an answer.
#[must_use]
pub fn read(bytes: &[u8]) -> Read {
    state(bytes).map_or(Read::Other, Read::State)
}

fn state(bytes: &[u8]) -> Option<u64> {
    let (&[compressed, a, b, c, d], mut rest) = bytes.split_first_chunk::<5>()?;
    if compressed != 0 || usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()? != rest.len() {
        return None;
    }
    // A field that isn't there has the value of zero, and of several the last counts.
    let mut state = 0;
    while !rest.is_empty() {
        let tag = take(&mut rest)?;
        let kind = u8::try_from(tag & 7).ok()?;
        match kind {
            VARINT => {
                let value = take(&mut rest)?;
                if tag >> 3 == 1 {
                    state = value;
                }
            }
            _ if tag >> 3 == 1 => return None,
            FIXED64 => rest = rest.get(8..)?,
            FIXED32 => rest = rest.get(4..)?,
            LENGTH_DELIMITED => {
                let length = usize::try_from(take(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(state)
}

/// A number in seven bits a byte, the lowest first; of ten bytes at most.
fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(shift).filter(|moved| moved >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What the fuzz target `grpc_health` does with one input.
///
/// # Panics
/// When a promise of the reader is broken.
#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
pub fn exercise(input: &[u8]) {
    if let Read::State(state) = read(input) {
        // Written again behind what was read, the last one counts.
        let message = input.get(5..).unwrap_or_default();
        let longer = [message, &[1 << 3 | VARINT, 2]].concat();
        let length = u32::try_from(longer.len()).unwrap_or(u32::MAX);
        let again = read(&[&[0][..], &length.to_be_bytes(), &longer].concat());
        if again != Read::State(2) {
            panic!("{state} and then 2 is {again:?}");
        }
    }
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;

    const SEEDS: [&[u8]; 5] = [
        b"\0\0\0\0\x02\x08\x01",
        b"\0\0\0\0\0",
        b"\0\0\0\0\x0b\x12\x03abc\x0d\0\0\0\0\x08",
        b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x01\0\0\0\x02\x08\x01",
    ];

    #[test]
    fn requests_and_answers_as_protobuf_has_them() {
        assert_eq!(request(""), b"\0\0\0\0\0");
        assert_eq!(request("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "a".repeat(200);
        assert_eq!(request(&long), [&b"\0\0\0\0\xcb\x0a\xc8\x01"[..], long.as_bytes()].concat());
        let rows: [(&[u8], Read); 14] = [
            (b"\0\0\0\0\x02\x08\x01", Read::State(1)),
            (b"\0\0\0\0\x02\x08\x02", Read::State(2)),
            (b"\0\0\0\0\0", Read::State(0)),
            (b"\0\0\0\0\x04\x08\x02\x08\x01", Read::State(1)),
            (b"\0\0\0\0\x03\x08\x81\x01", Read::State(129)),
            // Fields of a later version.
            (b"\0\0\0\0\x07\x12\x03abc\x08\x01", Read::State(1)),
            (b"\0\0\0\0\x07\x15\0\0\0\0\x08\x01", Read::State(1)),
            (b"\0\0\0\0\x0b\x11\0\0\0\0\0\0\0\0\x08\x01", Read::State(1)),
            (b"\0\0\0\0\x02\x0b\x01", Read::Other),
            (b"\x01\0\0\0\x02\x08\x01", Read::Other),
            (b"\0\0\0\0\x03\x08\x01", Read::Other),
            (b"\0\0\0\0\x01\x08\x01", Read::Other),
            (b"\0\0\0\0\x02\x12\x7f", Read::Other),
            (b"\0\0\0", Read::Other),
        ];
        for (bytes, expected) in rows {
            assert_eq!(read(bytes), expected, "{}", bytes.escape_ascii());
        }
        // Eleven bytes of a number, or more than 64 bits.
        assert_eq!(read(&[&b"\0\0\0\0\x0c\x08"[..], &[0xff; 10], &[1]].concat()), Read::Other);
        assert_eq!(read(&[&b"\0\0\0\0\x0b\x08"[..], &[0xff; 9], &[2]].concat()), Read::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            exercise(&bytes);
            let length = u32::try_from(bytes.len()).unwrap();
            exercise(&[&[0][..], &length.to_be_bytes(), &bytes].concat());
        }
    }

    #[test]
    fn the_fuzz_corpus_breaks_nothing() {
        let seeds = (1..).zip(SEEDS).map(|(number, seed)| (format!("seed-{number}"), seed));
        crate::corpus::held("grpc_health", seeds).iter().for_each(|bytes| exercise(bytes));
    }
}
