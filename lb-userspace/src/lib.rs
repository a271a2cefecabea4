//! The agent of lb: configuration, health checks, VIP ownership, the controller and the writer of the
//! data plane's maps. The binary `lb` is a thin front on this library.

pub mod agent;
pub mod api;
pub mod capacity;
pub mod cli;
pub mod config;
#[cfg(test)]
mod corpus;
pub mod dataplane;
pub mod doctor;
pub mod events;
pub mod findings;
pub mod health;
pub mod host;
pub mod import;
pub mod log;
pub mod metrics;
pub mod peers;
pub mod planner;
pub mod pulse;
pub mod rates;
pub mod real_server;
pub mod segment;
#[cfg(test)]
mod skip;
pub mod tracking;
pub mod verdicts;
pub mod vrrp;
