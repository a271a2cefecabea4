//! `lb real-server`: what a real needs for direct routing, on the real itself: each VIP on `lo`, and a kernel that keeps
//! silent about it.
//!
//! A real that answers ARP for a VIP takes the director's clients away from it, one by one, and everything looks well.
//! Two settings prevent that, by the larger value of `all` and of the interface that is asked: `arp_ignore = 1` (no
//! answer for an address that isn't on that interface), and `arp_announce = 2` (no question of the real's own with the
//! VIP as its sender, which would turn the asked one's entry to the real). Neighbour discovery is never answered for an
//! address on `lo`, so IPv6 needs no setting.
//!
//! [`Facts`] is what is known of the machine, read once below a root directory; [`check`] finds what is wrong,
//! [`plan`](plan::apply) says what would be changed, as a list of [`Step`]s; all of that is pure. [`edge`] reads and
//! carries out. [`Record`] is what was changed and how it was before: `remove` undoes that, and nothing else.

mod check;
pub mod edge;
mod facts;
mod files;
mod keeper;
mod plan;
mod record;
mod sysctl;
#[cfg(test)]
mod tests;

pub use check::check;
pub use facts::Facts;
pub use keeper::Keeper;
pub use plan::{Obstacle, Plan, Step, apply, interface, remove};
pub use record::Record;
pub use sysctl::shown;

/// The first line of each file that is written, by which it is known again.
pub const MARK: &str = "# Written by `lb real-server apply`; `lb real-server remove` takes it away.";
