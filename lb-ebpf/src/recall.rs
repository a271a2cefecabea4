//! The flow table and the schedulers that count, as functions of the program's own: the kernel verifies a global function once,
//! by itself, for any arguments (Linux 5.6).

use lb_common::persist::persist;
use lb_common::{Change, choose, count_live, recall};

use crate::kernel::Maps;

/// Asks the flow table. The arguments are the words of a [`Query`](lb_common::Query), the result is that of an [`Answer`](lb_common::Answer).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_recall(hash: u64, start: u64, end: u64, ports_and_service: u64, slot_and_opens: u64) -> u64 {
    recall(&Maps, [hash, start, end, ports_and_service, slot_and_opens]).word()
}

/// Asks which real has a client: [`persist`](lb_common::persist::persist), with the last arguments of [`lb_recall`]; a real's number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_persist(start: u64, end: u64, ports_and_service: u64, slot_and_opens: u64) -> u64 {
    u64::from(persist(&Maps, [start, end, ports_and_service, slot_and_opens]))
}

/// Chooses by live connections or in turn: [`choose`] with the index of a service; a real's number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_choose(service: u64) -> u64 {
    u64::from(choose(&Maps, service as u32))
}

/// Notes a change of live connections: [`count_live`] with the index of a service, a real's number and the change's word.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_count_live(service: u64, number: u64, change: u64) -> u64 {
    count_live(&Maps, service as u32, number as u16, Change::of(change));
    0
}
