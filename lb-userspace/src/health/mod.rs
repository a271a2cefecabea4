//! Health checks of reals.

pub mod event;

pub use event::*;
