//! Kernels that lack what this one has: the same program and maps in the ways without it.

use anyhow::Result;
use lb_tests::scenario::{Fixture, SIZES};
use lb_tests::skip::skip;
use lb_tests::testbed::{Testbed, lacking};
use lb_userspace::dataplane::Features;

/// Without XDP over fragments every frame is forwarded as with it.
pub(crate) fn without_any(fixtures: &[Fixture]) -> Result<()> {
    match lacking() {
        Some(reason) => skip(&format!("packet tests in the kernel: {reason}")),
        None => {
            let mut testbed = Testbed::with(SIZES, || Ok(Features { frags: false }))?;
            fixtures.iter().try_for_each(|fixture| fixture.play(&mut testbed))?;
        }
    }
    Ok(())
}
