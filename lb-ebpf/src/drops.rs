//! What the kernel drops behind the XDP program, counted by interface at the kernel's tracepoints (include/trace/events/
//! xdp.h). They tell of every network namespace; only the agent's own counts.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use lb_common::maps::Drops;

use crate::maps;

/// Where the running kernel's structures have what is asked of an interface, in bytes. Set by the agent.
#[unsafe(no_mangle)]
static IFINDEX: u32 = 0;
/// Likewise, the pointer to its network namespace.
#[unsafe(no_mangle)]
static NAMESPACE: u32 = 0;
/// Likewise, in a network namespace, its number.
#[unsafe(no_mangle)]
static NUMBER: u32 = 0;
/// The number of the agent's own network namespace.
#[unsafe(no_mangle)]
static OWN: u32 = 0;

/// `(net_device *dev, bpf_prog *xdp, u32 act)`: the program aborted, or the driver could not do as it said.
#[raw_tracepoint(tracepoint = "xdp_exception")]
pub fn lb_exception(context: RawTracePointContext) -> i32 {
    count(context.arg(0), Drops { refused: 1, unsent: 0 })
}

/// `(net_device *dev, bpf_prog *xdp, void *tgt, int err, …)`: a redirected frame's interface is not there, is down, or
/// has no way to send it.
#[raw_tracepoint(tracepoint = "xdp_redirect_err")]
pub fn lb_redirect_err(context: RawTracePointContext) -> i32 {
    count(context.arg(0), Drops { refused: 1, unsent: 0 })
}

/// `(net_device *from, net_device *to, int sent, int drops, int err)`: redirected frames were given to a driver.
#[raw_tracepoint(tracepoint = "xdp_devmap_xmit")]
pub fn lb_devmap_xmit(context: RawTracePointContext) -> i32 {
    unsent(context.arg(1), context.arg(3))
}

/// `(net_device *dev, int sent, int drops, int err)`: frames of XDP_TX were given to a driver.
#[raw_tracepoint(tracepoint = "xdp_bulk_tx")]
pub fn lb_bulk_tx(context: RawTracePointContext) -> i32 {
    unsent(context.arg(0), context.arg(2))
}

#[inline(always)]
fn unsent(device: u64, drops: i32) -> i32 {
    match u64::try_from(drops) {
        Err(_) | Ok(0) => 0,
        Ok(drops) => count(device, Drops { refused: 0, unsent: drops }),
    }
}

/// Adds to the interface's counters, and returns what a tracepoint's program has to return.
#[inline(always)]
fn count(device: u64, more: Drops) -> i32 {
    let Some(ifindex) = own(device) else { return 0 };
    if let Some(drops) = maps::drops.get_ptr_mut(ifindex) {
        // SAFETY: the entry is this CPU's own.
        unsafe {
            (*drops).refused += more.refused;
            (*drops).unsent += more.unsent;
        }
    } else {
        // The agent shows what it knows; a full map has more interfaces than the machine.
        let _ = maps::drops.insert(ifindex, more, 0);
    }
    0
}

/// The index of an interface, if it is in the agent's network namespace.
#[inline(always)]
fn own(device: u64) -> Option<u32> {
    let namespace: u64 = read(device, &NAMESPACE)?;
    let number: u32 = read(namespace, &NUMBER)?;
    if number == set(&OWN) { read(device, &IFINDEX) } else { None }
}

/// What stands in a structure of the kernel's, so many bytes behind its start.
#[inline(always)]
fn read<T: Copy>(structure: u64, offset: &u32) -> Option<T> {
    let place = structure + u64::from(set(offset));
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(place as *const T).ok() }
}

/// What the agent has set before it loaded the program.
#[inline(always)]
fn set(global: &u32) -> u32 {
    // SAFETY: a static of this program; read so that the compiler doesn't take it for a constant.
    unsafe { core::ptr::read_volatile(global) }
}
