//! A director of ten thousand reals.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::figures::{spread, time};
use super::super::screen::say;
use crate::agent::{self, lb};
use crate::lab::{Host, Lab, Process, VIP, wait_for, wait_until};
use crate::responder::Http;

const SERVICES: u16 = 1000;
const REALS: u16 = 10;
/// How often the one real that is there dies and returns.
const ROUNDS: usize = 10;
/// How long the agent may take with all of this, and with one check.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the agent's log has, at level debug, about a change of health: the time from the event to the maps.
const WRITTEN: &str = "health in the maps after ";

/// Loads a large configuration, then lets one real of it die and return.
pub(super) fn play(lab: &Lab) -> Result<()> {
    let (director, real) = (lab.director(), lab.real(1));
    let mut answering = Some(Http::start(real)?);
    let file = director.dir().join("lb.toml");
    fs::write(&file, config(real))?;
    let config = file.display().to_string();

    let mut process = director.command(agent::binary()?, ["run", "--config", &config])?;
    process.env("LB_LOG", "debug");
    let start = Instant::now();
    let mut process = director.start("lb", process)?;
    process.wait_for_log(PATIENCE, ": ready")?;
    let loaded = start.elapsed();
    say!("loaded, start of the agent to ready:  {}", time(loaded))?;
    say!("memory of the agent:                  {}", memory(process.id())?)?;
    for line in lb(director, &["check", "--config", &config])?.lines().filter(|line| line.contains("MiB")) {
        say!("{line}")?;
    }

    // The first change is that the real has been found up.
    wait_for(PATIENCE, "the first check", || written(&process).first().copied())?;
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        for up in [false, true] {
            answering = up.then(|| Http::start(real)).transpose()?;
            let since = Instant::now();
            let known = written(&process).len();
            wait_until(PATIENCE, "the next check", || written(&process).len() > known)?;
            seen.push(since.elapsed());
        }
    }
    drop(answering);
    let times = written(&process);
    if let Some(times) = spread(times.get(1..).unwrap_or_default()) {
        say!("one real's event to the maps:         {times}")?;
    }
    if let Some(times) = spread(&seen) {
        say!("the same from the real's end or start,")?;
        say!("which a check every 50 ms has to see: {times}")?;
    }
    Ok(())
}

/// Services with reals that nobody checks and that have their MAC addresses, and one with a real that is there.
fn config(real: &Host) -> String {
    let mut text = "[director]\ninterfaces = [\"eth1\"]\n".to_owned();
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "[service.checked]\naddress = \"{VIP}:80\"\nprotocol = \"tcp\"\n\
         check = {{ type = \"http\", interval = \"50ms\", timeout = \"50ms\", rise = 1, fall = 1 }}\n\
         [[service.checked.reals]]\naddress = \"{}\"\n",
        real.v4()
    );
    for service in 0..SERVICES {
        let [high, low] = service.to_be_bytes();
        // With the one that is there they are as many as they are said to be.
        let (first, reals) = if service == 0 { (1, REALS - 1) } else { (0, REALS) };
        if service > 0 {
            let _ = write!(text, "[service.s{service}]\naddress = \"10.0.{high}.{low}:80\"\nprotocol = \"tcp\"\n");
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

/// The times that the log tells so far.
fn written(process: &Process) -> Vec<Duration> {
    process.log().lines().filter_map(|line| parse(line.split_once(WRITTEN)?.1)).collect()
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
