//! The least programs: what a balancer is measured beside, and the far ends of veth pairs. No director runs them.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lb_common::Packet;

/// For the far end of a veth pair: the kernel sends from XDP only to a veth whose peer has a program.
#[xdp]
pub fn base_pass(_: XdpContext) -> u32 {
    XDP_PASS
}

/// What a frame costs that goes nowhere.
#[xdp]
pub fn base_drop(_: XdpContext) -> u32 {
    XDP_DROP
}

/// What it costs to send a frame back: the MAC addresses change places.
#[xdp]
pub fn base_tx(context: XdpContext) -> u32 {
    // SAFETY: the kernel gives the frame's bytes to this run alone.
    let mut packet = unsafe { Packet::from_pointers(context.data(), context.data_end()) };
    match packet.at_mut::<[[u8; 6]; 2]>(0) {
        Ok(addresses) => {
            addresses.swap(0, 1);
            XDP_TX
        }
        Err(_) => XDP_ABORTED,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
