//! The flow table, as a function of the program's own: the kernel verifies a global function once, by itself, for any
//! arguments (Linux 5.6).

use lb_common::recall_words;

use crate::kernel::Maps;

/// Asks the flow table. The arguments are the words of a [`Query`](lb_common::Query), the result is that of an [`Answer`](lb_common::Answer).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_recall(hash: u64, start: u64, end: u64, ports_and_service: u64, slot_and_opens: u64) -> u64 {
    recall_words(&Maps, [hash, start, end, ports_and_service, slot_and_opens]).word()
}
