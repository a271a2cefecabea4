//! The lines below a real: what keeps it from its share, and what is otherwise with it.

use std::time::{Duration, UNIX_EPOCH};

use super::since;
use crate::api::{RealStatus, State};

/// What it gets by the rules for all reals together.
pub(super) fn together(real: &RealStatus) -> impl Iterator<Item = String> {
    let sorry = real.sorry && real.state == State::Up;
    let sorry = sorry.then(|| "sorry server: takes all new connections".to_owned());
    let slow = real.slow_start.map(|percent| format!("slow start: {percent} % of its share"));
    let panic = real.panic.then(|| "  takes new connections all the same, since too few are healthy".to_owned());
    [sorry, slow, panic].into_iter().flatten()
}

/// What its checks say besides.
pub(super) fn checked(real: &RealStatus) -> impl Iterator<Item = String> {
    let own = real.own_fault.as_ref().map(|fault| format!("its checks can't be made, it stays what it was: {fault}"));
    let suspect = real.suspect.map(|opened| {
        format!("suspect: {opened} connections were opened, and nothing followed; it is asked more often")
    });
    real.doubt.clone().into_iter().chain(suspect).chain(own)
}

/// What keeps a real from its share; nothing for one that takes it.
pub(super) fn state(real: &RealStatus, now: u64) -> Vec<String> {
    let text = match real.state {
        State::Up => return Vec::new(),
        State::Quiesced => "quiesced: its connections go on, new ones go elsewhere".to_owned(),
        State::Standby if real.sorry => "sorry server: takes new connections when the quorum is lost".to_owned(),
        State::Standby => "healthy, but new connections go to the sorry server".to_owned(),
        State::Draining => return draining(real, now),
        State::Drained => "drained: its deadline has come, it takes nothing".to_owned(),
        State::Disabled => "DISABLED: takes nothing".to_owned(),
        State::Checking => "no check has ended yet: takes no traffic".to_owned(),
        State::Down => "DOWN".to_owned(),
    };
    let since = real.since.map(|time| since(time, now)).unwrap_or_default();
    let why = real.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let stays = real.quiesced.then(|| "  its connections go on, new ones go elsewhere".to_owned());
    [format!("{text}{since}{why}")].into_iter().chain(stays).collect()
}

/// What is left on a draining real, and for how long.
fn draining(real: &RealStatus, now: u64) -> Vec<String> {
    let since = real.since.map(|time| since(time, now)).unwrap_or_default();
    let why = if real.left { ", it left the file" } else { "" };
    // Where no state is kept, only what was remembered meanwhile can be counted.
    let left = match (real.active_connections, real.inactive_connections, real.remembered_connections) {
        (Some(active), Some(inactive), _) => format!("{} connections left", active + inactive),
        (_, _, Some(remembered)) => format!("{remembered} remembered connections left"),
        _ => "an unknown number of connections left".to_owned(),
    };
    let end = match real.until {
        Some(until) => {
            let clock = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(until));
            let length = humantime::format_duration(Duration::from_secs(until.saturating_sub(now)));
            format!("given up at {clock} (in {length})")
        }
        None => "no deadline".to_owned(),
    };
    vec![format!("draining{since}{why}"), format!("  {left}, {end}")]
}

/// What is otherwise than the file says, and how to end that.
pub(super) fn set(real: &RealStatus) -> Option<String> {
    let file = real.file_weight.map(|weight| format!("; the file has {weight}")).unwrap_or_default();
    let by_check = real.weight_of.as_ref().map(|check| format!("weight set by its check ({check}){file}"));
    if !real.set_at_run_time {
        return by_check;
    }
    if let Some(by_check) = by_check {
        return Some(format!("{by_check}; set at run time (`lb reset` goes back to the file)"));
    }
    Some(match real.file_weight {
        Some(weight) => format!("set at run time; the file has weight {weight} (`lb reset` goes back to it)"),
        None => "set at run time (`lb reset` goes back to the file)".to_owned(),
    })
}
