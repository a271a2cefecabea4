//! The watchdog: a thread that feeds systemd's for as long as every part of the agent lives (one, from [`spawn`]; it
//! ends with the process). At the first part that ended or hangs it has the agent end in order: another start, or a
//! backup, serves better than half a director.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tracing::error;

use crate::pulse::{Listener, Pulse};
use crate::vrrp;

/// Between two looks. systemd's own patience (`WatchdogSec`) is many of these.
const LOOK: Duration = Duration::from_millis(500);
/// A part that is silent for this long hangs. The busiest machine lets each run many times in it.
const PATIENCE: Duration = Duration::from_secs(10);
/// An agent that was told to end for a fault is ended after this, in whatever state it is.
const LAST: Duration = Duration::from_secs(60);

/// Starts it. What is wrong comes by `fault`, once. The VRRP thread has no beat of its own: it is asked, and `heard`
/// is told when it answers.
///
/// # Errors
/// The system has no thread for it.
pub(super) fn spawn(
    pulse: Pulse,
    routers: vrrp::Handle,
    heard: Listener,
    fault: oneshot::Sender<String>,
) -> Result<()> {
    let thread = thread::Builder::new().name("watchdog".to_owned());
    thread.spawn(move || watch(&pulse, &routers, &heard, fault)).context("no thread for the watchdog")?;
    Ok(())
}

fn watch(pulse: &Pulse, routers: &vrrp::Handle, heard: &Listener, fault: oneshot::Sender<String>) {
    let mut fault = Some(fault);
    let mut told: Option<Instant> = None;
    loop {
        if routers.status().is_ok() {
            heard.heard();
        }
        match (pulse.fault(Instant::now(), PATIENCE), told) {
            (None, None) => {}
            (Some(words), None) => {
                error!("{words}: the agent ends");
                told = Some(Instant::now());
                let _ = fault.take().map(|fault| fault.send(words));
            }
            (_, Some(told)) if told.elapsed() > LAST => {
                error!("the agent did not end within {} s of its fault: it is ended", LAST.as_secs());
                // The log has a thread of its own, which gets a moment for this.
                thread::sleep(LOOK);
                std::process::exit(super::BROKEN);
            }
            (_, Some(_)) => {}
        }
        // Also on the way to the end, which has a limit of its own. Does nothing where no systemd asked for it.
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        thread::sleep(LOOK);
    }
}
