//! A real of the demonstration: a process of its own, so that it can be killed, and can outlive the demonstration.

use std::thread;

use anyhow::{Context, Result};

use crate::lab::{Host, Process};
use crate::responder::Http;

/// The verb of the running program that [`be`] stands behind.
pub const VERB: &str = "real";

/// The port that it answers at.
const PORT: u16 = 80;

/// Starts the running program once more as the real on `host`, and waits until it listens.
///
/// # Errors
/// It doesn't; the message has its log.
pub fn start(host: &Host) -> Result<Process> {
    let program = std::env::current_exe()?;
    let mut process = host.start(VERB, host.command(program, [VERB, host.title()])?)?;
    host.wait_for_listener(PORT)
        .with_context(|| format!("{} does not answer; its log: {}", host.title(), process.log()))
        .inspect_err(|_| drop(process.kill()))?;
    Ok(process)
}

/// Answers `I am TITLE (time)` to every request, until it is killed.
///
/// # Errors
/// The port is taken.
pub fn be(title: &str) -> Result<()> {
    let _answering = Http::start_here(title, PORT)?;
    loop {
        thread::park();
    }
}
