//! Health checks of reals.
//!
//! [`machine`] decides (no socket, task or clock), [`join`] makes one word of several checks of a real, [`probe`] asks a
//! real once, [`runner`] is the edge that gives each target its machine and runs the probes; [`event`] is what the
//! controller sees.

pub mod event;
pub mod join;
pub mod machine;
pub mod probe;
pub mod runner;

pub use event::*;
pub use probe::{Vips, unusable};
pub use runner::{Handle, Runner};
