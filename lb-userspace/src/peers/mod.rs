//! State that directors share.
pub mod differences;
pub mod key;
mod noise;
mod ours;
pub mod runner;
pub mod session;
pub mod state;
pub mod status;
mod wire;

pub use runner::{Handle, Item, spawn};
pub use state::{Change, Told};
