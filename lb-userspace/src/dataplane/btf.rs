//! Where the fields of a map's keys and values are, by their BTF (kernel, Documentation/bpf/btf.rst): in this program's
//! object, and in what another version has pinned.

/// The types of one BTF blob.
#[derive(Debug)]
pub(super) struct Types {
    types: Vec<Type>,
}

/// A number, or a row of numbers, within a key or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name and those that it is within, the outermost first. An array of structs is shown by its first.
    pub(super) path: String,
    /// Its first byte.
    pub(super) offset: usize,
    /// Its length in bytes.
    pub(super) size: usize,
}

impl Field {
    /// Its own name.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }
}

#[derive(Debug)]
enum Type {
    /// Bytes that are one thing: an integer, an enumeration, a pointer.
    Scalar {
        size: usize,
    },
    Array {
        element: u32,
        count: usize,
    },
    Struct {
        size: usize,
        members: Vec<Member>,
    },
    /// Another name for a type, or a qualifier of it.
    Alias(u32),
    /// What no map holds.
    Other,
}

#[derive(Debug)]
struct Member {
    name: String,
    of: u32,
    offset: usize,
}

/// First half-word of a BTF blob.
const MAGIC: u16 = 0xeb9f;
/// Deepest nesting of types that is followed.
const DEPTH: usize = 16;

impl Types {
    /// Reads a blob in this machine's byte order; `None` where it isn't one.
    pub(super) fn parse(blob: &[u8]) -> Option<Self> {
        let head = Reader { bytes: blob };
        if head.half(0)? != MAGIC {
            return None;
        }
        let behind = head.word(4)? as usize;
        let section = |at: usize| {
            let start = behind + head.word(at)? as usize;
            blob.get(start..start + head.word(at + 4)? as usize)
        };
        let (mut rest, strings) = (Reader { bytes: section(8)? }, section(16)?);
        // Type 0 is void.
        let mut types = vec![Type::Other];
        while !rest.bytes.is_empty() {
            types.push(rest.take(strings)?);
        }
        Some(Self { types })
    }

    /// The fields of a type, in the order of its declaration.
    pub(super) fn fields(&self, id: u32) -> Vec<Field> {
        let mut fields = Vec::new();
        self.collect(id, "", 0, DEPTH, &mut fields);
        fields
    }

    fn collect(&self, id: u32, path: &str, offset: usize, depth: usize, fields: &mut Vec<Field>) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match self.types.get(id as usize) {
            Some(Type::Alias(of)) => self.collect(*of, path, offset, depth, fields),
            Some(Type::Struct { members, .. }) => {
                for member in members {
                    let path = if path.is_empty() { member.name.clone() } else { format!("{path}.{}", member.name) };
                    self.collect(member.of, &path, offset + member.offset, depth, fields);
                }
            }
            Some(Type::Array { element, .. }) if self.is_struct(*element) => {
                self.collect(*element, path, offset, depth, fields);
            }
            Some(_) => fields.push(Field { path: path.to_owned(), offset, size: self.size(id, DEPTH) }),
            None => {}
        }
    }

    /// Whether a type is a struct, by whatever name.
    pub(super) fn is_struct(&self, id: u32) -> bool {
        let mut id = id;
        for _ in 0..DEPTH {
            match self.types.get(id as usize) {
                Some(Type::Alias(of)) => id = *of,
                kind => return matches!(kind, Some(Type::Struct { .. })),
            }
        }
        false
    }

    fn size(&self, id: u32, depth: usize) -> usize {
        let Some(depth) = depth.checked_sub(1) else { return 0 };
        match self.types.get(id as usize) {
            Some(Type::Scalar { size } | Type::Struct { size, .. }) => *size,
            Some(Type::Array { element, count }) => self.size(*element, depth).saturating_mul(*count),
            Some(Type::Alias(of)) => self.size(*of, depth),
            Some(Type::Other) | None => 0,
        }
    }
}

