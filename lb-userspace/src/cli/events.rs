//! `lb events`: the last changes, and those that come.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::Args;

use super::exit::Code;
use super::output::{columns, print, remark, wrapped};
use crate::api::{self, ClientError};
use crate::config::is_service;
use crate::events::{Event, Kind, Wanted, keeper};

/// Which events, and how they are shown.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Show those that come as well, until Ctrl-C or the agent's end.
    #[arg(long, short)]
    follow: bool,
    /// Show the last so many of them.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    last: usize,
    /// Show all that are kept.
    #[arg(long, conflicts_with = "last")]
    all: bool,
    /// Those of the last while alone, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Those of this kind alone.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Those of this service alone (NAME of [service.NAME] or [pool.NAME]).
    #[arg(long, value_name = "NAME", value_parser = name)]
    service: Option<String>,
    /// Those of this real alone.
    #[arg(long, value_name = "ADDRESS")]
    real: Option<IpAddr>,
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
}

/// A name that the configuration could have.
pub(super) fn name(text: &str) -> Result<String, String> {
    if is_service(text) { Ok(text.to_owned()) } else { Err("no section can have this name".to_owned()) }
}

/// Asks the agent, or reads what the last one wrote down.
pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    let Arguments { follow, last, all, since, kind, service, real, json } = arguments;
    let wanted = Wanted { kind, service, real, after: None, last: (!all).then_some(last), follow };
    let earliest = since.and_then(|since| SystemTime::now().checked_sub(since)).map_or(0, milliseconds);
    let show = Show { json, columns: columns(), earliest };
    let mut printed = Ok(());
    let take = |part: Vec<Event>| {
        printed = print(&show.lines(&part));
        printed.is_ok()
    };
    match api::events(&api::socket(), &wanted, take).await {
        Ok(()) if !follow || printed.is_err() => printed.map(|()| Code::Done),
        Ok(()) => {
            remark("lb: the agent has ended");
            Ok(Code::NoAgent)
        }
        Err(ClientError::NoAgent { .. }) => {
            let path = keeper::path();
            let events = keeper::read(&path).map_err(anyhow::Error::msg);
            let events = events.with_context(|| format!("no agent answers, and {} can't be used", path.display()))?;
            print(&show.lines(&wanted.of(events)))?;
            remark("lb: NO AGENT RUNS: this is what the last one wrote down");
            Ok(Code::NoAgent)
        }
        Err(error) => Err(error.into()),
    }
}

/// How events are shown.
struct Show {
    json: bool,
    columns: Option<usize>,
    /// In milliseconds since 1970.
    earliest: u64,
}

impl Show {
    fn lines(&self, events: &[Event]) -> String {
        let events = events.iter().filter(|event| event.at_ms >= self.earliest);
        let shown = |event: &Event| match self.json {
            true => serde_json::to_string(event).unwrap_or_default(),
            false => wrapped(&line(event), self.columns, 4),
        };
        events.map(|event| shown(event) + "\n").collect()
    }
}

/// An event for people.
pub(super) fn line(event: &Event) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(event.at_ms.min(LATEST));
    format!("{} {}", humantime::format_rfc3339_millis(at), event.said)
}

/// The end of the year 9999, in milliseconds: later is no time.
const LATEST: u64 = 253_402_300_799_999;

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Said;

    #[test]
    fn a_line_keeps_to_the_terminal_and_is_whole_without_one() {
        let reals = ["2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:7777"];
        let reals = reals.map(|real| real.parse().unwrap()).to_vec();
        let said = Said::new(Kind::Real, "service.a-name-that-is-longer-than-it-should-be", "down");
        let said = Said { reals, ..said }.because("no answer within 100ms; its connections go on");
        let event = Event { number: 1, at_ms: 1_234_567_890, said };
        let show = |columns| Show { json: false, columns, earliest: 0 }.lines(std::slice::from_ref(&event));
        assert_eq!(show(None).lines().count(), 1);
        assert_eq!(
            show(Some(80)),
            "1970-01-15T06:56:07.890Z service.a-name-that-is-longer-than-it-should-be real\n    \
             2001:db8:1111:2222:3333:4444:5555:6666,\n    \
             2001:db8:1111:2222:3333:4444:5555:7777: down: no answer within 100ms; its\n    connections go on\n"
        );
        assert_eq!(
            Show { json: false, columns: None, earliest: 1_234_567_891 }.lines(std::slice::from_ref(&event)),
            ""
        );
        let odd = Event { at_ms: u64::MAX, ..event };
        assert!(line(&odd).starts_with("9999-12-31T23:59:59.999Z"));
    }

    #[test]
    fn a_name_is_one_that_the_file_could_have() {
        assert!(name("web-1").is_ok() && name("a.b_c").is_ok());
        assert!(["", "a b", "a&b=c", "ä", "a/b"].into_iter().all(|text| name(text).is_err()));
    }
}
