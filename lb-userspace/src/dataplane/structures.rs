//! Where the running kernel's structures have their fields, by its own type information (BTF, kernel:
//! Documentation/bpf/btf.rst).

use std::fs;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// The kernel's types.
pub(super) struct Structures {
    bytes: Vec<u8>,
    /// Where each type stands, by its number less one.
    types: Vec<usize>,
    strings: usize,
}

impl Structures {
    /// Reads the running kernel's.
    pub(super) fn read() -> Option<Self> {
        Self::parse(fs::read(VMLINUX).ok()?)
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        const MAGIC: u16 = 0xeb9f;
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let header = word(&bytes, 4)? as usize;
        let [offset, length, strings] = [word(&bytes, 8)?, word(&bytes, 12)?, word(&bytes, 16)?].map(|n| n as usize);
        let end = header + offset + length;
        let mut types = Vec::new();
        let mut place = header + offset;
        while place < end {
            types.push(place);
            place += 12 + tail(word(&bytes, place + 4)?)?;
        }
        Some(Self { strings: header + strings, bytes, types })
    }

    /// The offset in bytes of a field of a structure; fields of its nameless parts are its own.
    pub(super) fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        let mut places = self.types.iter().copied().filter(|place| self.kind(*place) == Some(STRUCT));
        places.find(|place| self.is_named(*place, structure)).and_then(|place| self.field(place, field))
    }

    fn field(&self, structure: usize, field: &str) -> Option<u32> {
        let info = word(&self.bytes, structure + 4)?;
        // With bit fields among the members the high byte of an offset is a width.
        let bits = if info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
        (0..(info & 0xffff) as usize).find_map(|index| {
            let member = structure + 12 + 12 * index;
            let offset = (word(&self.bytes, member + 8)? & bits) / 8;
            if self.is_named(member, field) {
                return Some(offset);
            }
            let nameless = word(&self.bytes, member)? == 0;
            let inner = *self.types.get((word(&self.bytes, member + 4)? as usize).checked_sub(1)?)?;
            let is_compound = matches!(self.kind(inner)?, STRUCT | UNION);
            if nameless && is_compound { Some(offset + self.field(inner, field)?) } else { None }
        })
    }

    fn kind(&self, place: usize) -> Option<u32> {
        Some(word(&self.bytes, place + 4)? >> 24 & 0x1f)
    }

    /// Types and members begin with the place of their name.
    fn is_named(&self, place: usize, name: &str) -> bool {
        let start = word(&self.bytes, place).map(|offset| self.strings + offset as usize);
        let held = start.and_then(|start| self.bytes.get(start..start + name.len() + 1));
        held.is_some_and(|held| held.strip_suffix(&[0]) == Some(name.as_bytes()))
    }
}

/// Bytes behind a type of this kind.
fn tail(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    Some(match info >> 24 & 0x1f {
        // Pointers, forwards, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // Arrays; structures, unions, sections, 64-bit enumerations by their members; enumerations, prototypes.
        3 => 12,
        4 | 5 | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        _ => return None,
    })
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer, a union of it, and a structure `net` of two fields, one of them in the nameless union.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0net\0first\0inum\0";
        let types: Vec<u32> =
            [vec![1, 1 << 24, 4, 32], vec![0, 5 << 24 | 1, 4, 15, 1, 0], vec![5, 4 << 24 | 2, 12, 9, 1, 0, 0, 2, 64]]
                .concat();
        let length = types.len() as u32 * 4;
        let mut bytes = [0x9f, 0xeb, 1, 0].to_vec();
        bytes.extend([24, 0, length, length, strings.len() as u32].into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(types.into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn a_field_of_a_nameless_part_is_found_at_its_place() {
        let structures = Structures::parse(sample()).unwrap();
        assert_eq!(structures.offset("net", "first"), Some(0));
        assert_eq!(structures.offset("net", "inum"), Some(8));
        assert_eq!(structures.offset("net", "in"), None);
        assert_eq!(structures.offset("int", "first"), None);
        assert!(Structures::parse(b"no type information".to_vec()).is_none());
        assert!(Structures::parse(sample()[..40].to_vec()).is_none());
    }
}
