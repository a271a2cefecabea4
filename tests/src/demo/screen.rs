//! What is printed, and how Ctrl-C ends it.
//!
//! Whoever prints holds a lock for that moment. Ctrl-C takes the same lock and never gives it back: from then on
//! nothing is printed, nothing that must not be torn is begun ([`undisturbed`]), and the labs of this process are taken
//! away.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::lab::{cleanup, sys};

static SCREEN: Mutex<()> = Mutex::new(());

fn hold() -> MutexGuard<'static, ()> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a line on standard output.
macro_rules! say {
    () => { $crate::demo::screen::line(format_args!("")) };
    ($($words:tt)+) => { $crate::demo::screen::line(format_args!($($words)+)) };
}
pub(crate) use say;

/// What [`say!`] does.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn line(words: fmt::Arguments<'_>) -> Result<()> {
    let _screen = hold();
    writeln!(io::stdout(), "{words}").context("standard output is closed")
}

/// Does what a Ctrl-C has to wait for. After one it doesn't return: the process is about to end.
pub fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _screen = hold();
    work()
}

/// From now on SIGINT, SIGTERM and SIGHUP take every lab of this process away and end it with the status that a shell
/// gives for the signal (130 for Ctrl-C). To be called once.
///
/// # Errors
/// The handlers can't be installed.
pub fn clean_up_on_signal() -> Result<()> {
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let mut arrived = sys::signals_to_pipe(&signals).context("cannot handle signals")?;
    let wait = move || {
        let mut signal = [0];
        if arrived.read_exact(&mut signal).is_ok() {
            let _screen = hold();
            // The terminal may be what has gone.
            let _ = writeln!(io::stderr(), "\nInterrupted: the lab is taken away.");
            cleanup();
            std::process::exit(128 + i32::from(signal[0]));
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}
