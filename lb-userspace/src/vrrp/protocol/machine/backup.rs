//! A backup: whom it hears, whom it would displace, and the VIPs that an agent before it left on this host.

use super::{ANSWER, Action, Cause, Heard, Machine, RESIGN, State, Time};
use crate::vrrp::wire::packet::Version;

/// A master that this backup would displace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inferior {
    pub(super) priority: u8,
    /// When its time is over.
    pub(super) until: Time,
}

impl Machine {
    /// RFC 9568 §6.4.1.
    pub(super) fn start(&mut self, now: Time, holds_addresses: bool, actions: &mut Vec<Action>) {
        self.master = None;
        self.learned = self.config.interval;
        if self.is_owner() && !self.is_deferred(now) {
            self.become_master(now, Cause::Owner, actions);
        } else if holds_addresses {
            self.forget_masters();
            actions.extend([Action::Gate(true), Action::KeepAddresses]);
            self.enter(now, State::Backup, Cause::Found, actions);
            self.keeps = true;
            self.listen(now);
        } else {
            self.become_backup(now, Cause::Started, actions);
            if self.is_owner() {
                self.listen(now);
            }
        }
    }

    /// Waits for as long as it takes to hear a master, who sends an advert each interval. For one whose the VIPs are
    /// anyway: the rest of a master-down interval would only give the other directors time to take them over.
    fn listen(&mut self, now: Time) {
        self.timer = Some(now.saturating_add(self.config.interval * 5 / 4));
    }

    pub(super) fn become_backup(&mut self, now: Time, cause: Cause, actions: &mut Vec<Action>) {
        self.forget_masters();
        if self.state == State::Initialize {
            actions.push(Action::Gate(false));
        }
        self.timer = Some(now.saturating_add(self.down_interval()));
        self.enter(now, State::Backup, cause, actions);
    }

    fn forget_masters(&mut self) {
        self.inferior = None;
        self.resigned = false;
        self.postponed = false;
    }

    /// RFC 9568 §6.4.2, an advert received.
    pub(super) fn hear_as_backup(&mut self, now: Time, heard: Heard, actions: &mut Vec<Action>) {
        if heard.priority == RESIGN {
            self.resigned = true;
            self.postponed = false;
            self.held = false;
            self.inferior = None;
            self.asked = None;
            self.timer = Some(now.saturating_add(self.skew()));
            return;
        }
        let may_preempt = self.config.preempt && !self.yielded || self.is_owner();
        let preempts = may_preempt && !self.is_deferred(now) && heard.priority < self.priority;
        if preempts && (self.config.preempt_delay.is_zero() || self.is_owner()) {
            // Discarded: the timer runs on, and then this router is master.
            self.inferior = Some(Inferior { priority: heard.priority, until: Time::MAX });
            self.master = Some(heard.source);
            return;
        }
        self.inferior = preempts.then(|| Inferior {
            priority: heard.priority,
            until: self
                .inferior
                .map_or_else(|| now.saturating_add(self.config.preempt_delay), |inferior| inferior.until),
        });
        if self.inferior.is_none() {
            self.asked = None;
        }
        if self.keeps {
            self.give_up(actions);
            // A word that can't win: the master hears that there were two, and announces again.
            let word = self.priority.min(heard.priority - 1);
            if word != RESIGN {
                actions.push(Action::Advertise(word));
            }
        }
        self.obey(now, heard);
    }

    /// Waits for the next advert of this master.
    pub(super) fn obey(&mut self, now: Time, heard: Heard) {
        self.resigned = false;
        self.postponed = false;
        self.held = false;
        self.master = Some(heard.source);
        if self.config.version == Version::V3 {
            self.learned = heard.interval;
        }
        self.timer = Some(now.saturating_add(self.down_interval()));
    }

    /// RFC 9568 §6.4.2, the Active_Down_Timer fires.
    pub(super) fn expire_as_backup(&mut self, now: Time, actions: &mut Vec<Action>) {
        if !self.is_due(now) || self.overslept(now) {
            return;
        }
        if self.config.grouped && self.asked.is_none() {
            self.held = true;
            self.timer = Some(now.saturating_add(self.learned));
        } else {
            self.take_over(now, actions);
        }
    }

    pub(super) fn take_over(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.asks(now, actions) {
            return;
        }
        let cause = if self.is_owner() {
            Cause::Owner
        } else if self.resigned {
            Cause::MasterResigned
        } else if self.inferior.is_some() {
            Cause::Preempted
        } else if self.keeps {
            Cause::Adopted
        } else {
            Cause::MasterDown
        };
        self.become_master(now, cause, actions);
    }

    /// Asks what a master that lives and is to be displaced hasn't told yet. Whether that is to be waited for.
    fn asks(&mut self, now: Time, actions: &mut Vec<Action>) -> bool {
        let displaces = self.inferior.is_some() || self.is_owner() && self.master.is_some() && !self.resigned;
        if !self.config.asks || !displaces {
            return false;
        }
        if let Some(until) = self.asked {
            return now < until;
        }
        let until = now.saturating_add(ANSWER);
        (self.asked, self.timer) = (Some(until), Some(until));
        actions.push(Action::Ask);
        true
    }

    /// What was not heard while this host was asleep proves nothing: a timer that is late gives the master
    /// as much time as it is late, at most an interval and once, to be heard.
    fn overslept(&mut self, now: Time) -> bool {
        let late = self.timer.map_or(Time::ZERO, |timer| now.saturating_sub(timer));
        if late <= self.learned / 8 || self.postponed {
            return false;
        }
        self.postponed = true;
        self.timer = Some(now.saturating_add(late.min(self.learned)));
        true
    }

    /// The skew follows the priority; what has been waited so far counts.
    pub(super) fn reprioritize(&mut self, now: Time, priority: u8) {
        let before = self.skew();
        self.priority = priority;
        let after = self.skew();
        if !self.keeps {
            self.timer = self.timer.map(|timer| timer.saturating_add(after).saturating_sub(before).max(now));
        }
        self.inferior = self.inferior.filter(|inferior| inferior.priority < priority);
        self.asked = self.asked.filter(|_| self.inferior.is_some());
    }

    /// Takes no part any more.
    pub(super) fn leave(&mut self, now: Time, cause: Cause, actions: &mut Vec<Action>) {
        self.timer = None;
        self.inferior = None;
        self.master = None;
        self.enter(now, State::Initialize, cause, actions);
    }
}
