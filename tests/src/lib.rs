//! What the tests, the bench and the demonstration are made of: frames and the loaded program for packet
//! tests; the network-namespace lab, the reals that answer in it and the clients that ask.

pub mod agent;
pub mod certificates;
pub mod client;
pub mod config;
pub mod demo;
pub mod directors;
pub mod exim;
pub mod fake_peer;
pub mod fixture;
pub mod frame;
pub mod host;
pub mod keepalived;
pub mod lab;
pub mod long_lived;
pub mod pair;
pub mod probe;
pub mod responder;
pub mod scenario;
pub mod shape;
pub mod sharing;
pub mod side;
pub mod skip;
pub mod testbed;
pub mod unbound;
pub mod usage;