/// What is left of a section.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn half(&self, at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(self.bytes.get(at..at + 2)?.try_into().ok()?))
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes.get(at..at + 4)?.try_into().ok()?))
    }

    /// The next type, of which the reader is then past.
    fn take(&mut self, strings: &[u8]) -> Option<Type> {
        const HEADER: usize = 12;
        let (info, size) = (self.word(4)?, self.word(8)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let (kind, behind) = match kind {
            1 => (Type::Scalar { size: size as usize }, 4),
            2 => (Type::Scalar { size: size_of::<u64>() }, 0),
            3 => (Type::Array { element: self.word(HEADER)?, count: self.word(HEADER + 8)? as usize }, 12),
            4 | 5 => {
                // Bit fields, of which no map has any, have their size in the upper byte.
                let bits = if info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
                let member = |index: usize| {
                    let at = HEADER + index * 12;
                    let name = name(strings, self.word(at)?)?;
                    Some(Member { name, of: self.word(at + 4)?, offset: (self.word(at + 8)? & bits) as usize / 8 })
                };
                let members = (0..count).map(member).collect::<Option<_>>()?;
                (Type::Struct { size: size as usize, members }, count * 12)
            }
            6 => (Type::Scalar { size: size as usize }, count * 8),
            8..=11 | 18 => (Type::Alias(size), 0),
            13 => (Type::Other, count * 8),
            14 | 17 => (Type::Other, 4),
            15 => (Type::Other, count * 12),
            16 => (Type::Scalar { size: size as usize }, 0),
            19 => (Type::Scalar { size: size as usize }, count * 12),
            7 | 12 => (Type::Other, 0),
            _ => return None,
        };
        self.bytes = self.bytes.get(HEADER + behind..)?;
        Some(kind)
    }
}

fn name(strings: &[u8], at: u32) -> Option<String> {
    let text = strings.get(at as usize..)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A blob of these types and strings.
    pub(crate) fn blob(types: &[u32], strings: &str) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut blob = MAGIC.to_ne_bytes().to_vec();
        blob.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            blob.extend(word.to_ne_bytes());
        }
        blob.extend(types);
        blob.extend(strings.bytes());
        blob
    }

    /// `struct { struct { u32 id; u32 at[4]; } key; u32 flags; }` is type 4.
    fn nested() -> Vec<u8> {
        const INT: u32 = 1 << 24;
        const ARRAY: u32 = 3 << 24;
        const STRUCT: u32 = 4 << 24;
        let types = [
            [0, INT, 4, 32].as_slice(),
            &[0, ARRAY, 0, 1, 1, 4],
            &[0, STRUCT | 2, 20, 1, 1, 0, 4, 2, 32],
            &[0, STRUCT | 2, 24, 7, 3, 0, 11, 1, 160],
        ];
        blob(&types.concat(), "\0id\0at\0key\0flags\0")
    }

    #[test]
    fn fields_are_found_by_their_names_at_any_depth() {
        let types = Types::parse(&nested()).unwrap();
        let field = |path: &str, offset, size| Field { path: path.to_owned(), offset, size };
        assert_eq!(types.fields(4), [field("key.id", 0, 4), field("key.at", 4, 16), field("flags", 20, 4)]);
        assert_eq!(types.fields(4).iter().map(Field::name).collect::<Vec<_>>(), ["id", "at", "flags"]);
        assert!(types.is_struct(4) && !types.is_struct(2));
    }

    #[test]
    fn a_blob_that_ends_early_or_turns_in_a_circle_is_survived() {
        let blob = nested();
        for length in 0..blob.len() - 1 {
            assert!(Types::parse(&blob[..length]).is_none(), "{length}");
        }
        let circle = super::tests::blob(&[0, 8 << 24, 1], "\0");
        assert_eq!(Types::parse(&circle).unwrap().fields(1), []);
    }
}
