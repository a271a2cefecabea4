//! Fragments and ICMP errors, as functions of the program's own: see `recall.rs`.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::programs::XdpContext;
use lb_common::maps::Pending;
use lb_common::{Answer, Ip, Owner, Ports, Stray, Verdict, conclude, is_final, query, service, stray};

use crate::kernel::{Hook, Kernel, Maps};
use crate::maps;
use crate::tc::Buffer;

/// Who takes a frame in the driver. The argument is the word of a [`Stray`], the result that of an [`Owner`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_stray(context: *mut xdp_md, which: u64) -> u64 {
    answer(&XdpContext::new(context), which)
}

/// The same behind the socket buffers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_stray_tc(context: *mut __sk_buff, which: u64) -> u64 {
    answer(&Buffer::new(context), which)
}

#[inline(always)]
fn answer(hook: &impl Hook, which: u64) -> u64 {
    let kernel = Kernel::<_>::new(hook);
    let Some(pending) = pending() else { return Owner::word(Err(Verdict::NoReal)) };
    Owner::word(stray(&kernel.packet(), &kernel, Stray::of_word(which), pending))
}

#[inline(always)]
fn pending<'a>() -> Option<&'a mut Pending> {
    // SAFETY: the entry is this CPU's own, and no two of these functions run in one another.
    maps::pending.get_ptr_mut(0).map(|pending| unsafe { &mut *pending })
}

/// The service of a flow: the VIP's words, the ports above the protocol. The result is 0, or the index with a bit above it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_service(start: u64, end: u64, ports_and_protocol: u64) -> u64 {
    let ports = Ports((ports_and_protocol >> 8) as u32);
    match service(&Maps, Ip { start, end }, ports_and_protocol as u8, ports) {
        Some(index) => 1 << 32 | u64::from(index),
        None => 0,
    }
}

/// In the result of [`lb_query`]: the flow table is to be asked.
pub const ASK: u64 = 1 << 32;

/// The real that was asked for, as the word of an [`Answer`], or [`ASK`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_query() -> u64 {
    let answer = pending().and_then(|pending| query(&Maps, pending));
    answer.map_or(ASK, Answer::word)
}

/// Whether nothing more is to be asked after this answer: 1, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_is_final(answer: u64) -> u64 {
    pending().is_some_and(|pending| is_final(&Maps, pending, Answer::of(answer))).into()
}

/// Who takes it by this answer, as the word of an [`Owner`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_conclude(answer: u64) -> u64 {
    let Some(pending) = pending() else { return Owner::word(Err(Verdict::NoReal)) };
    Owner::word(conclude(&Maps, pending, Answer::of(answer)))
}
