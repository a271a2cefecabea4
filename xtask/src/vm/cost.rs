//! `vm cost`: the guest's instructions for a packet, of `lb` and of others.
//!
//! Under QEMU's `-icount shift=0` the machine's clock goes by a nanosecond with each instruction, so that its own clocks
//! count them: the same to a few in a hundred on any host. They are no cycles: there are no caches, no other CPUs, and a
//! veth pair copies each frame before native XDP, which a network card's driver doesn't.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::{build, shell};

use super::guest::{Guest, INIT};
use super::kernel::Kernel;
use super::machine::{self, Clock};

const PROGRAMS: [&str; 4] = ["ip", "tc", "bpftool", "ipvsadm"];
const MODULES: [&str; 8] =
    ["veth", "ip_vs", "ip_vs_rr", "sch_ingress", "cls_matchall", "act_gact", "af_packet", "nf_conntrack"];

/// A line of the table: its words in the job's output, its name for people, and the baseline that is taken off.
struct Case {
    name: &'static str,
    title: &'static str,
    baseline: &'static str,
}

const SKB: &str = "skb-drop";
const XDP: &str = "xdp-drop";

const CASES: [Case; 13] = [
    case(SKB, "a frame that tc drops", ""),
    case("ipvs-known", "IPVS, known connection", SKB),
    case("ipvs-new", "IPVS, new connection", SKB),
    case(XDP, "a frame that XDP drops", ""),
    case("xdp-tx", "bare XDP_TX", XDP),
    case("c-known", "C balancer, known connection", XDP),
    case("c-new", "C balancer, new connection", XDP),
    case("lb-mh-known", "lb mh, known connection", XDP),
    case("lb-mh-new", "lb mh, new connection", XDP),
    case("lb-rr-known", "lb rr, known connection", XDP),
    case("lb-rr-new", "lb rr, new connection", XDP),
    case("lb-other-port", "lb, the VIP's other port", ""),
    case("lb-other-address", "lb, another address", ""),
];

const fn case(name: &'static str, title: &'static str, baseline: &'static str) -> Case {
    Case { name, title, baseline }
}

/// Measures on each kernel and prints its table, as Markdown.
///
/// # Errors
/// A kernel can't be had, or its job failed.
pub(super) fn measure(checkout: &Checkout, kernels: &[&'static Kernel]) -> Result<ExitCode> {
    // The program is the same in each profile, and the agent doesn't run while it is measured.
    build::host(checkout, &["lb-userspace"], false)?;
    let source = |name: &str| checkout.root().join("tests/vm").join(name);
    let made = |name: &str| checkout.target("vm").join(name);
    std::fs::create_dir_all(made("")).context("creating target/vm")?;
    let mut clang = checkout.command("clang");
    // The kernel's headers ask for those of the machine's architecture.
    clang.args(["-O2", "-g", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu", "-c"]);
    shell::run(clang.arg(source("balancer.c")).arg("-o").arg(made("balancer.o")))?;
    let mut gcc = checkout.command("gcc");
    shell::run(gcc.args(["-O2", "-Wall"]).arg(source("send.c")).arg("-o").arg(made("send")))?;
    for kernel in kernels {
        let fetched = kernel.fetch(checkout)?;
        let mut guest = Guest::new(checkout, &fetched, &PROGRAMS, &MODULES, INIT)?;
        guest.job_file(&source("cost.sh"), "run.sh")?;
        guest.job_file(&checkout.target("bpf/lb-baseline.o"), "baseline.o")?;
        guest.job_file(&made("balancer.o"), "balancer.o")?;
        guest.job_program(&made("send"), "send")?;
        guest.job_program(&checkout.root().join("target/debug/lb"), "lb")?;
        let lines = machine::boot(checkout, &fetched, &guest.finish(), Clock::Instructions, None)?;
        if !lines.iter().any(|line| line == "JOB 0") {
            bail!("the job failed on {}", fetched.release);
        }
        println!("\n{}, {}: guest instructions a packet\n\n{}", kernel.distribution, fetched.release, table(&lines));
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole path's medians, what is over the baseline of each, and the XDP program alone.
fn table(lines: &[String]) -> String {
    let whole: BTreeMap<&str, u64> = figures(lines, "COST ");
    let alone: BTreeMap<&str, u64> = figures(lines, "PROGRAM ");
    let mut table = "| case | whole path | over the baseline | the program alone |\n|---|---|---|---|".to_owned();
    let cell = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    for Case { name, title, baseline } in &CASES {
        let path = whole.get(name).copied();
        let net = path.zip(whole.get(baseline)).map(|(path, base)| path.saturating_sub(*base));
        let alone = alone.get(name).copied();
        table.push_str(&format!("\n| {title} | {} | {} | {} |", cell(path), cell(net), cell(alone)));
    }
    table
}

/// The median of each case's runs.
fn figures<'a>(lines: &'a [String], word: &str) -> BTreeMap<&'a str, u64> {
    let line = |line: &'a String| {
        let (name, runs) = line.strip_prefix(word)?.split_once(' ')?;
        let mut runs: Vec<u64> = runs.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        runs.sort_unstable();
        Some((name, *runs.get(runs.len() / 2)?))
    };
    lines.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{CASES, figures, table};

    #[test]
    fn a_table_is_made_of_medians_and_baselines() {
        let lines = [
            "COST xdp-drop 100 90 110",
            "COST xdp-tx 150 151 149",
            "PROGRAM xdp-tx 7",
            "COST c-new lost: 3",
            "GUEST 6",
        ];
        let lines: Vec<String> = lines.map(str::to_owned).to_vec();
        assert_eq!(figures(&lines, "COST ")["xdp-drop"], 100);
        let table = table(&lines);
        assert!(table.contains("\n| bare XDP_TX | 150 | 50 | 7 |\n"), "{table}");
        assert!(table.contains("\n| a frame that XDP drops | 100 | - | - |\n"), "{table}");
        assert_eq!(table.lines().count(), CASES.len() + 2);
    }
}
