//! The inner maps of `rings`: made, filled through a mapping, and read the same way.
#![expect(unsafe_code, reason = "a ring is filled through a shared mapping, not by a system call for each slot")]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd as _, RawFd};
use std::ptr::NonNull;

use aya::maps::{MapData, MapError};
use aya_obj::generated::bpf_cmd;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use lb_common::maps::SlotPair;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::Error;
use super::syscall::{attribute, bpf};

/// Flags of `lb_ebpf`'s `Ring`: the kernel takes only inner maps that were made with them.
const FLAGS: u32 = aya_obj::generated::BPF_F_MMAPABLE | aya_obj::generated::BPF_F_INNER_MAP;

/// Makes a ring's map with these entries.
///
/// # Errors
/// The kernel has no memory for it.
pub(super) fn create(content: &[u32]) -> Result<MapData, Error> {
    let map = allocate(content.len()).map_err(|error| Error::map("rings", error))?;
    let mapping = Mapping::new(map.fd(), content.len())?;
    mapping.write(content);
    Ok(map)
}

/// Makes a ring's map for so many entries.
///
/// # Errors
/// The kernel has no memory for it, or doesn't know its flags.
pub(super) fn allocate(entries: usize) -> io::Result<MapData> {
    let pairs = u32::try_from(entries.div_ceil(2)).map_err(io::Error::other)?;
    let (key, value) = (size_of::<u32>() as u32, size_of::<SlotPair>() as u32);
    let shape = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key, value, pairs, FLAGS);
    MapData::create(shape, "ring", None).map_err(|error| match error {
        MapError::CreateError { io_error, .. } => io_error,
        error => io::Error::other(error),
    })
}

/// Puts rings into their places in `rings`. Each update waits until every CPU has left the old ring (an RCU grace period,
/// some 10 ms); in a `batch` all of them wait once.
///
/// # Errors
/// The kernel refuses one; those before it may be in place.
pub(super) fn put(outer: &MapData, rings: &[(u32, MapData)], batch: bool) -> Result<(), Error> {
    let keys: Vec<u32> = rings.iter().map(|(id, _)| *id).collect();
    let fds: Vec<RawFd> = rings.iter().map(|(_, map)| map.fd().as_fd().as_raw_fd()).collect();
    let put = if batch {
        put_all(outer, &keys, &fds)
    } else {
        keys.iter().zip(&fds).try_for_each(|(key, fd)| put_one(outer, key, fd))
    };
    put.map_err(|error| Error::map("rings", error))
}

fn put_all(outer: &MapData, keys: &[u32], fds: &[RawFd]) -> io::Result<()> {
    let mut attribute = attribute();
    attribute.batch.keys = keys.as_ptr() as u64;
    attribute.batch.values = fds.as_ptr() as u64;
    attribute.batch.count = keys.len() as u32;
    attribute.batch.map_fd = outer.fd().as_fd().as_raw_fd() as u32;
    // SAFETY: the keys and values that the attribute points to outlive the call, `count` of each, and are of the
    // sizes that the map was made with: u32, and a file descriptor.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attribute) }.map(drop)
}

fn put_one(outer: &MapData, key: &u32, fd: &RawFd) -> io::Result<()> {
    let mut attribute = attribute();
    // SAFETY: the union is all zeros, which is valid for each member.
    let update = unsafe { &mut attribute.__bindgen_anon_2 };
    update.map_fd = outer.fd().as_fd().as_raw_fd() as u32;
    update.key = std::ptr::from_ref(key) as u64;
    update.__bindgen_anon_1.value = std::ptr::from_ref(fd) as u64;
    // SAFETY: as in `put_all`, for one entry.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attribute) }.map(drop)
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
