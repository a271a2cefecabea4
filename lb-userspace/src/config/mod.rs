//! The configuration file: read, checked and explained.

pub mod model;

pub use model::*;
