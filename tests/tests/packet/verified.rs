//! How many instructions the kernel's verifier goes through: at a million it refuses a program, and each header or branch
//! on the path may multiply them.

use anyhow::{Result, ensure};
use aya::programs::ProgramInfo;
use lb_tests::scenario::SIZES;
use lb_tests::skip::skip;
use lb_tests::testbed::{Testbed, lacking};

/// What the XDP program and the tc program took on Linux 6.18. The test says what they take now: when more is worth it,
/// write that here.
const RECORDED: [(&str, u32); 2] = [("lb", 131_039), ("lb_tc", 245_637)];

/// A program may take up to twice as much as was recorded.
#[test]
fn programs_stay_far_from_the_verifier_s_limit() -> Result<()> {
    if let Some(reason) = lacking() {
        skip(&format!("the verifier's counts: {reason}"));
        return Ok(());
    }
    let mut testbed = Testbed::new(SIZES)?;
    let infos = [testbed.dataplane.xdp()?.info()?, testbed.dataplane.classifier()?.info()?];
    let counts: Option<Vec<u32>> = infos.iter().map(ProgramInfo::verified_instruction_count).collect();
    let Some(counts) = counts else {
        skip("this kernel doesn't tell how many instructions its verifier went through (Linux 5.16 does)");
        return Ok(());
    };
    for ((name, recorded), count) in RECORDED.into_iter().zip(counts) {
        println!("{name}: {count} verified instructions, recorded {recorded}");
        ensure!(
            count <= 2 * recorded,
            "the verifier goes through {count} instructions of {name}, more than twice the {recorded} that are recorded: \
             look for a branch behind which the program is walked once more, or record the new count in {}",
            file!()
        );
    }
    Ok(())
}
