//! State that directors share, so that the death of one moves nobody's connection: who serves what, how its reals are,
//! which slots aren't settled, and the connections that nobody can derive.
//!
//! [`state`] has what is told, in names that all directors share. `wire` puts it into messages, `noise` encrypts
//! them, [`session`] is one connection's protocol without a socket or a clock, and [`runner`] has the tasks at the
//! edge. `ours` folds what this director told, [`common`] holds once what services share, [`differences`] knows where configurations differ, [`key`] is the
//! secret that all of it rests on.
//!
//! # The seam
//!
//! The agent calls [`spawn`] with the accepted `[peers]` and the key of its file ([`Key::read`]); it takes
//! [`Key::hash_seed`] for the director's seed. On a reload that changes the section it drops the [`Handle`], spawns
//! anew and tells everything again. It tells by [`Handle::tell`], which waits for nobody, and reads the [`Item`]s of
//! the receiver, each with the peer that told.
//!
//! | [`Change`] | the agent tells it |
//! |---|---|
//! | `Service` | for each service at its start and after a reload that changed it; `serving` when the service's gate opens or closes: with VRRP, when this director becomes or is no longer master |
//! | `Members` | when a real's weight or state changes, or it is drained: the whole list, in the order that the ring is computed from; once for all services of a pool |
//! | `Slots` | for each word that is written: by a change, by settling, by a sweep. `whole` when a ring is made anew; once for all services that have it |
//! | `Flows` | in batches of a few milliseconds, and before a VIP is given up: what became open, closed, moved or was forgotten, of services that are served here. *First* the table changes, then it is told: bulk is read from the table ([`state::Flows`]) |
//! | `Gone` | when a reload removes a service |
//! | `Ask` | before it displaces a master that lives: that one tells what it hasn't yet, and the connections are here before the packets |
//! | `Answer` | when it was asked, after a look at the flow table that began later |
//!
//! What isn't served here may be told all the same: it is kept, and passed on when it begins to be served.
//!
//! | [`Told`] | the agent does |
//! |---|---|
//! | `Begin` | marks all that this peer told before as old |
//! | `Service` | notes who serves it. Of a service that this director serves too (both are master for a moment), what the peer tells is kept aside as the words of a peer that doesn't serve; VRRP decides who goes on. One that this director doesn't have is kept for a reload that brings it |
//! | `Members`, `Slots` | for a service that the peer serves and this director doesn't: computes the ring from the members, puts the words over it, writes the slots that result. When this director takes the VIP over, its own opinion of the reals makes ordinary changes of those words |
//! | `Flows` | writes the entry, dated back by its age; in a settled slot of a stateless service the slot becomes one with exceptions. `Gone` removes it. A real that this director doesn't know is kept by address, or dropped where there is no room for it |
//! | `Gone` | forgets what this peer told of the service |
//! | `Asked` | looks at the flow table, tells what is news, and answers |
//! | `Answered` | goes on with what it had asked for |
//! | `Whole` | forgets what is still marked as old; connections may be left to age |
//! | `Lost` | keeps everything: it is what a take-over goes on from |
//!
//! A director that starts waits for [`Handle::bulk_taken`] before it takes a VIP from a living master, for `bulk_wait`
//! at most, and says which peers it had to do without. That future ends when the agent has been handed the last item
//! of every peer's bulk, so the agent works off what it has received before it lets VRRP preempt.

pub mod common;
pub mod differences;
pub mod fuzz;
pub mod key;
pub mod noise;
mod ours;
pub mod runner;
pub mod session;
pub mod state;
pub mod status;
pub mod wire;

pub use key::Key;
pub use runner::{Handle, Item, spawn};
pub use state::{Change, Told};
pub use status::{Status, Taken};
