//! The packet tests' and the lab's common ground.

pub mod fixture;
pub mod frame;
pub mod host;
pub mod scenario;
pub mod shape;
pub mod side;
pub mod testbed;
