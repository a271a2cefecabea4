//! Kernels that lack what this one has: the same program and maps in the ways without it.
#![expect(unsafe_code, reason = "a map is made with BTF by the bare system call, as no loader does")]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_obj::generated::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, bpf_attr, bpf_cmd};
use lb_tests::scenario::{Fixture, SIZES};
use lb_tests::skip::skip;
use lb_tests::testbed::{Testbed, lacking};
use lb_userspace::dataplane::Features;

/// Without batches and without fragments every frame is forwarded as with them.
pub(crate) fn without_any(fixtures: &[Fixture]) -> Result<()> {
    let Some(mut testbed) = testbed(Features { frags: false, batch: false })? else { return Ok(()) };
    fixtures.iter().try_for_each(|fixture| fixture.play(&mut testbed))
}

/// The template of `rings` takes a ring that was made without BTF, and one that was made with it.
pub(crate) fn rings_with_and_without_btf() -> Result<()> {
    let Some(testbed) = testbed(Features { frags: true, batch: true })? else { return Ok(()) };
    let rings = MapData::from_pin(testbed.pins.map("rings"))?;
    let btf = btf()?;
    for btf in [None, Some(&btf)] {
        let ring = ring(btf).context("a ring")?;
        put(&rings, &ring).with_context(|| format!("with BTF: {}", btf.is_some()))?;
    }
    Ok(())
}

fn testbed(features: Features) -> Result<Option<Testbed>> {
    match lacking() {
        Some(reason) => skip(&format!("packet tests in the kernel: {reason}")),
        None => return Testbed::with(SIZES, || Ok(features)).map(Some),
    }
    Ok(None)
}

/// The least BTF that describes a ring: a number of four bytes, and two of them.
fn btf() -> io::Result<OwnedFd> {
    let int = [0, 1 << 24, 4, 32];
    let pair = [0, 3 << 24, 0, 1, 1, 2];
    let types = [int.as_slice(), &pair].concat();
    let length = types.len() as u32 * 4;
    let words = [0x0001_eb9f, 24, 0, length, length, 1].into_iter().chain(types);
    let mut blob: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
    blob.push(0);
    let mut attribute = attribute();
    // SAFETY: the union is all zeros, which is valid for each member.
    let load = unsafe { &mut attribute.__bindgen_anon_7 };
    (load.btf, load.btf_size) = (blob.as_ptr() as u64, blob.len() as u32);
    call(bpf_cmd::BPF_BTF_LOAD, &attribute).map(|fd| {
        // SAFETY: the kernel has just opened it for us alone.
        unsafe { OwnedFd::from_raw_fd(fd) }
    })
}

fn ring(btf: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let mut attribute = attribute();
    // SAFETY: as in `btf`.
    let create = unsafe { &mut attribute.__bindgen_anon_1 };
    create.map_type = BPF_MAP_TYPE_ARRAY as u32;
    (create.key_size, create.value_size, create.max_entries) = (4, 8, 7);
    create.map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE;
    if let Some(btf) = btf {
        create.btf_fd = btf.as_raw_fd() as u32;
        (create.btf_key_type_id, create.btf_value_type_id) = (1, 2);
    }
    // SAFETY: as in `btf`.
    call(bpf_cmd::BPF_MAP_CREATE, &attribute).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn put(rings: &MapData, ring: &OwnedFd) -> io::Result<()> {
    let (key, value) = (0_u32, ring.as_raw_fd());
    let mut attribute = attribute();
    // SAFETY: as in `btf`.
    let update = unsafe { &mut attribute.__bindgen_anon_2 };
    update.map_fd = rings.fd().as_fd().as_raw_fd() as u32;
    update.key = (&raw const key) as u64;
    update.__bindgen_anon_1.value = (&raw const value) as u64;
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &attribute).map(drop)
}

fn attribute() -> bpf_attr {
    // SAFETY: an attribute is valid when it is all zeros.
    unsafe { std::mem::zeroed() }
}

fn call(command: bpf_cmd, attribute: &bpf_attr) -> io::Result<i32> {
    // SAFETY: what the attribute points to outlives the call, and is of the sizes that it says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, attribute, size_of::<bpf_attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
