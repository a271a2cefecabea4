//! What is told of a file that is refused: faults with their places and mends.

mod error;
mod fault;
pub mod foreign;
pub mod mask;
pub mod suggest;
pub mod text;

pub use error::{Diagnostic, Error, Findings};
pub use fault::Fault;
