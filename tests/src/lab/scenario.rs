//! A test in a lab: skipped with a reason where it can't run, with its evidence kept where it fails.

use anyhow::{Context, Result};

use super::Lab;
use super::builder::Builder;
use super::preflight::require;

/// Set to make a skipped scenario a failed one.
const NO_SKIP: &str = "LB_LAB_REQUIRED";

/// Builds a lab and runs `test` in it. Where [`require`] says that no lab can run here, this prints
/// `skipped: REASON` and returns, or panics if the environment has `LB_LAB_REQUIRED`.
///
/// # Panics
/// When the lab can't be built or the test fails: by a panic of its own, or by an error that it returns. In both cases
/// the lab's logs and captures are kept in `target/lab/TEST/`.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn scenario(builder: Builder, test: impl FnOnce(&Lab) -> Result<()>) {
    if let Err(reason) = require() {
        assert!(
            std::env::var_os(NO_SKIP).is_none(),
            "{NO_SKIP} is set, and no lab can run here: {reason}"
        );
        eprintln!("skipped: {reason}");
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
