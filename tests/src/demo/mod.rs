//! The lab for eyes rather than for tests: the demonstration that `cargo xtask run` is, and the scenarios of
//! `cargo xtask lab`.

mod directors;
mod figures;
mod kept;
pub mod real;
pub mod scenario;
pub mod screen;
mod show;
mod story;

pub use directors::REFERENCE;
pub use story::play;
