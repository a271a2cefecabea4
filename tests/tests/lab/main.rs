//! The lab: network namespaces with real servers, clients and directors, side by side in one program, each test in
//! namespaces of its own. One program, since most of a lab is waiting: the tests of all files share the cores.

mod active;
mod bad_peers;
mod bpftool;
mod check_kinds;
mod checks;
mod connections;
mod daemon;
mod drain;
mod errors;
mod events;
mod exchange;
mod failover;
mod fleet;
mod forwarding;
mod guard;
mod health;
mod interfaces;
mod keepalived;
mod lab_removal;
mod metrics;
mod on_failure;
mod paths;
mod reload;
mod restart;
mod returns;
mod run_time;
mod schedulers;
mod status;
mod tc;
mod testbed;
mod top;
mod tracking;
mod via;
mod virtual_mac;
mod which;
