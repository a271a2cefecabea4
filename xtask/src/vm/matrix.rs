//! The table of kernels: a director's life on each.

use std::process::ExitCode;

use anyhow::Result;

use crate::checkout::Checkout;

use super::guest::{Guest, INIT};
use super::kernel::Kernel;
use super::machine::{self, Clock};

/// `timeout` is busybox's as well, which takes its own `ip` for the other one.
const PROGRAMS: [&str; 5] = ["ip", "tc", "bpftool", "ethtool", "timeout"];
const MODULES: [&str; 6] = ["veth", "bridge", "bonding", "ipv6", "sch_ingress", "cls_bpf"];

/// What became of one kernel.
struct Row {
    kernel: &'static str,
    distribution: &'static str,
    release: String,
    seen: String,
    good: bool,
}

/// Runs the lab on each kernel and prints the table, as Markdown.
///
/// # Errors
/// None of a kernel's: those are in the table, and in the exit code.
pub(super) fn run(checkout: &Checkout, kernels: &[&'static Kernel]) -> Result<ExitCode> {
    let rows: Vec<Row> = kernels.iter().map(|kernel| row(checkout, kernel)).collect();
    println!("\n| kernel | of | release | seen |\n|---|---|---|---|");
    for row in &rows {
        println!("| {} | {} | {} | {} |", row.kernel, row.distribution, row.release, row.seen);
    }
    Ok(if rows.iter().all(|row| row.good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(checkout: &Checkout, kernel: &'static Kernel) -> Row {
    let mut row = Row {
        kernel: kernel.name,
        distribution: kernel.distribution,
        release: String::new(),
        seen: String::new(),
        good: false,
    };
    match lab(checkout, kernel, &mut row.release) {
        Ok(lines) => (row.seen, row.good) = judge(&lines, kernel.refused),
        Err(error) => row.seen = format!("not run: {error:#}"),
    }
    row
}

fn lab(checkout: &Checkout, kernel: &Kernel, release: &mut String) -> Result<Vec<String>> {
    let fetched = kernel.fetch(checkout)?;
    release.clone_from(&fetched.release);
    let mut guest = Guest::new(checkout, &fetched, &PROGRAMS, &MODULES, INIT)?;
    guest.job_file(&checkout.root().join("tests/vm/lab.sh"), "run.sh")?;
    for part in ["network.sh", "bond.sh"] {
        guest.job_file(&checkout.root().join("tests/vm").join(part), part)?;
    }
    guest.job_file(&checkout.target("bpf/lb-baseline.o"), "baseline.o")?;
    guest.job_program(&checkout.root().join("target/debug/lb"), "lb")?;
    machine::boot(checkout, &fetched, &guest.finish(), Clock::Real, None)
}

/// What a run's lines say: what was seen, and whether that is as it should be.
fn judge(lines: &[String], refused: bool) -> (String, bool) {
    let steps: Vec<(&str, &str)> =
        lines.iter().filter_map(|line| line.strip_prefix("STEP ")?.split_once(": ")).collect();
    let failed = steps.iter().find(|(_, seen)| !seen.starts_with("ok"));
    let ended = lines.iter().any(|line| line == "JOB 0");
    let refusal = lines.iter().find_map(|line| line.strip_prefix("REFUSED "));
    match (failed, refusal) {
        (Some((name, seen)), _) => (format!("{name}: {seen}"), false),
        (None, Some(refusal)) => (format!("refused: {}", refusal.trim_start_matches("lb: ")), ended && refused),
        (None, None) if !ended => ("the job ended early".to_owned(), false),
        (None, None) => (format!("all {} steps", steps.len()), !refused),
    }
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn a_run_is_judged_by_its_steps_and_its_end() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let good = lines("GUEST 6.1\nSTEP load: ok xdp\nSTEP forward: ok 3 3\nJOB 0");
        assert_eq!(judge(&good, false), ("all 2 steps".to_owned(), true));
        assert!(!judge(&good, true).1);
        let failed = lines("STEP load: ok\nSTEP forward: failed no answer\nJOB 1");
        assert_eq!(judge(&failed, false), ("forward: failed no answer".to_owned(), false));
        let refused = lines("REFUSED lb: this kernel lacks a\nSTEP leaves nothing: ok\nJOB 0");
        assert_eq!(judge(&refused, true), ("refused: this kernel lacks a".to_owned(), true));
        assert!(!judge(&refused, false).1);
        assert!(!judge(&lines("STEP load: ok"), false).1);
    }
}
