//! x
pub mod differences;
pub mod key;
mod ours;
pub mod session;
pub mod state;
mod wire;
