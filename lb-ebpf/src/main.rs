//! The XDP program of lb. What becomes of a frame is decided in `lb-common`; here its maps are the kernel's.
#![no_std]
#![no_main]

mod kernel;
mod maps;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::bpf_jiffies64;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lb_common::{Action, Verdict};

use kernel::Kernel;

/// The director's data plane: attached to each interface of `director.interfaces`.
#[xdp(frags)]
pub fn lb(context: XdpContext) -> u32 {
    forward(&context)
}

/// The same for kernels that have no XDP over fragmented frames.
#[xdp]
pub fn lb_linear(context: XdpContext) -> u32 {
    forward(&context)
}

/// The kernel's jiffies, of which the agent makes the flow table's clock. It is run for its return value alone, and attached
/// to nothing.
#[xdp]
pub fn lb_clock(_: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_jiffies64() }) as u32
}

#[inline(always)]
fn forward(context: &XdpContext) -> u32 {
    let kernel = Kernel::new(context);
    let packet = kernel.packet();
    let (verdict, tx_port) = lb_common::balance(packet, &kernel);
    let action = match verdict.action() {
        Action::Pass => XDP_PASS,
        Action::Transmit => XDP_TX,
        Action::Drop => XDP_DROP,
        Action::Abort => XDP_ABORTED,
        Action::Redirect => match maps::tx_ports.redirect(tx_port, 0) {
            Ok(action) => action,
            Err(_) => {
                kernel.count_verdict(Verdict::NoDevice);
                return XDP_ABORTED;
            }
        },
    };
    kernel.count_verdict(verdict);
    action
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
