//! A test in a lab: skipped with a reason where it can't run, with its evidence kept where it fails.

use std::thread;

use anyhow::{Context, Result};

use super::Lab;
use super::builder::Builder;
use super::nginx;
use super::preflight::require;
use crate::skip::skip;

/// Whether a test that needs a lab is to go on. Where [`require`] says that none can run here, or nginx is missing, the
/// test is skipped.
#[must_use]
pub fn available() -> bool {
    let Err(reason) = require().and_then(|()| nginx::require()) else {
        return true;
    };
    let current = thread::current();
    let test = current.name().unwrap_or("a lab");
    skip(&format!("{test}: {reason}"));
    false
}

/// Builds a lab and runs `test` in it, if one is [`available`].
///
/// # Panics
/// When the lab can't be built or the test fails: by a panic of its own, or by an error that it returns. In both cases
/// the lab's logs and captures are kept in `target/lab/TEST/`.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn scenario(builder: Builder, test: impl FnOnce(&Lab) -> Result<()>) {
    if !available() {
        return;
    }
    let lab = match builder.build().context("cannot build the lab") {
        Ok(lab) => lab,
        Err(error) => panic!("{error:#}"),
    };
    if let Err(error) = test(&lab) {
        // The lab is dropped by this panic, and keeps its evidence for it.
        panic!("{error:#}");
    }
}
