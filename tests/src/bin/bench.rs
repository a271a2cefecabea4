//! What a frame costs: `cargo xtask bench`.
//!
//! Every row is one kind of traffic through the loaded program by BPF_PROG_TEST_RUN. A driver program restores
//! what the balancer changed and draws the next flow, then tail-calls the balancer; the floor is the same
//! driver in front of a bare XDP_TX. The rows take turns, round after round, so that a machine that gets slower
//! slows them all, and each is compared with the floor of its own round: as nanoseconds over it, which are the
//! balancer's own, and as a ratio to it, which a machine's speed touches least.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use aya::Ebpf;
use aya::maps::{Array, ProgramArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use clap::Parser;
use comfy_table::{Table, TableStyle};
use lb_common::Scheduler;
use lb_common::maps::{Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{CLIENT, DIRECTOR, Segment, tcp4, tcp6, udp4};
use lb_tests::testbed::{Testbed, lacking};
use lb_userspace::dataplane::Sizes;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

const VIP: [u8; 4] = [172, 28, 128, 210];
const VIP6: [u8; 16] = [0xfd, 0, 0, 0x28, 1, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xd2];
/// Port of the service whose slots are moving.
const MOVING: u16 = 8888;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// Measures what a frame costs, as ratios to a bare XDP_TX of the same run.
#[derive(Parser)]
struct Options {
    /// Rounds; each row's median, least and most are of these.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Frames of a row in a round.
    #[arg(long, default_value_t = 1_000_000)]
    frames: u32,
    /// Writes the figures as JSON to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// As `Drive` in lb-ebpf/src/bin/harness.rs.
#[repr(C)]
#[derive(Clone, Copy)]
struct Drive {
    state: u64,
    addresses: [u8; 12],
    flows: u32,
    client: u32,
    port: u32,
}

mod pod {
    #![expect(unsafe_code, reason = "aya asks for a marker that this type is plain bytes")]
    // SAFETY: repr(C), integers only, 32 bytes without padding.
    unsafe impl aya::Pod for super::Drive {}
}

struct Row {
    name: &'static str,
    frame: Vec<u8>,
    flows: u32,
    expect: u32,
    program: Program,
    times: Vec<f64>,
}

/// What a row's frames go through.
#[derive(Clone, Copy)]
enum Program {
    /// The floor: a bare XDP_TX.
    Floor,
    /// The balancer with a flow table for 16M flows.
    Large,
    /// The balancer with a flow table for 1M flows.
    Small,
}

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    flows: u32,
    median_ns: f64,
    min_ns: f64,
    max_ns: f64,
    /// Median over the rounds of the nanoseconds over the floor of the same round.
    over_floor_ns: f64,
    /// Median over the rounds of the ratio to the floor of the same round.
    floors: f64,
}

#[derive(Serialize)]
struct Report {
    /// Instructions that the kernel's verifier went through to accept the program: how far it is from being refused.
    verified_instructions: Option<u32>,
    /// The same of the tc program.
    verified_instructions_tc: Option<u32>,
    figures: Vec<Figure>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(reason) = lacking() {
        bail!("the bench can't run here: {reason}");
    }
    let mut large = testbed(1 << 24)?;
    let mut small = testbed(1 << 20)?;
    let mut harness = Ebpf::load(&harness_object()?)?;
    load(&mut harness, "driver")?;
    load(&mut harness, "floor")?;
    let mut targets = ProgramArray::try_from(harness.take_map("target").context("map target")?)?;
    let mut drive: Array<_, Drive> = Array::try_from(harness.take_map("drive").context("map drive")?)?;
    let floor = xdp(&mut harness, "floor")?.fd()?.try_clone()?;
    let verified_instructions_tc = large.dataplane.classifier()?.info()?.verified_instruction_count();
    let large = large.dataplane.xdp()?;
    let small = small.dataplane.xdp()?.fd()?.try_clone()?;
    let verified_instructions = large.info()?.verified_instruction_count();
    let large = large.fd()?.try_clone()?;

    let mut rows = rows();
    // The first round warms caches and the flow table, and isn't counted.
    for round in 0..=options.rounds {
        for row in &mut rows {
            let program = match row.program {
                Program::Floor => &floor,
                Program::Large => &large,
                Program::Small => &small,
            };
            targets.set(0, program, 0)?;
            drive.set(0, row.drive(round), 0)?;
            let driver = xdp(&mut harness, "driver")?;
            let time = row.time(driver, options.frames)?;
            if round > 0 {
                row.times.push(time);
            }
        }
        eprint!("\rround {round} of {}", options.rounds);
    }
    eprintln!();
    let report = Report { verified_instructions, verified_instructions_tc, figures: figures(&rows) };
    print(&report);
    if let Some(path) = options.json {
        std::fs::write(&path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// A loaded program with room for so many flows, whose service at port 8888 is in the midst of a change: all its slots
/// are moving.
fn testbed(flows: u32) -> Result<Testbed> {
    let mut testbed = Testbed::new(Sizes { services: 256, reals: 1024, slots: 1 << 21, flows })?;
    let mut services = services();
    for turn in [0, 1] {
        let moving =
            services.iter_mut().filter(|service| service.port == MOVING).flat_map(|service| &mut service.reals);
        for (number, real) in (0..).zip(moving) {
            real.weight = u32::from(number % 2 == turn);
        }
        testbed.apply(&desired(&services))?;
    }
    Ok(testbed)
}

fn services() -> Vec<ServiceSpec> {
    let reals = |first: u8, count: u8| (first..first + count).map(RealSpec::new).collect::<Vec<_>>();
    let spec = |address, port, protocol, flags| ServiceSpec {
        address,
        port,
        protocol,
        flags,
        scheduler: Scheduler::Mh,
        ring_size: 65537,
        reals: reals(10, 8),
    };
    let mut services = vec![
        spec(mapped(VIP), 80, 6, 0),
        spec(mapped(VIP), 53, 17, 0),
        spec(VIP6, 80, 6, 0),
        spec(mapped(VIP), 8080, 6, Service::TRACKED),
        spec(mapped(VIP), MOVING, 6, 0),
    ];
    // A director serves more than one VIP.
    services.extend((1..=100).map(|n| ServiceSpec { ring_size: 251, ..spec(mapped([172, 28, 129, n]), 443, 6, 0) }));
    services
}

fn rows() -> Vec<Row> {
    let client = [10, 0, 0, 1];
    let ipv4 = |port, segment| tcp4(client, 0x4000, VIP, port, segment);
    let ipv6 = tcp6(VIP6, 0x4000, VIP6, 80, Segment::Ack);
    let row =
        |name, frame, flows, expect| Row { name, frame, flows, expect, program: Program::Large, times: Vec::new() };
    let small = |name, frame, flows| Row { program: Program::Small, ..row(name, frame, flows, XDP_TX) };
    vec![
        Row { program: Program::Floor, ..row("floor: bare XDP_TX", ipv4(80, Segment::Ack), 1, XDP_TX) },
        row("settled, IPv4, hot", ipv4(80, Segment::Ack), 1, XDP_TX),
        row("settled, IPv6, hot", ipv6, 1, XDP_TX),
        row("settled, IPv4, UDP, hot", udp4(client, 0x4000, VIP, 53), 1, XDP_TX),
        row("settled, 128k flows", ipv4(80, Segment::Ack), 128 << 10, XDP_TX),
        row("settled, 1M flows", ipv4(80, Segment::Ack), 1 << 20, XDP_TX),
        row("settled, 8M flows", ipv4(80, Segment::Ack), 8 << 20, XDP_TX),
        row("settled, SYN of a new flow each", ipv4(80, Segment::Syn), 0, XDP_TX),
        row("moving, known flow, hot", ipv4(MOVING, Segment::Ack), 1, XDP_TX),
        row("tracked hit, hot", ipv4(8080, Segment::Ack), 1, XDP_TX),
        small("tracked hit, 128k flows in 1M", ipv4(8080, Segment::Ack), 128 << 10),
        row("tracked hit, 1M flows in 16M", ipv4(8080, Segment::Ack), 1 << 20, XDP_TX),
        row("tracked hit, 8M flows in 16M", ipv4(8080, Segment::Ack), 8 << 20, XDP_TX),
        row("tracked, new flow each", ipv4(8080, Segment::Syn), 0, XDP_TX),
        row("not a service: other address", tcp4(client, 0x4000, [172, 28, 128, 2], 22, Segment::Ack), 1, XDP_PASS),
        row("not a service: VIP, other port", ipv4(22, Segment::Ack), 1, XDP_PASS),
    ]
}

impl Row {
    fn drive(&self, round: usize) -> Drive {
        let mut addresses = [0; 12];
        addresses[..6].copy_from_slice(&DIRECTOR);
        addresses[6..].copy_from_slice(&CLIENT);
        let ipv6 = self.frame.get(12..14) == Some(&[0x86, 0xdd]);
        let (client, port) = if ipv6 { (34, 54) } else { (26, 34) };
        // New flows go on where the last round ended.
        let state = if self.flows == 0 { (round as u64) << 24 } else { round as u64 };
        Drive { state, addresses, flows: self.flows, client, port }
    }

    /// Nanoseconds a frame, by this thread's own time on a CPU: the kernel's own figure is of the clock on the wall,
    /// which counts whatever else the machine does, and whole nanoseconds.
    fn time(&self, driver: &Xdp, frames: u32) -> Result<f64> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.repeat = frames;
        let start = cpu_time()?;
        let result = driver.test_run(options).map_err(|error| anyhow!("{error:?}"))?;
        let time = (cpu_time()? - start).as_nanos() as f64 / f64::from(frames);
        if result.return_value != self.expect {
            bail!("{}: the program returned {}, not {}", self.name, result.return_value, self.expect);
        }
        Ok(time)
    }
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("clock")?.into())
}

fn figures(rows: &[Row]) -> Vec<Figure> {
    let floor = rows.first().map(|row| row.times.clone()).unwrap_or_default();
    let figure = |row: &Row| {
        let beside_floor = |compare: fn(f64, f64) -> f64| {
            median(row.times.iter().zip(&floor).map(|(time, floor)| compare(*time, *floor)).collect())
        };
        Figure {
            name: row.name,
            flows: row.flows,
            median_ns: median(row.times.clone()),
            min_ns: row.times.iter().copied().fold(f64::INFINITY, f64::min),
            max_ns: row.times.iter().copied().fold(0.0, f64::max),
            over_floor_ns: beside_floor(|time, floor| time - floor),
            floors: beside_floor(|time, floor| time / floor),
        }
    };
    rows.iter().map(figure).collect()
}

fn print(report: &Report) {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_header(["traffic", "ns median", "min", "max", "over floor", "floors"]);
    for figure in &report.figures {
        let ns = |value: f64| format!("{value:.1}");
        table.add_row([
            figure.name.to_owned(),
            ns(figure.median_ns),
            ns(figure.min_ns),
            ns(figure.max_ns),
            ns(figure.over_floor_ns),
            format!("{:.2}", figure.floors),
        ]);
    }
    println!("{table}");
    match report.verified_instructions.zip(report.verified_instructions_tc) {
        Some((xdp, tc)) => println!("the verifier went through {xdp} instructions, and {tc} of the tc program"),
        None => println!("this kernel doesn't tell how many instructions its verifier went through"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn load(harness: &mut Ebpf, name: &str) -> Result<()> {
    Ok(xdp(harness, name)?.load()?)
}

fn xdp<'a>(harness: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(harness.program_mut(name).with_context(|| format!("program {name}"))?.try_into()?)
}

fn harness_object() -> Result<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/lb-harness.o");
    std::fs::read(&path).with_context(|| format!("reading {} (`cargo xtask build` makes it)", path.display()))
}
