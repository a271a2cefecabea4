//! Pins that a version with other layouts left: what they say is read by the names of their fields, and their links go
//! over to this version's program once its maps serve.
//!
//! A field that changes its meaning gets another name; then it isn't found here, and what it said is found out anew.
#![expect(unsafe_code, reason = "keys and values of sizes that only the kernel knows")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use aya::maps::MapData;
use aya_obj::generated::{bpf_btf_info, bpf_cmd, bpf_map_info};
use lb_common::maps::{Real, Service, ServiceKey};
use nix::net::if_::if_indextoname;
use tracing::info;

use crate::host::xdp;

use super::btf::{Field, Types};
use super::load::innermost;
use super::maps::Adopted;
use super::syscall::{attribute, bpf, bpf_fd};
use super::{Dataplane, Error, Gates, Hook, Pins};

/// The directory that another version has pinned its maps and links in.
#[derive(Debug, Clone)]
pub(super) struct Predecessor {
    pins: Pins,
}

impl Predecessor {
    /// The one whose program is attached, if there is one.
    pub(super) fn find(pins: &Pins) -> Option<Self> {
        let others = pins.others().into_iter().map(|pins| Self { pins });
        others.max_by_key(|other| other.links().len()).filter(|other| !other.links().is_empty())
    }

    /// The interfaces that it serves.
    pub(super) fn links(&self) -> Vec<u32> {
        self.pins.linked().unwrap_or_default()
    }

    /// The path of its pins.
    pub(super) fn directory(&self) -> PathBuf {
        self.pins.directory().to_owned()
    }

    /// Its services and reals, in this version's terms.
    ///
    /// # Errors
    /// A map isn't there, or has no such fields.
    pub(super) fn read(&self) -> Result<Adopted, Error> {
        let services: Option<Vec<_>> = self.entries("services")?.iter().map(service).collect();
        let reals: Option<Vec<_>> = self.entries("reals")?.iter().map(real).collect();
        match (services, reals) {
            (Some(services), Some(reals)) => Ok(number(services, reals)),
            _ => {
                let path = self.pins.directory().display();
                Err(Error::map(format!("services or reals of {path}"), "other fields than are known here"))
            }
        }
    }

    /// Writes what its virtual routers had decided into this version's maps.
    ///
    /// # Errors
    /// As [`Self::read`], or the maps can't be written.
    pub(super) fn hand_gates(&self, gates: &mut Gates) -> Result<(), Error> {
        for entry in self.entries("gates")? {
            if let (Some(gate), Some(1)) = (entry.index(), entry.number("closed")) {
                gates.set(gate, true)?;
            }
        }
        for entry in self.entries("virtual_macs")? {
            let key = entry.number("ifindex").zip(entry.bytes("mac"));
            if let (Some((ifindex, mac)), Some(master)) = (key, entry.number("master")) {
                gates.set_virtual_mac(ifindex, mac, master != 0)?;
            }
        }
        Ok(())
    }

    fn entries(&self, name: &'static str) -> Result<Vec<Entry>, Error> {
        let path = self.pins.map(name);
        let error = |error: String| Error::map(path.display().to_string(), error);
        let map = MapData::from_pin(&path).map_err(|told| error(innermost(&told)))?;
        entries(&map).map_err(|told| error(told.to_string()))
    }
}

impl Dataplane {
    /// Where an interface runs a predecessor's program, which [`Self::succeed`] will replace.
    pub(super) fn awaits_succession(&self, ifindex: u32) -> Option<Hook> {
        let predecessor = self.predecessor.as_ref().filter(|predecessor| predecessor.links().contains(&ifindex))?;
        let generic = || xdp::attached(ifindex).is_ok_and(|held| held.is_some_and(|held| held.generic));
        // Generic XDP moves behind the socket buffers when it is taken over.
        Some(if generic() { Hook::Tc } else { predecessor.pins.hook(ifindex) })
    }

    /// Replaces the program of a predecessor's links, each without a lost packet, and removes what else it had.
    ///
    /// # Errors
    /// A pin can't be moved or removed: what isn't done stays, and the next call goes on.
    pub(super) fn succeed(&mut self) -> Result<(), Error> {
        let Some(predecessor) = self.predecessor.clone() else { return Ok(()) };
        for ifindex in predecessor.links() {
            predecessor.pins.hand_over(ifindex, &self.pins)?;
            let name = if_indextoname(ifindex).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(hook) = self.adopt(&name, ifindex)? {
                self.prepare(&name, ifindex, hook);
            }
        }
        for other in self.pins.others() {
            other.remove()?;
        }
        info!("the program of {} is replaced, without a gap", predecessor.directory().display());
        self.predecessor = None;
        Ok(())
    }
}

/// A key with its value.
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
    shape: std::rc::Rc<[Vec<Field>; 2]>,
}

