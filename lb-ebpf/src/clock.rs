//! The clock of the flow table, as the agent asks for it.

use aya_ebpf::helpers::bpf_jiffies64;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// The kernel's jiffies. It is run for its return value alone, and attached to nothing.
#[xdp]
pub fn lb_clock(_: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_jiffies64() }) as u32
}
