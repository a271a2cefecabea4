//! The inner maps of `rings`: made, filled through a mapping, and read the same way.
#![expect(unsafe_code, reason = "a ring is filled through a shared mapping, not by a system call for each slot")]

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd as _, RawFd};
use std::ptr::NonNull;

use aya::maps::MapData;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_obj::generated::{bpf_attr, bpf_cmd};
use lb_common::maps::SlotPair;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::Error;

/// Flags of `lb_ebpf`'s `Ring`: the kernel takes only inner maps that were made with them.
const FLAGS: u32 = aya_obj::generated::BPF_F_MMAPABLE | aya_obj::generated::BPF_F_INNER_MAP;

/// Makes a ring's map with these entries.
///
/// # Errors
/// The kernel has no memory for it.
pub(super) fn create(content: &[u32]) -> Result<MapData, Error> {
    let pairs = u32::try_from(content.len().div_ceil(2)).map_err(|error| Error::map("rings", error))?;
    let (key, value) = (size_of::<u32>() as u32, size_of::<SlotPair>() as u32);
    let shape = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key, value, pairs, FLAGS);
    let map = MapData::create(shape, "ring", None).map_err(|error| Error::map("rings", error))?;
    let mapping = Mapping::new(map.fd(), content.len())?;
    mapping.write(content);
    Ok(map)
}

/// Puts rings into their places in `rings`, all by one system call. Each single update would wait until every CPU
/// has left the old ring (an RCU grace period, some 10 ms); a batch waits once.
///
/// # Errors
/// The kernel refuses one; those before it may be in place.
pub(super) fn put(outer: &MapData, rings: &[(u32, MapData)]) -> Result<(), Error> {
    let keys: Vec<u32> = rings.iter().map(|(id, _)| *id).collect();
    let fds: Vec<RawFd> = rings.iter().map(|(_, map)| map.fd().as_fd().as_raw_fd()).collect();
    // SAFETY: an attribute is valid when it is all zeros.
    let mut attribute: bpf_attr = unsafe { std::mem::zeroed() };
    attribute.batch.keys = keys.as_ptr() as u64;
    attribute.batch.values = fds.as_ptr() as u64;
    attribute.batch.count = keys.len() as u32;
    attribute.batch.map_fd = outer.fd().as_fd().as_raw_fd() as u32;
    // SAFETY: the keys and values that the attribute points to outlive the call, `count` of each, and are of the
    // sizes that the map was made with: u32, and a file descriptor.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_MAP_UPDATE_BATCH as libc::c_long,
            &raw mut attribute,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(Error::map("rings", std::io::Error::last_os_error()));
    }
    Ok(())
}

/// A mapping of a ring's map.
struct Mapping {
    start: NonNull<u32>,
    entries: usize,
}

impl Mapping {
    fn new(fd: impl AsFd, entries: usize) -> Result<Self, Error> {
        let bytes = NonZeroUsize::new(entries * size_of::<u32>()).ok_or_else(|| Error::map("rings", "empty ring"))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the kernel refuses a length beyond the map's.
        let start = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, fd, 0) }
            .map_err(|error| Error::map("rings", error))?;
        Ok(Self { start: start.cast(), entries })
    }

    fn write(&self, content: &[u32]) {
        // SAFETY: the mapping has `entries` aligned words, and the map is not in place yet, so nobody reads it.
        unsafe {
            std::ptr::copy_nonoverlapping(content.as_ptr(), self.start.as_ptr(), content.len().min(self.entries));
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and nothing borrows from it.
        let _ = unsafe { munmap(self.start.cast(), self.entries * size_of::<u32>()) };
    }
}