impl Entry {
    /// The key of an array.
    fn index(&self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.key.as_slice().try_into().ok()?))
    }

    /// A field of the key or of the value, wherever it stands.
    fn field(&self, name: &str) -> Option<&[u8]> {
        let [key, value] = &*self.shape;
        let find = |fields: &[Field], bytes| -> Option<&[u8]> {
            let field = fields.iter().find(|field| field.name() == name)?;
            <[u8]>::get(bytes, field.offset..field.offset + field.size)
        };
        find(key, &self.key).or_else(|| find(value, &self.value))
    }

    fn bytes<const N: usize>(&self, name: &str) -> Option<[u8; N]> {
        self.field(name)?.try_into().ok()
    }

    /// A number of up to four bytes.
    fn number(&self, name: &str) -> Option<u32> {
        let field = self.field(name)?;
        let mut bytes = [0; 4];
        bytes.get_mut(..field.len())?.copy_from_slice(field);
        // Whatever is this machine's order: the others are zeros behind or before it.
        Some(if cfg!(target_endian = "little") {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes) >> (32 - 8 * field.len())
        })
    }
}

/// Gives them numbers from the first on: these maps may have less room, and no flow remembers the old ones.
fn number(mut services: Vec<(ServiceKey, Service)>, reals: Vec<Real>) -> Adopted {
    services.sort_by_key(|(_, service)| service.id);
    let ids: BTreeMap<u32, u32> = services.iter().map(|(_, service)| service.id).zip(0..).collect();
    for (_, service) in &mut services {
        service.id = ids.get(&service.id).copied().unwrap_or_default();
    }
    let reals = reals.into_iter().filter(|real| real.flags & Real::IN_USE != 0);
    let reals = reals.filter_map(|real| Some(Real { service: *ids.get(&real.service)?, ..real }));
    // A slot of 0 names no real.
    let reals = (1..).zip(reals).collect();
    Adopted {
        services: services.into_iter().collect(),
        reals,
        returns: BTreeSet::new(),
        vips: BTreeMap::new(),
        hash_seed: 0,
    }
}

fn service(entry: &Entry) -> Option<(ServiceKey, Service)> {
    let key = ServiceKey {
        address: entry.bytes("address")?,
        port: entry.bytes("port")?,
        protocol: u8::try_from(entry.number("protocol")?).ok()?,
        reserved: 0,
    };
    let half = |name| entry.number(name).and_then(|number| u16::try_from(number).ok()).unwrap_or_default();
    let service = Service {
        id: entry.number("id")?,
        // These follow from the configuration anyway.
        ring_size: entry.number("ring_size").unwrap_or_default(),
        flags: half("flags"),
        scheduler: half("scheduler"),
        gate: entry.number("gate").unwrap_or_default(),
    };
    Some((key, service))
}

fn real(entry: &Entry) -> Option<Real> {
    Some(Real {
        address: entry.bytes("address")?,
        mac: entry.bytes("mac")?,
        source_mac: entry.bytes("source_mac")?,
        ifindex: entry.number("ifindex")?,
        tx_port: 0,
        service: entry.number("service")?,
        vlan: u16::try_from(entry.number("vlan")?).ok()?,
        flags: u16::try_from(entry.number("flags")?).ok()?,
        weight: entry.number("weight").unwrap_or_default(),
    })
}

/// Every entry of a map of any shape.
fn entries(map: &MapData) -> io::Result<Vec<Entry>> {
    let fd = map.fd().as_fd().as_raw_fd() as u32;
    // SAFETY: plain integers, valid when they are all zeros.
    let mut shown: bpf_map_info = unsafe { std::mem::zeroed() };
    info(fd, &mut shown)?;
    let types = types(shown.btf_id)?;
    let shape = std::rc::Rc::new([types.fields(shown.btf_key_type_id), types.fields(shown.btf_value_type_id)]);
    let mut entries = Vec::new();
    let mut last: Option<Vec<u8>> = None;
    loop {
        let mut key = vec![0; shown.key_size as usize];
        let mut next = attribute();
        // SAFETY: the union is all zeros, which is valid for each member.
        let of = unsafe { &mut next.__bindgen_anon_2 };
        of.map_fd = fd;
        of.key = last.as_ref().map_or(0, |key| key.as_ptr() as u64);
        of.__bindgen_anon_1.next_key = key.as_mut_ptr() as u64;
        // SAFETY: both keys are as long as the map's, or the first is none.
        match unsafe { bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut next) } {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(entries),
            result => result?,
        };
        let mut value = vec![0; (shown.value_size as usize).next_multiple_of(8)];
        let mut look = attribute();
        // SAFETY: as above.
        let of = unsafe { &mut look.__bindgen_anon_2 };
        (of.map_fd, of.key) = (fd, key.as_ptr() as u64);
        of.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
        // SAFETY: the key is as long as the map's, the value at least so; none of these maps is per CPU.
        match unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut look) } {
            // It went in between.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            result => {
                result?;
                entries.push(Entry { key: key.clone(), value, shape: shape.clone() });
            }
        }
        last = Some(key);
    }
}

