//! A master's hand-over: it resigns, and holds the VIPs until it hears its successor.

use super::{Action, Cause, Heard, Machine, RESIGN, State, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) until: Time,
    pub(super) after: After,
}

/// What follows a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Backup, or master again where there is no successor.
    Release,
    /// Backup, and the VIPs go in any case.
    Yield,
    /// Initialize, and the VIPs go in any case.
    Stop,
    /// Initialize, and the VIPs stay where there is no successor.
    Shutdown,
}

impl Machine {
    pub(super) fn is_stopping(&self) -> bool {
        self.ending.is_some_and(|ending| matches!(ending.after, After::Stop | After::Shutdown))
    }

    /// Resigns, and holds the VIPs until the successor is heard; with a hand-over of 0 gives them up at once.
    pub(super) fn release(&mut self, now: Time, after: After, actions: &mut Vec<Action>) {
        self.yielded |= after == After::Release;
        let cause = match after {
            After::Release => Cause::Released,
            After::Yield => Cause::Synchronized,
            After::Stop | After::Shutdown => Cause::Stopped,
        };
        if self.config.handover.is_zero() {
            actions.push(Action::Advertise(RESIGN));
            self.give_up(actions);
            match after {
                After::Release | After::Yield => self.become_backup(now, cause, actions),
                After::Stop | After::Shutdown => self.leave(now, cause, actions),
            }
            return;
        }
        // A backup is silent: that nobody was heard doesn't prove that nobody listens. But one that listens follows
        // within its skew, and is told twice, in case that one resignation is lost.
        let alone = matches!(after, After::Stop | After::Shutdown) && !self.heard;
        let patience = if alone { self.config.interval * 5 / 4 } else { self.config.handover };
        let patience = patience.min(self.config.handover);
        if alone {
            actions.push(Action::Advertise(RESIGN));
        }
        self.ending = Some(Ending { until: now.saturating_add(patience), after });
        self.resign(now, actions);
        self.enter(now, State::Releasing, cause, actions);
    }

    /// Each resignation makes a backup wait its skew anew, which is less than an interval: the next one,
    /// for a backup that missed this one, must not come before.
    fn resign(&mut self, now: Time, actions: &mut Vec<Action>) {
        actions.push(Action::Advertise(RESIGN));
        let again = now.saturating_add(self.config.interval * 3 / 2);
        self.timer = Some(self.ending.map_or(again, |ending| again.min(ending.until)));
    }

    pub(super) fn hear_as_releasing(&mut self, now: Time, heard: Heard, actions: &mut Vec<Action>) {
        if heard.priority == RESIGN {
            return;
        }
        self.end_release(now, Cause::HandedOver, actions);
        if self.state == State::Backup {
            self.obey(now, heard);
        }
    }

    pub(super) fn resign_or_end(&mut self, now: Time, actions: &mut Vec<Action>) {
        if !self.is_due(now) {
            return;
        }
        if self.ending.is_some_and(|ending| now < ending.until) {
            self.resign(now, actions);
        } else {
            self.end_release(now, Cause::NoSuccessor, actions);
        }
    }

    fn end_release(&mut self, now: Time, cause: Cause, actions: &mut Vec<Action>) {
        let after = self.ending.take().map_or(After::Release, |ending| ending.after);
        match (after, cause) {
            (After::Release, Cause::NoSuccessor) => self.become_master(now, cause, actions),
            (After::Shutdown, Cause::NoSuccessor) => self.leave(now, cause, actions),
            (After::Release | After::Yield, _) => {
                self.give_up(actions);
                self.become_backup(now, cause, actions);
            }
            (After::Stop | After::Shutdown, _) => {
                self.give_up(actions);
                self.leave(now, cause, actions);
            }
        }
    }

    /// Another end for the hand-over that is under way.
    pub(super) fn end_by(&mut self, after: After) {
        if let Some(ending) = &mut self.ending {
            ending.after = after;
        }
    }
}
