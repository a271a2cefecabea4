//! A reply of SMTP's out of bytes (RFC 5321 section 4.2): a code of three digits in front of each line, a dash behind it in
//! all but the last.

/// Bytes of one at most.
pub const BYTES: usize = 16 * 1024;
/// Lines of one at most.
pub const LINES: usize = 100;

/// A whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// Each line behind its code, without its end.
    pub lines: Vec<String>,
}

impl Reply {
    /// Whether it offers this extension: a line's first word, in any case, but the first line's, which is a name.
    #[must_use]
    pub fn has(&self, extension: &str) -> bool {
        let mut words = self.lines.iter().skip(1).filter_map(|line| line.split_whitespace().next());
        words.any(|word| word.eq_ignore_ascii_case(extension))
    }

    /// The text of its last line.
    #[must_use]
    pub fn last(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }
}

/// What bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// A reply, and how many of the bytes it takes.
    Whole(Reply, usize),
    /// The beginning of one.
    Part,
    /// One of more than [`BYTES`] or [`LINES`].
    TooLong,
    /// Something else.
    Other,
}

/// Reads one off the front. A line may end with a line feed alone.
#[must_use]
pub fn read(bytes: &[u8]) -> Read {
    let mut reply: Option<Reply> = None;
    let mut rest = bytes;
    loop {
        let known = reply.as_ref().map_or(0, |reply| reply.lines.len());
        if known >= LINES || bytes.len() - rest.len() > BYTES {
            return Read::TooLong;
        }
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            let is_one = begins(rest, reply.as_ref().map(|reply| reply.code));
            return match () {
                () if !is_one => Read::Other,
                () if bytes.len() > BYTES => Read::TooLong,
                () => Read::Part,
            };
        };
        let (line, after) = rest.split_at(end);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some((code, is_last, text)) = split(line) else { return Read::Other };
        let whole = reply.get_or_insert_with(|| Reply { code, lines: Vec::new() });
        if whole.code != code {
            return Read::Other;
        }
        whole.lines.push(String::from_utf8_lossy(text).into_owned());
        rest = after.get(1..).unwrap_or_default();
        let length = bytes.len() - rest.len();
        if is_last && length > BYTES {
            return Read::TooLong;
        }
        if is_last {
            return reply.map_or(Read::Other, |reply| Read::Whole(reply, length));
        }
    }
}

/// Whether this can be the beginning of a line of such a code.
fn begins(bytes: &[u8], code: Option<u16>) -> bool {
    let digits = bytes.get(..3).unwrap_or(bytes);
    let written = code.map(|code| code.to_string());
    let is_code = match &written {
        Some(code) => code.as_bytes().starts_with(digits),
        None => {
            digits.iter().all(u8::is_ascii_digit) && digits.first().is_none_or(|first| (b'2'..=b'5').contains(first))
        }
    };
    is_code && bytes.get(3).is_none_or(|byte| matches!(byte, b' ' | b'-' | b'\r'))
}

/// The code of a line, whether it is the last, and its text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code: u16 = str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?.parse().ok()?;
    if !(200..600).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

/// What the fuzz target `smtp_reply` does with one input: it is read in whole and byte by byte, which must come to the same.
///
/// # Panics
/// When a promise of the reader is broken.
#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
pub fn exercise(input: &[u8]) {
    let whole = read(input);
    if let Read::Whole(reply, length) = &whole
        && (*length > input.len() || *length > BYTES || reply.lines.is_empty() || reply.lines.len() > LINES)
    {
        panic!("{reply:?} of {length} bytes");
    }
    let mut step = (1..=input.len()).filter_map(|length| match input.get(..length).map(read) {
        None | Some(Read::Part) => None,
        Some(ended) => Some(ended),
    });
    // Too long ones are so as soon as they are.
    let first = step.next().unwrap_or(Read::Part);
    if first != whole && !(matches!(whole, Read::Other | Read::TooLong) && matches!(first, Read::Other | Read::TooLong))
    {
        panic!("{first:?} byte by byte, {whole:?} at once");
    }
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;

    const SEEDS: [&[u8]; 8] = [
        b"220 mail.example.org ESMTP\r\n",
        b"250-mail.example.org\r\n250-SIZE 1000\r\n250-STARTTLS\r\n250 HELP\r\n221 more",
        b"421\r\n",
        b"250-a\n250 b\n",
        b"220-a\r\n250 b\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"22",
        b"\xff\xfe\x00",
    ];

    #[test]
    fn replies_are_read_off_the_front() {
        let whole = |code, lines: &[&str], length| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            Read::Whole(Reply { code, lines }, length)
        };
        let rows: [(&[u8], Read); 16] = [
            (b"220 a b\r\n", whole(220, &["a b"], 9)),
            (b"220 a\nrest", whole(220, &["a"], 6)),
            (b"421\r\n", whole(421, &[""], 5)),
            (b"250-a\r\n250-\r\n250 b\r\n", whole(250, &["a", "", "b"], 20)),
            (b"", Read::Part),
            (b"2", Read::Part),
            (b"220-a\r\n22", Read::Part),
            (b"220 a\r", Read::Part),
            (b"220-a\r\n250 b\r\n", Read::Other),
            (b"220-a\r\n3", Read::Other),
            (b"120 a\r\n", Read::Other),
            (b"600 a\r\n", Read::Other),
            (b"+22 a\r\n", Read::Other),
            (b"220x\r\n", Read::Other),
            (b"\r\n", Read::Other),
            (b"SSH", Read::Other),
        ];
        for (bytes, expected) in rows {
            assert_eq!(read(bytes), expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(read(&b"250-a\r\n".repeat(LINES + 1)), Read::TooLong);
        assert_eq!(read(&[&b"220 "[..], &vec![b'a'; BYTES]].concat()), Read::TooLong);
        assert_eq!(read(&[&b"220 "[..], &vec![b'a'; BYTES], b"\r\n"].concat()), Read::TooLong);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), code in "([2-5][0-9][0-9][- ]?[a-z]{0,4}\r?\n){0,6}") {
            exercise(&bytes);
            exercise(code.as_bytes());
            exercise(&[code.as_bytes(), &bytes].concat());
        }
    }

    #[test]
    fn the_fuzz_corpus_breaks_nothing() {
        let seeds = (1..).zip(SEEDS).map(|(number, seed)| (format!("seed-{number}"), seed));
        crate::corpus::held("smtp_reply", seeds).iter().for_each(|bytes| exercise(bytes));
    }
}