/// The types that a map was made with.
fn types(id: u32) -> io::Result<Types> {
    let unknown = || io::Error::other("it says nothing of its fields");
    if id == 0 {
        return Err(unknown());
    }
    let mut open = attribute();
    // SAFETY: the union is all zeros, which is valid for each member.
    unsafe { &mut open.__bindgen_anon_6 }.__bindgen_anon_1.btf_id = id;
    // SAFETY: the attribute has no pointers, and the kernel returns a file descriptor.
    let btf: OwnedFd = unsafe { bpf_fd(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut open) }?;
    // SAFETY: plain integers, valid when they are all zeros.
    let mut shown: bpf_btf_info = unsafe { std::mem::zeroed() };
    info(btf.as_raw_fd() as u32, &mut shown)?;
    let mut blob = vec![0_u8; shown.btf_size as usize];
    // What else it tells has no place to go to.
    // SAFETY: as above.
    shown = unsafe { std::mem::zeroed() };
    (shown.btf, shown.btf_size) = (blob.as_mut_ptr() as u64, blob.len() as u32);
    info(btf.as_raw_fd() as u32, &mut shown)?;
    Types::parse(&blob).ok_or_else(unknown)
}

/// What the kernel tells of an object, as much of it as it and `T` know.
fn info<T>(fd: u32, shown: &mut T) -> io::Result<()> {
    let mut attribute = attribute();
    attribute.info.bpf_fd = fd;
    attribute.info.info_len = size_of::<T>() as u32;
    attribute.info.info = std::ptr::from_mut(shown) as u64;
    // SAFETY: the kernel writes at most as many bytes as are said; a buffer that `T` points to is the caller's.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attribute) }.map(drop)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    fn entry(key: &[(&str, &[u8])], value: &[(&str, &[u8])]) -> Entry {
        let lay = |fields: &[(&str, &[u8])]| {
            let mut bytes = Vec::new();
            let place = |(path, content): &(&str, &[u8])| {
                // A hole, as another layout may have.
                bytes.push(0xee);
                bytes.extend_from_slice(content);
                Field { path: (*path).to_owned(), offset: bytes.len() - content.len(), size: content.len() }
            };
            let fields: Vec<Field> = fields.iter().map(place).collect();
            (bytes, fields)
        };
        let ((key, keys), (value, values)) = (lay(key), lay(value));
        Entry { key, value, shape: std::rc::Rc::new([keys, values]) }
    }

    #[test]
    fn a_service_of_another_shape_is_read_by_its_names() {
        let id = 7_u16.to_ne_bytes();
        let told = entry(
            &[("slot", &[0; 4])],
            &[("id", &id), ("key.protocol", &[6]), ("key.port", &[0, 80]), ("key.address", &[9; 16])],
        );
        let (key, service) = service(&told).unwrap();
        assert_eq!((key.address, key.port, key.protocol), ([9; 16], [0, 80], 6));
        assert_eq!((service.id, service.ring_size, service.gate), (7, 0, 0));
    }

    #[test]
    fn numbers_are_given_from_the_first_on() {
        let service = |port: u8, id| {
            let key = ServiceKey { address: [9; 16], port: [0, port], protocol: 6, reserved: 0 };
            (key, Service { id, ring_size: 251, flags: 0, scheduler: 0, gate: 0 })
        };
        let of = |service, flags| Real { service, flags, ..Real::new_zeroed() };
        let reals = vec![of(0, 0), of(7000, Real::IN_USE), of(5, Real::IN_USE), of(40, Real::IN_USE)];
        let adopted = number(vec![service(81, 7000), service(80, 40)], reals);
        let ids: Vec<_> = adopted.services.iter().map(|(key, service)| (key.port[1], service.id)).collect();
        assert_eq!(ids, [(80, 0), (81, 1)]);
        let reals: Vec<_> = adopted.reals.iter().map(|(index, real)| (*index, real.service)).collect();
        assert_eq!(reals, [(1, 1), (2, 0)]);
    }

    #[test]
    fn a_real_without_a_field_that_counts_is_none() {
        let (number, half) = (3_u32.to_ne_bytes(), 1_u16.to_ne_bytes());
        let fields: [(&str, &[u8]); 7] = [
            ("flags", &half),
            ("vlan", &half),
            ("service", &number),
            ("ifindex", &number),
            ("source_mac", &[1; 6]),
            ("mac", &[2; 6]),
            ("address", &[9; 16]),
        ];
        let held = real(&entry(&[], &fields)).unwrap();
        assert_eq!((held.mac, held.source_mac, held.ifindex, held.flags), ([2; 6], [1; 6], 3, 1));
        for missing in 0..fields.len() {
            let mut fields = fields.to_vec();
            fields.remove(missing);
            assert!(real(&entry(&[], &fields)).is_none(), "{missing}");
        }
    }
}
