//! The maps, as the kernel makes them. The agent sets the sizes from its config when it creates them and pins
//! them by these names; keys and values are described in `lb_common::maps`.
#![allow(non_upper_case_globals, reason = "a map's name is what bpftool and the pin directory show")]

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, DevMap, HashMap, PerCpuArray, PerCpuHashMap};
use aya_ebpf::macros::btf_map;
use lb_common::Verdict;
use lb_common::maps::{
    Bucket, Director, Drops, GATES, Gate, PORTS, Port, Real, ReturnKey, Service, ServiceKey, SlotPair, Stats, TX_PORTS, Turn,
    VerdictStats, Vip, VipKey, VirtualMac, VirtualMacKey,
};

/// A service's ring, its number of turns, and its turns. Its length differs from service to service, and the
/// agent fills it through a mapping before it is put in place.
pub type Ring = Array<SlotPair, 1, { (BPF_F_INNER_MAP | BPF_F_MMAPABLE) as usize }>;

/// By VIP, port and protocol.
#[btf_map]
pub static services: HashMap<ServiceKey, Service, 4096> = HashMap::new();

/// VIPs that have services of a protocol: what a fragment, which may have no port, is held against.
#[btf_map]
pub static vips: HashMap<VipKey, Vip, 4096> = HashMap::new();

/// By service id: swapped whole, so that no frame sees half a ring.
#[btf_map]
pub static rings: ArrayOfMaps<Ring, 4096> = ArrayOfMaps::new();

/// By the index that a ring's slot holds.
#[btf_map]
pub static reals: Array<Real, 32768> = Array::new();

/// Interfaces that the program runs on, by their index.
#[btf_map]
pub static ports: Array<Port, { PORTS as usize }> = Array::new();

/// What holds for the whole director.
#[btf_map]
pub static director: Array<Director, 1> = Array::new();

/// MACs that a service's frames don't come from, unless another director sent them here.
#[btf_map]
pub static returns: HashMap<ReturnKey, u32, 32768> = HashMap::new();

/// Virtual MACs of virtual routers, and whether this director is their master. Written by VRRP alone.
#[btf_map]
pub static virtual_macs: HashMap<VirtualMacKey, VirtualMac, { GATES as usize }> = HashMap::new();

/// By virtual router: whether a backup leaves its VIPs' frames alone. Written by VRRP alone.
#[btf_map]
pub static gates: Array<Gate, { GATES as usize }> = Array::new();

/// Remembered flows of tracked services.
#[btf_map]
pub static flows: Array<Bucket, 262144> = Array::new();

/// By service id: new connections of a tracked service so far.
#[btf_map]
pub static turns: Array<Turn, 4096> = Array::new();

/// By service id.
#[btf_map]
pub static service_stats: PerCpuArray<Stats, 4096> = PerCpuArray::new();

/// By real.
#[btf_map]
pub static real_stats: PerCpuArray<Stats, 32768> = PerCpuArray::new();

/// By verdict.
#[btf_map]
pub static verdicts: PerCpuArray<VerdictStats, { Verdict::COUNT }> = PerCpuArray::new();

/// By interface. Written by the programs of `drops`.
#[btf_map]
pub static drops: PerCpuHashMap<u32, Drops, { PORTS as usize }> = PerCpuHashMap::new();

/// Interfaces that frames are redirected to.
#[btf_map]
pub static tx_ports: DevMap<{ TX_PORTS as usize }> = DevMap::new();
