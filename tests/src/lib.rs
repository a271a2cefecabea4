//! What the tests and the demonstration are made of: the network-namespace lab, the reals that answer in it
//! and the clients that ask.

pub mod client;
pub mod lab;
pub mod responder;
