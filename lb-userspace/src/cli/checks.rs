//! `lb checks`: the health checks, one by one.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use super::list::{pace, since};
use super::output::{print, print_json};
use crate::api::{self, CheckState, CheckStatus, Checks};
use crate::config::{is_meant, wrap};

/// Which, and how.
#[derive(Debug, Default, Args)]
pub(super) struct Arguments {
    /// Those of this real alone.
    #[arg(long, value_name = "ADDRESS")]
    real: Option<IpAddr>,
    /// Those of this service alone.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Those that aren't plainly up alone.
    #[arg(long)]
    failing: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn has(&self, check: &CheckStatus) -> bool {
        let is_well = check.state == CheckState::Up && check.last.last().is_none_or(|last| last.good.is_some());
        self.real.is_none_or(|real| real == check.real)
            && self.service.as_ref().is_none_or(|service| check.services.iter().any(|of| is_meant(of, service)))
            && !(self.failing && is_well)
    }
}

/// Asks the agent.
pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let mut checks = api::checks(&api::socket()).await?;
    checks.checks.retain(|check| arguments.has(check));
    if arguments.json {
        return print_json(&checks);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs());
    print(&render(&checks, now))
}

/// 16 + 1 + 24 + 1 + 14 + 1 + 7 + 1 + 7 + 1 + 7 are 80.
const REAL: usize = 16;
const CHECK: usize = 24;

/// Services of a check that are named at most.
const NAMED: usize = 4;

fn render(checks: &Checks, now: u64) -> String {
    let mut out = String::new();
    pace(&mut out, &checks.pace);
    if checks.checks.is_empty() {
        out.push_str("no such check\n");
        return out;
    }
    // Writing to a string can't fail.
    let _ =
        writeln!(out, "{:<REAL$} {:<CHECK$} {:<14} {:>7} {:>7} {:>7}", "Real", "Check", "State", "Next", "p50", "p99");
    for check in &checks.checks {
        row(&mut out, check, now);
    }
    out
}

