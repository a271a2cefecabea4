//! A director of ten thousand reals.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::figures::{spread, time};
use super::super::screen::say;
use crate::agent::{self, lb};
use crate::lab::{Host, Lab, Process, VIP, wait_until};
use crate::responder::Http;

const SERVICES: u16 = 1000;
const REALS: u16 = 10;
/// How often the one real that is there dies and returns.
const ROUNDS: usize = 10;
/// How long the agent may take with all of this, and with one check.
const PATIENCE: Duration = Duration::from_secs(60);
/// Milliseconds between two checks of the real that is there.
const CHECK: u32 = 100;
/// What the agent's log has, at level debug, about a change of health: the time from the event to the maps.
const WRITTEN: &str = "health in the maps after ";
/// And to the slots' words, from which on flows go elsewhere.
const IN_SLOTS: &str = "health in the slots after ";

/// Sizes of the services' rings: the default one, and a hundred slots for each real.
const RINGS: [u32; 2] = [65537, 1009];

/// Loads a large configuration, then lets one real of it die and return, with large rings and with small ones.
pub(super) fn play(lab: &Lab) -> Result<()> {
    say!("{SERVICES} services of one pool of {REALS} reals, with the default ring:")?;
    load(lab.director(), lab.real(1), pool(lab.real(1)))?;
    for slots in RINGS {
        say!("{SERVICES} services of {REALS} reals each, with rings of {slots} slots:")?;
        load(lab.director(), lab.real(1), config(lab.real(1), slots))?;
    }
    say!(
        "\nThe first two figures of an event are the agent's own, from the news to the slots' words and to all maps;"
    )?;
    say!("the third is from the real's end or start, with a check every {CHECK} ms.")
}

fn load(director: &Host, real: &Host, text: String) -> Result<()> {
    let mut answering = Some(Http::start(real)?);
    let file = director.dir().join("lb.toml");
    fs::write(&file, text)?;
    let config = file.display().to_string();

    let mut command = director.command(agent::binary()?, ["run", "--config", &config])?;
    command.env("LB_LOG", "debug");
    let start = Instant::now();
    let mut process = director.start("lb", command)?;
    process.wait_for_log(PATIENCE, ": ready")?;
    let loaded = start.elapsed();
    say!("  loaded, from start to ready  {} ({} of CPU time)", time(loaded), time(cpu_time(process.id())?))?;
    let checked = lb(director, &["check", "--config", &config])?;
    let maps = checked.lines().find_map(|line| line.trim().strip_prefix("total")).unwrap_or("?");
    say!("  memory                       agent {}, maps {}", memory(process.id())?, maps.trim())?;

    let reaches = |process: &Process, up| {
        wait_until(PATIENCE, "the real's state in the maps", || in_maps(&process.log(), real) == Some(up))
    };
    reaches(&process, true)?;
    let first = [IN_SLOTS, WRITTEN].map(|what| times(&process.log(), what).len());
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        for up in [false, true] {
            // Dropped, where there is one.
            answering = up.then(|| Http::start(real)).transpose()?;
            seen.push(reaches(&process, up)?);
        }
    }
    drop(answering);
    let log = process.log();
    for ((title, what), first) in [("to the slots", IN_SLOTS), ("to the maps ", WRITTEN)].into_iter().zip(first) {
        if let Some(inside) = spread(times(&log, what).get(first..).unwrap_or_default()) {
            say!("  one real's event {title} {inside}")?;
        }
    }
    if let Some(outside) = spread(&seen) {
        say!("  one real's change, seen       {outside}")?;
    }
    process.terminate(PATIENCE)?;
    lb(director, &["detach"]).map(|_| ())
}

/// Services with reals that nobody checks and that have their MAC addresses, and one real that is there, and is checked: the others
/// have their share when it dies.
fn config(real: &Host, slots: u32) -> String {
    let mut text = "[director]\ninterfaces = [\"eth1\"]\n".to_owned();
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "[service.checked]\naddress = \"{VIP}:80\"\nprotocol = \"tcp\"\nring_size = {slots}\n\
         [[service.checked.reals]]\naddress = \"{}\"\n\
         check = {{ type = \"http\", port = 80, interval = \"{CHECK}ms\", timeout = \"{CHECK}ms\", rise = 1, fall = 1 }}\n",
        real.v4()
    );
    for service in 0..SERVICES {
        let [high, low] = service.to_be_bytes();
        // With the one that is there they are as many as they are said to be.
        let (first, reals) = if service == 0 { (1, REALS - 1) } else { (0, REALS) };
        if service > 0 {
            let _ = write!(
                text,
                "[service.s{service}]\naddress = \"10.0.{high}.{low}:80\"\nprotocol = \"tcp\"\nring_size = {slots}\n"
            );
        }
        let name = if service == 0 { "checked".to_owned() } else { format!("s{service}") };
        for number in first..first + reals {
            let _ = write!(
                text,
                "[[service.{name}.reals]]\naddress = \"10.{}.{high}.{low}\"\ninterface = \"eth1\"\n\
                 mac = \"02:00:{number:02x}:00:{high:02x}:{low:02x}\"\n",
                number + 1
            );
        }
    }
    text
}

/// Services of one pool, of whose reals one is there, and is checked: the others have their share when it dies.
fn pool(real: &Host) -> String {
    let mut text = format!(
        "[director]\ninterfaces = [\"eth1\"]\n[[pool.p.reals]]\naddress = \"{}\"\n\
         check = {{ type = \"http\", port = 80, interval = \"{CHECK}ms\", timeout = \"{CHECK}ms\", rise = 1, fall = 1 }}\n",
        real.v4()
    );
    for number in 1..REALS {
        let _ = write!(
            text,
            "[[pool.p.reals]]\naddress = \"10.1.0.{number}\"\ninterface = \"eth1\"\nmac = \"02:00:00:00:00:{number:02x}\"\n"
        );
    }
    for service in 0..SERVICES {
        let [high, low] = service.to_be_bytes();
        let _ = write!(
            text,
            "[service.s{service}]\naddress = \"10.0.{high}.{low}:80\"\nprotocol = \"tcp\"\npool = \"p\"\n"
        );
    }
    text
}

/// Whether the real was up when the maps were last written; nothing if they weren't, or it was not checked.
fn in_maps(log: &str, real: &Host) -> Option<bool> {
    let (up, down) = (format!("real {}: up", real.v4()), format!("real {}: down", real.v4()));
    let (before, _) = log.rsplit_once(WRITTEN)?;
    let last = before.lines().rfind(|line| line.contains(&up) || line.contains(&down))?;
    Some(last.contains(&up))
}

/// The times that the log tells so far.
fn times(log: &str, what: &str) -> Vec<Duration> {
    log.lines().filter_map(|line| parse(line.split_once(what)?.1)).collect()
}

/// A time as `{:?}` prints it: `1.234ms`, `56.7µs`.
fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let scale = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

/// The time that a process has computed for, on all CPUs together.
fn cpu_time(process: u32) -> Result<Duration> {
    /// The kernel's unit for these two figures, on every machine that Linux has.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may have spaces; user and system time are the 14th and 15th field.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let ticks: u32 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// The memory that a process has in use.
fn memory(process: u32) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse()?;
    Ok(format!("{} MiB", kib >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_time_is_read_back() {
        for time in [1_u64, 999, 1_234, 1_234_567, 12_345_678_900].map(Duration::from_nanos) {
            let read = parse(&format!("{time:?}")).unwrap();
            assert!(read.abs_diff(time) < Duration::from_micros(1), "{time:?} {read:?}");
        }
        assert_eq!(parse("soon"), None);
    }
}
