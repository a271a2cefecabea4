//! The maps, as the kernel makes them. The agent sets the sizes from its config when it creates them and pins
//! them by these names; keys and values are described in `lb_common::maps`.
#![allow(non_upper_case_globals, reason = "a map's name is what bpftool and the pin directory show")]

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, DevMap, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap};
use aya_ebpf::macros::btf_map;
use lb_common::Verdict;
use lb_common::maps::{
    Director, Drops, FlowKeys, FlowLine, FragmentEntry, FragmentKey, GATES, Gate, Loads, PORTS, Pending, Port, Real,
    ReturnKey, Service, SlotPair, Stats, TX_PORTS, Turn, VerdictStats, Vip, VipKey, VirtualMac, VirtualMacKey,
};

/// Flags of the maps that the agent writes through a mapping; their entries start at the start of a page.
const MAPPED: usize = BPF_F_MMAPABLE as usize;

/// Two tables of services, of which one is in force.
#[btf_map]
pub static services: Array<Service, 16384, MAPPED> = Array::new();

/// VIPs that have services of a protocol: what a fragment whose ports aren't known is held against.
#[btf_map]
pub static vips: HashMap<VipKey, Vip, 4096> = HashMap::new();

/// Rings, and the lists of tracked services.
#[btf_map]
pub static slots: Array<SlotPair, 1048576, MAPPED> = Array::new();

/// By the number that a pool's entries start at, and a slot's number behind it.
#[btf_map]
pub static reals: Array<Real, 32768, MAPPED> = Array::new();

/// Interfaces that the program runs on, by their index.
#[btf_map]
pub static ports: Array<Port, { PORTS as usize }> = Array::new();

/// What holds for the whole director.
#[btf_map]
pub static director: Array<Director, 1, MAPPED> = Array::new();

/// MACs that a pool's frames don't come from, unless another director sent them here.
#[btf_map]
pub static returns: HashMap<ReturnKey, u32, 32768> = HashMap::new();

/// Virtual MACs of virtual routers, and whether this director is their master. Written by VRRP alone.
#[btf_map]
pub static virtual_macs: HashMap<VirtualMacKey, VirtualMac, { GATES as usize }> = HashMap::new();

/// By virtual router: whether a backup leaves its VIPs' frames alone. Written by VRRP alone.
#[btf_map]
pub static gates: Array<Gate, { GATES as usize }> = Array::new();

/// Remembered flows.
#[btf_map]
pub static flows: Array<FlowLine, 180224, MAPPED> = Array::new();

/// Whose those flows are.
#[btf_map]
pub static flow_keys: Array<FlowKeys, 180224, MAPPED> = Array::new();

/// First fragments of packets, for the others that follow.
#[btf_map]
pub static fragments: LruHashMap<FragmentKey, FragmentEntry, 16384> = LruHashMap::new();

/// Between the functions that find a fragment's or an ICMP error's real.
#[btf_map]
pub static pending: PerCpuArray<Pending, 1> = PerCpuArray::new();

/// By service id: new connections of a tracked service so far.
#[btf_map]
pub static turns: Array<Turn, 4096> = Array::new();

/// By the number that a service's counters start at, and a real's number behind it.
#[btf_map]
pub static real_stats: PerCpuArray<Stats, 32768> = PerCpuArray::new();

/// Live connections, by the same number. Written by the packet path, and mended by the agent.
#[btf_map]
pub static loads: Array<Loads, 32768, MAPPED> = Array::new();

/// By verdict.
#[btf_map]
pub static verdicts: PerCpuArray<VerdictStats, { Verdict::COUNT }> = PerCpuArray::new();

/// By interface. Written by the programs of `drops`.
#[btf_map]
pub static drops: PerCpuHashMap<u32, Drops, { PORTS as usize }> = PerCpuHashMap::new();

/// Interfaces that frames are redirected to.
#[btf_map]
pub static tx_ports: DevMap<{ TX_PORTS as usize }> = DevMap::new();

/// Of the program that tells its steps: those of the last frame.
#[cfg(feature = "log")]
#[btf_map]
pub static steps: Array<lb_common::trace::Record, { lb_common::trace::STEPS as usize }> = Array::new();

/// Likewise, how many steps there are, and how many copies of lines.
#[cfg(feature = "log")]
#[btf_map]
pub static told: Array<u32, 2> = Array::new();

/// Likewise, copies of lines of the flow table.
#[cfg(feature = "log")]
#[btf_map]
pub static lines: Array<FlowLine, 8> = Array::new();

/// Likewise, a copy of an entry of `loads`.
#[cfg(feature = "log")]
#[btf_map]
pub static load_copy: Array<Loads, 1> = Array::new();
