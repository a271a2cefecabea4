//! A tracked script: run after run, and when it holds.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::Seen;
use super::policy::Word;
use crate::config::{Condition, Script};
use crate::host::command;

/// Runs the script at its interval and tells when it begins or ceases to hold.
pub(super) async fn watch(script: Script, seen: mpsc::UnboundedSender<Seen>) {
    let name = script.label();
    let mut streak = Streak { holds: script.init_fail.then_some(false), contrary: 0 };
    let mut ticks = tokio::time::interval(script.interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let result = command::run_as(&script.command, script.timeout, script.user.as_deref()).await;
        let Some(holds) = streak.note(result.is_ok(), &script) else { continue };
        match result {
            Ok(_) => info!("script {name}: holds"),
            Err(failure) => warn!("script {name}: fails: {failure}"),
        }
        if seen.send(Seen::Word(Condition::Script(script.clone()), Word::Holds(holds))).is_err() {
            return;
        }
    }
}

/// Runs of the same kind in a row.
#[derive(Debug, Default)]
struct Streak {
    holds: Option<bool>,
    contrary: u32,
}

impl Streak {
    /// What the script says now, if that is new. The first run decides alone.
    fn note(&mut self, good: bool, script: &Script) -> Option<bool> {
        if self.holds == Some(good) {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        let needed = if good { script.rise } else { script.fall };
        if self.holds.is_some() && self.contrary < needed {
            return None;
        }
        self.contrary = 0;
        self.holds = Some(good);
        self.holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rise_and_fall_are_runs_in_a_row() {
        let script = Script {
            command: vec!["/bin/true".into()],
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            name: None,
            init_fail: false,
            user: None,
        };
        let mut streak = Streak::default();
        let rows = [
            (true, Some(true)),
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(false)),
            (false, None),
            (true, None),
            (false, None),
            (true, None),
            (true, Some(true)),
        ];
        for (index, (good, expected)) in rows.into_iter().enumerate() {
            assert_eq!(streak.note(good, &script), expected, "row {index}");
        }
        assert_eq!(Streak::default().note(false, &script), Some(false));
        // One that fails at first needs its good runs.
        let mut streak = Streak { holds: Some(false), contrary: 0 };
        assert_eq!([true, false, true, true].map(|good| streak.note(good, &script)), [None, None, None, Some(true)]);
    }
}
