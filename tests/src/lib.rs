//! The packet tests' and the lab's common ground.

pub mod fixture;
pub mod frame;
pub mod testbed;
