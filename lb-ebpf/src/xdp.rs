//! The program in the driver, before the kernel has made anything of a frame.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lb_common::maps::Real;
use lb_common::{Action, Verdict};

use crate::kernel::{Hook, Kernel};
use crate::maps;
use crate::stray::lb_stray;

/// Attached to each interface of `director.interfaces` whose driver has XDP.
#[xdp(frags)]
pub fn lb(context: XdpContext) -> u32 {
    forward(&context)
}

/// What `lb` would do is counted, and every frame passes.
#[xdp(frags)]
pub fn lb_observe(context: XdpContext) -> u32 {
    observe(&context)
}

/// The same for kernels that have no XDP over fragmented frames.
#[xdp]
pub fn lb_observe_lin(context: XdpContext) -> u32 {
    observe(&context)
}

/// The same for kernels that have no XDP over fragmented frames.
#[xdp]
pub fn lb_linear(context: XdpContext) -> u32 {
    forward(&context)
}

#[inline(always)]
fn forward(context: &XdpContext) -> u32 {
    let kernel = Kernel::<_, false>::new(context);
    let verdict = lb_common::balance(kernel.packet(), &kernel);
    kernel.count_verdict(verdict, 1);
    (ACTIONS >> (verdict as u32 * ACTION_BITS)) as u32 & ((1 << ACTION_BITS) - 1)
}

#[inline(always)]
fn observe(context: &XdpContext) -> u32 {
    let kernel = Kernel::<_, true>::new(context);
    kernel.count_verdict(lb_common::balance(kernel.packet(), &kernel), 1);
    XDP_PASS
}

/// Bits of a kernel's word for an action.
const ACTION_BITS: u32 = 3;

/// What each verdict means to the kernel, by its number: one shift instead of a branch for each action.
const ACTIONS: u64 = {
    let (mut actions, mut number) = (0, 0);
    while number < Verdict::COUNT {
        let action = match Verdict::ALL[number].action() {
            Action::Pass => XDP_PASS,
            Action::Transmit => XDP_TX,
            Action::Redirect => XDP_REDIRECT,
            Action::Drop => XDP_DROP,
            Action::Abort => XDP_ABORTED,
        };
        actions |= (action as u64) << (number as u32 * ACTION_BITS);
        number += 1;
    }
    actions
};
const _: () = assert!(Verdict::COUNT * ACTION_BITS as usize <= 64, "a second word is needed");

impl Hook for XdpContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn packets(&self, _: u32) -> u32 {
        1
    }

    #[inline(always)]
    fn merged(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn tag_beside(&self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn stray(&self, which: u64) -> u64 {
        lb_stray(self.ctx, which)
    }

    #[inline(always)]
    fn redirect(&self, real: &Real) -> Result<(), Verdict> {
        maps::tx_ports.redirect(real.tx_port, 0).map(drop).map_err(|_| Verdict::NoDevice)
    }

    #[inline(always)]
    fn move_start(&self, bytes: i32) -> bool {
        // SAFETY: the context is the kernel's own.
        unsafe { bpf_xdp_adjust_head(self.as_ptr().cast(), bytes) == 0 }
    }

    #[inline(always)]
    fn retag(&self, _: u8, _: u16) -> Option<Result<(), Verdict>> {
        None
    }

    #[inline(always)]
    fn address(&self, _: &Real) -> Option<Result<(), Verdict>> {
        None
    }
}
