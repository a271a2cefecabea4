//! The flow table and the choice by live connections, as functions of the program's own: the kernel verifies a global function once, by itself, for any
//! arguments (Linux 5.6).

use lb_common::{Change, Query, count_live, least_loaded, recall};

use crate::kernel::Maps;

/// Asks the flow table. The arguments are the words of a [`Query`], the result is that of an [`Answer`](lb_common::Answer).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_recall(hash: u64, start: u64, end: u64, ports_and_service: u64, slot_and_opens: u64) -> u64 {
    recall(&Maps, Query::of([hash, start, end, ports_and_service, slot_and_opens])).word()
}

/// Chooses by live connections: [`least_loaded`] with the index of a service and a turn; a real's number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_least_loaded(service: u64, turn: u64) -> u64 {
    u64::from(least_loaded(&Maps, service as u32, turn))
}

/// Notes a change of live connections: [`count_live`] with the index of a service, a real's number and the change's word.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_count_live(service: u64, number: u64, change: u64) -> u64 {
    count_live(&Maps, service as u32, number as u16, Change::of(change));
    0
}
