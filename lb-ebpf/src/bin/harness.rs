//! Programs of the tests and the bench, never of a director.
#![no_std]
#![no_main]
#![allow(non_upper_case_globals, reason = "a map's name is what the loader asks for")]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_TX};
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

/// What `driver` does to each frame before the program under test sees it.
#[repr(C)]
pub struct Drive {
    /// State of the random numbers, or the next flow's number.
    pub state: u64,
    /// The frame's Ethernet addresses, which the last run changed: the first 8 bytes of them.
    pub addresses: u64,
    /// The other 4.
    pub addresses_end: u32,
    /// Flows to draw from; 0 takes a new one for each frame, 1 leaves the frame's own.
    pub flows: u32,
    /// Where the last four bytes of the client's address are.
    pub client: u32,
    /// Where the client's port is.
    pub port: u32,
}

/// The addresses of a frame as the driver writes them: in two stores, so that it costs next to nothing, and so that
/// the program under test reads what was written in one piece.
#[repr(C, packed)]
struct Addresses {
    start: u64,
    end: u32,
}

#[btf_map]
static drive: Array<Drive, 1> = Array::new();

/// The program under test.
#[btf_map]
static target: ProgramArray<1> = ProgramArray::new();

/// Restores what the last run changed, draws a flow, and goes on to the program under test.
#[xdp(frags)]
pub fn driver(context: XdpContext) -> u32 {
    if prepare(&context).is_some() {
        // SAFETY: the context is this run's own. It comes back only when there is no program under test.
        unsafe { target.tail_call(&context, 0) };
    }
    XDP_ABORTED
}

#[inline(always)]
fn prepare(context: &XdpContext) -> Option<()> {
    let plan = drive.get_ptr_mut(0)?;
    // SAFETY: the bench runs on one CPU at a time, so the plan is this run's alone.
    let plan = unsafe { &mut *plan };
    put(context, 0, Addresses { start: plan.addresses, end: plan.addresses_end })?;
    if plan.flows == 1 {
        return Some(());
    }
    let flow = if plan.flows == 0 {
        plan.state += 1;
        plan.state as u32
    } else {
        plan.state = plan.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (((plan.state >> 32) * u64::from(plan.flows)) >> 32) as u32
    };
    // 4096 ports of each client.
    put(context, plan.client, (0x0a00_0000 + (flow >> 12)).to_be())?;
    put(context, plan.port, (0x4000 + (flow & 0xfff) as u16).to_be())
}

/// Writes over the frame's bytes from `offset` on.
#[inline(always)]
fn put<T>(context: &XdpContext, offset: u32, value: T) -> Option<()> {
    // Masked so that the verifier sees a bound.
    let place = context.data() + (offset & 0x7f) as usize;
    if place + size_of::<T>() > context.data_end() {
        return None;
    }
    // SAFETY: the bytes lie inside the frame, which the kernel gives to this run alone.
    unsafe { (place as *mut T).write_unaligned(value) };
    Some(())
}

/// The least that a program can do with a frame that it sends back.
#[xdp(frags)]
pub fn floor(_: XdpContext) -> u32 {
    XDP_TX
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
