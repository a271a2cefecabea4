//! A name for the layout of all maps: it changes by itself with whatever two versions must agree on to share pins.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use lb_common::{Verdict, hash_sample};

use super::btf::Types;
use super::load::object;

/// The digest of [`describe`] for the object that this binary carries, in 16 hexadecimal digits.
pub(super) fn digest() -> &'static str {
    static DIGEST: LazyLock<String> = LazyLock::new(|| {
        let described = object().ok().and_then(describe).unwrap_or_default();
        format!("{:016x}", fnv(described.as_bytes()))
    });
    &DIGEST
}

/// Everything that counts, as text: each map's kind, sizes, and the fields of its keys and values by name and place; the
/// verdicts in their order; what the hashes make of known flows. Sizes that the configuration sets don't count.
fn describe(object: &[u8]) -> Option<String> {
    let object = aya_obj::Object::parse(object).ok()?;
    let types = Types::parse(&object.btf.as_ref()?.to_bytes())?;
    let mut text = String::new();
    for (name, map) in object.maps.iter().collect::<BTreeMap<_, _>>() {
        describe_map(&mut text, &types, name, map);
        if let Some(inner) = map.inner() {
            describe_map(&mut text, &types, name, &inner);
        }
    }
    let verdicts: Vec<&str> = Verdict::ALL.iter().map(|verdict| verdict.name()).collect();
    let _ = write!(text, "{verdicts:?} {:?}", hash_sample());
    Some(text)
}

fn describe_map(text: &mut String, types: &Types, name: &str, map: &aya_obj::Map) {
    let (kind, key, value, flags) = (map.map_type(), map.key_size(), map.value_size(), map.map_flags());
    let _ = writeln!(text, "{name} {kind} {key} {value} {flags}");
    if let aya_obj::Map::Btf(map) = map {
        for id in [map.def.btf_key_type_id, map.def.btf_value_type_id] {
            for field in types.fields(id) {
                let _ = writeln!(text, "  {} {} {}", field.path, field.offset, field.size);
            }
        }
    }
}

/// FNV-1a (draft-eastlake-fnv), which is the same in every version of this binary.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_every_map_with_its_fields() {
        let Ok(object) = object() else { return };
        let text = describe(object).unwrap();
        for line in ["services ", "  address 0 16\n", "flows ", "  words 0 64\n", "  mac ", "\"forwarded\""] {
            assert!(text.contains(line), "{line:?} is missing in {text}");
        }
        assert_eq!(digest().len(), 16);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