fn row(out: &mut String, check: &CheckStatus, now: u64) {
    let (real, label) = (check.real.to_string(), &check.check);
    let head = if real.chars().count() <= REAL && label.chars().count() <= CHECK {
        format!("{real:<REAL$} {label:<CHECK$}")
    } else {
        // What is too long for its column has a line of its own, and the columns stay.
        out.push_str(&wrap(&format!("{real} {label}"), "  "));
        " ".repeat(REAL + 1 + CHECK)
    };
    let state = match check.state {
        CheckState::Held => format!("held {}/{}s", check.have, check.need),
        state if check.need > 0 => format!("{} {}/{}", state.word(), check.have, check.need),
        state => state.word().to_owned(),
    };
    let next = if check.running { "running".to_owned() } else { length(check.next_ms * 1000) };
    let time = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), length);
    let _ = writeln!(out, "{head} {state:<14} {next:>7} {:>7} {:>7}", time(check.p50_us), time(check.p99_us));

    let (named, more) = check.services.split_at(check.services.len().min(NAMED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    let of =
        if named.is_empty() { "of a real that drains".to_owned() } else { format!("of {}{more}", named.join(", ")) };
    let marks = check.last.iter().map(|result| match result.good {
        Some(true) => "+",
        Some(false) => "-",
        None => "!",
    });
    let marks: String = marks.collect();
    let last = if marks.is_empty() { "not asked yet".to_owned() } else { format!("last {marks}") };
    let since = check.since.map(|time| since(time, now)).unwrap_or_default();
    let held = match check.state {
        CheckState::Up | CheckState::Falling => format!("; up{since}"),
        CheckState::Down | CheckState::Rising | CheckState::Held => format!("; down{since}"),
        CheckState::Unknown => String::new(),
    };
    out.push_str(&wrap(&format!("  {of}; {last}{held}"), "  "));
    if let Some(before) = &check.before {
        let ago = humantime::format_duration(Duration::from_secs(now.saturating_sub(before.at)));
        let why = before.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let state = before.state.word();
        out.push_str(&wrap(&format!("  old, decides nothing: {state} {ago} ago, before the agent started{why}"), "  "));
    }
    if let Some(why) = &check.why {
        out.push_str(&wrap(&format!("  {why}"), "  "));
    }
    let wrong = check.last.iter().rev().find(|result| result.said.is_some());
    if let Some(said) = wrong.and_then(|result| result.said.as_ref().map(|said| (said, result)))
        && check.why.as_ref() != Some(said.0)
    {
        let (said, result) = said;
        let ago = humantime::format_duration(Duration::from_secs(now.saturating_sub(result.at)));
        let whose = if result.good.is_none() { "not asked" } else { "bad" };
        out.push_str(&wrap(&format!("  {whose} {ago} ago: {said}"), "  "));
    }
}

/// Microseconds in at most seven characters.
fn length(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..100_000 => format!("{}.{}ms", micros / 1_000, micros % 1_000 / 100),
        100_000..1_000_000 => format!("{}ms", micros / 1_000),
        1_000_000..100_000_000 => format!("{}.{}s", micros / 1_000_000, micros % 1_000_000 / 100_000),
        _ => format!("{}s", micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CheckPace, CheckResult};

    fn check(real: &str, state: CheckState) -> CheckStatus {
        let good = |at| CheckResult { at, took_us: 900, good: Some(true), said: None };
        CheckStatus {
            real: real.parse().unwrap(),
            check: "http on port 80".to_owned(),
            asks: String::new(),
            services: vec!["web".to_owned()],
            state,
            have: 0,
            need: 0,
            since: Some(1_000_000),
            why: None,
            running: false,
            next_ms: 1234,
            p50_us: Some(900),
            p99_us: Some(12_345),
            good: 3,
            bad: 0,
            unasked: 0,
            last: vec![good(1_000_000), good(1_000_002)],
            before: None,
        }
    }

    #[test]
    fn checks_are_listed_in_80_columns() {
        let bad = |said: &str, good| CheckResult { at: 1_000_060, took_us: 1, good, said: Some(said.to_owned()) };
        let mut falling = CheckStatus { have: 1, need: 3, running: true, ..check("192.0.2.50", CheckState::Falling) };
        falling.services.extend(["a", "b", "c", "d", "e"].map(str::to_owned));
        falling.last.push(bad("status 503, expected 200-299", Some(false)));
        let mut held = CheckStatus { have: 20, need: 60, ..check("255.255.255.255", CheckState::Held) };
        held.why = Some("went down 5 times within 10m: held down until it was good for 1m".to_owned());
        held.last.push(bad("this director's own firewall forbids the connection", None));
        let mut long = check("2001:db8:aaaa:bbbb:cccc:dddd:eeee:40", CheckState::Unknown);
        (long.p50_us, long.p99_us, long.since) = (None, None, None);
        (long.services, long.last, long.next_ms) = (vec![], vec![], 3_599_000);
        let why = Some("connection refused".to_owned());
        long.before = Some(crate::api::CheckBefore { at: 992_865, state: CheckState::Down, why });
        let all = vec![check("192.0.2.40", CheckState::Up), falling, held, long];
        let own_fault = Some("this director is out of descriptors: raise LimitNOFILE".to_owned());
        let pace =
            CheckPace { limit: 512, running: 512, waiting: 7, delayed: 99, unasked: 3, own_fault, late_p99_us: None };
        let text = render(&Checks { pace, checks: all }, 1_000_065);
        let expected = "\
CHECKS: 7 wait, since 512 run, which is the most at once (99 so far): raise
  LimitNOFILE, lengthen intervals or shorten timeouts
CHECKS: 3 can't be made, so that their reals stay what they were: this director
  is out of descriptors: raise LimitNOFILE
Real             Check                    State             Next     p50     p99
192.0.2.40       http on port 80          up                1.2s   900us  12.3ms
  of web; last ++; up since 1970-01-12T13:46:40Z (1m 5s)
192.0.2.50       http on port 80          falling 1/3    running   900us  12.3ms
  of web, a, b, c and 2 more; last ++-; up since 1970-01-12T13:46:40Z (1m 5s)
  bad 5s ago: status 503, expected 200-299
255.255.255.255  http on port 80          held 20/60s       1.2s   900us  12.3ms
  of web; last ++!; down since 1970-01-12T13:46:40Z (1m 5s)
  went down 5 times within 10m: held down until it was good for 1m
  not asked 5s ago: this director's own firewall forbids the connection
2001:db8:aaaa:bbbb:cccc:dddd:eeee:40 http on port 80
                                          unknown          3599s       -       -
  of a real that drains; not asked yet
  old, decides nothing: down 2h ago, before the agent started: connection
  refused
";
        assert_eq!(text, expected, "\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn some_of_them_may_be_asked_for() {
        let up = check("192.0.2.40", CheckState::Up);
        let down = CheckStatus { services: vec!["dns".to_owned()], ..check("192.0.2.50", CheckState::Down) };
        let arguments = |real: Option<&str>, service: Option<&str>, failing| Arguments {
            real: real.map(|real| real.parse().unwrap()),
            service: service.map(str::to_owned),
            failing,
            json: false,
        };
        let rows = [
            (arguments(None, None, false), (true, true)),
            (arguments(Some("192.0.2.40"), None, false), (true, false)),
            (arguments(None, Some("dns"), false), (false, true)),
            (arguments(None, None, true), (false, true)),
            (arguments(Some("192.0.2.40"), Some("dns"), false), (false, false)),
        ];
        for (arguments, expected) in rows {
            assert_eq!((arguments.has(&up), arguments.has(&down)), expected, "{arguments:?}");
        }
        let nothing = render(&Checks::default(), 0);
        assert_eq!(nothing, "no such check\n");
    }
}
