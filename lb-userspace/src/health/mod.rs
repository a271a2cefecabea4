//! Health checks of reals.
//!
//! [`machine`] decides (no socket, task or clock), [`join`] makes one word of several checks of a real, [`probe`] asks a
//! real once, [`via`] lets it ask on a VIP, [`runner`] is the edge that gives each target its machine and runs the probes;
//! [`suspects`] are reals that clients' packets speak against; [`kept`] lets what is known outlive the agent; [`event`] is what the controller sees, [`history`] and [`look`] what people see.

pub mod event;
pub mod history;
pub mod join;
pub mod kept;
pub mod look;
pub mod machine;
pub mod probe;
pub mod runner;
pub mod suspects;
pub mod via;

pub use event::*;
pub use look::{Look, Seen};
pub use probe::{Vips, unusable};
pub use runner::{Handle, Runner};
pub use via::Hops;
