//! Programs of the tests and the bench, never of a director.
#![no_std]
#![no_main]
#![allow(non_upper_case_globals, reason = "a map's name is what the loader asks for")]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX};
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lb_common::Packet;

/// What `driver` does to each frame before the program under test sees it.
#[repr(C)]
pub struct Drive {
    /// State of the random numbers, or the next flow's number.
    pub state: u64,
    /// Flows to draw from; 0 takes a new one for each frame.
    pub flows: u32,
    /// Where the last four bytes of the client's address are.
    pub client: u32,
    /// Where the client's port is.
    pub port: u32,
    /// The Ethernet addresses to restore.
    pub addresses: [u8; 12],
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
    // SAFETY: the kernel gives the frame's bytes to this run alone; the bench runs on one CPU at a time, so the
    // plan is this run's alone as well.
    let (mut packet, plan) = unsafe { (Packet::from_pointers(context.data(), context.data_end()), &mut *plan) };
    let flow = if plan.flows == 0 {
        plan.state += 1;
        plan.state as u32
    } else {
        plan.state = plan.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (((plan.state >> 32) * u64::from(plan.flows)) >> 32) as u32
    };
    *packet.at_mut::<[u8; 12]>(0).ok()? = plan.addresses;
    // 4096 ports of each client.
    let client = 0x0a00_0000 + (flow >> 12);
    *packet.at_mut::<[u8; 4]>((plan.client & 0x7f) as usize).ok()? = client.to_be_bytes();
    let port = 0x4000 + (flow & 0xfff) as u16;
    *packet.at_mut::<[u8; 2]>((plan.port & 0x7f) as usize).ok()? = port.to_be_bytes();
    Some(())
}

/// The least that a program can do with a frame that it sends back.
#[xdp(frags)]
pub fn floor(_: XdpContext) -> u32 {
    XDP_TX
}

/// For the far end of a veth pair: the kernel sends from XDP only to a veth whose peer has a program.
#[xdp(frags)]
pub fn pass(_: XdpContext) -> u32 {
    XDP_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
