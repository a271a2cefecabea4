//! The protocol's state machine (RFC 3768 §6.4, RFC 9568 §6.4), without a socket or a clock: time and an
//! event go in, actions and the next deadline come out.
//!
//! Beyond the RFCs:
//! - a planned hand-over is make-before-break: a master that releases announces priority 0 but keeps the
//!   VIPs until it hears its successor, or for [`Config::handover`] ([`State::Releasing`]);
//! - an agent that finds its VIPs on their interface keeps them there and listens for an interval: a master that
//!   it hears is treated as by any other backup, and where there is none it is master again ([`Event::Start`]);
//! - a master that hears another master of lower standing answers at once in version 2 too, and announces
//!   its VIPs again; one that is outranked says a last word, so that the winner knows that there were two
//!   and announces again. A split brain heals with one advert;
//! - a backup whose own timer was late doubts its ears before it takes over;
//! - where directors share their connections, one that is about to displace a master that lives asks for what that one
//!   hasn't told yet ([`Action::Ask`]), and waits a quarter of a second for the answer at most;
//! - the owner (priority 255) is not deaf: a second owner is a misconfiguration, and two masters for ever
//!   would be its result. The tie is broken by address, as any other. Nor does it take its addresses from another
//!   before what is behind it is ready.

use std::net::IpAddr;
use std::time::Duration;

use crate::vrrp::wire::packet::Version;

mod backup;
mod config;
mod event;
mod handover;
#[cfg(test)]
mod tests;

use backup::Inferior;
use handover::{After, Ending};

pub use config::{Config, default_handover};
pub use event::{Action, Cause, Event, Heard, Standing, State};

/// Monotonic time since an epoch of the caller's choice.
pub type Time = Duration;

/// The priority of the addresses' owner.
pub const OWNER: u8 = 255;
/// The priority of a master that resigns.
pub const RESIGN: u8 = 0;

/// An answer to [`Action::Ask`] is waited for so long at most.
const ANSWER: Duration = Duration::from_millis(250);

/// Losing adverts make a master announce no more often than this.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(1);

/// One virtual router's protocol state.
#[derive(Debug, Clone)]
pub struct Machine {
    config: Config,
    priority: u8,
    state: State,
    cause: Cause,
    since: Time,
    /// Master and releasing: the next advert. Backup: when the master counts as down.
    timer: Option<Time>,
    /// The master's interval, RFC 9568's Active_Adver_Interval; ours until one was heard.
    learned: Duration,
    /// Another director was heard since this machine was made.
    heard: bool,
    /// Who was last heard as master.
    master: Option<IpAddr>,
    /// Backup: the master that we would displace.
    inferior: Option<Inferior>,
    /// Backup: the master's last advert was its resignation.
    resigned: bool,
    /// Backup: the timer was late and has been put off once.
    postponed: bool,
    /// Backup: its time to take over has come, and its sync group's hasn't.
    held: bool,
    /// Backup: the VIPs are here since an agent before this one left them, until the election says whose they are.
    keeps: bool,
    /// Backup: others were asked for what they know, and are waited for until then.
    asked: Option<Time>,
    /// Backup: released, so it does not preempt.
    yielded: bool,
    /// Backup: it does not preempt before.
    deferred: Option<Time>,
    /// Releasing: what comes after, and when it is over anyway.
    ending: Option<Ending>,
    /// Master: when it may answer a losing advert again.
    answers_from: Time,
    /// Master: when it may announce again because of one.
    announces_from: Time,
}

impl Machine {
    /// A machine in [`State::Initialize`].
    pub fn new(config: Config, now: Time) -> Self {
        Self {
            priority: config.priority,
            learned: config.interval,
            config,
            state: State::Initialize,
            cause: Cause::Created,
            since: now,
            timer: None,
            heard: false,
            master: None,
            inferior: None,
            resigned: false,
            postponed: false,
            held: false,
            keeps: false,
            asked: None,
            yielded: false,
            deferred: None,
            ending: None,
            answers_from: now,
            announces_from: now,
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it is in this state.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Since when it is in this state.
    pub fn since(&self) -> Time {
        self.since
    }

    /// The effective priority.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// Whether it was released and does not ask for mastership.
    pub fn yielded(&self) -> bool {
        self.yielded
    }

    /// Whether this host has the VIPs: as their master, or as a backup that found them here.
    pub fn holds_addresses(&self) -> bool {
        self.keeps || matches!(self.state, State::Master | State::Releasing)
    }

    /// What its sync group needs to know.
    pub fn standing(&self) -> Standing {
        let Self { state, held, keeps, .. } = *self;
        Standing { state, held, keeps, stopping: self.is_stopping() }
    }

    /// The master's address as far as it is known: ours, or that of the last advert taken.
    pub fn master(&self) -> Option<IpAddr> {
        match self.state {
            State::Master | State::Releasing => Some(self.config.address),
            State::Initialize | State::Backup => self.master,
        }
    }

    /// When [`Event::Timer`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let preempts = self.inferior.filter(|_| !self.held && self.asked.is_none()).map(|inferior| inferior.until);
        self.timer.map(|timer| preempts.map_or(timer, |preempts| preempts.min(timer)))
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes a changed configuration without leaving the state: a reload moves no VIP. The effective
    /// priority comes with [`Event::Priority`].
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
        if self.state != State::Backup {
            self.learned = config.interval;
        }
    }

    /// Lets a master of lower priority be until this time, or until this is called with `None`: what is behind
    /// this router is not ready. A master that resigns or falls silent is followed nevertheless.
    ///
    /// The owner too starts as a backup meanwhile, and is due at once when it is ready.
    pub fn defer_preemption(&mut self, now: Time, until: Option<Time>) {
        let was_deferred = std::mem::replace(&mut self.deferred, until).is_some();
        if self.state != State::Backup {
            return;
        }
        if until.is_some() && self.inferior.take().is_some() {
            // The one that it was about to displace was heard.
            self.asked = None;
            self.timer = Some(now.saturating_add(self.down_interval()));
        } else if was_deferred && until.is_none() && self.is_owner() {
            self.timer = self.timer.map(|timer| timer.min(now));
        }
    }

    /// Whether it is to be master whoever else is.
    fn is_owner(&self) -> bool {
        self.priority == OWNER && !self.yielded
    }

    fn is_deferred(&self, now: Time) -> bool {
        self.deferred.is_some_and(|until| until > now)
    }

    /// Whether it lets a master of lower priority be for that reason.
    pub fn defers_preemption(&self, now: Time) -> bool {
        let would = self.is_owner() || self.config.preempt && !self.yielded;
        self.state == State::Backup && would && self.is_deferred(now)
    }

    /// Skew_Time: a backup of lower priority waits longer (RFC 3768 §6.1, RFC 9568 §6.1).
    pub fn skew(&self) -> Duration {
        let unit = match self.config.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.learned,
        };
        unit * (256 - u32::from(self.priority)) / 256
    }

    /// Master_Down_Interval, RFC 9568's Active_Down_Interval.
    pub fn down_interval(&self) -> Duration {
        self.learned * 3 + self.skew()
    }

    /// Takes an event and appends what is to be done to `actions`.
    pub fn handle(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        self.heard |= matches!(event, Event::Advert(_));
        match (self.state, event) {
            (State::Initialize, Event::Start { holds_addresses }) => {
                self.start(now, holds_addresses, actions);
            }
            (State::Initialize, _) => self.idle(event),

            (State::Backup, Event::Advert(heard)) => self.hear_as_backup(now, heard, actions),
            (State::Backup, Event::Timer) => self.expire_as_backup(now, actions),
            (State::Backup, Event::Priority(priority)) => self.reprioritize(now, priority),
            (State::Backup, Event::Release) => self.yielded = true,
            (State::Backup, Event::Reclaim) => self.yielded = false,
            (State::Backup, Event::Stop) if self.keeps => self.release(now, After::Stop, actions),
            (State::Backup, Event::Shutdown) if self.keeps => self.release(now, After::Shutdown, actions),
            (State::Backup, Event::Stop | Event::Shutdown) => {
                self.leave(now, Cause::Stopped, actions);
            }
            (State::Backup, Event::Fault) => {
                if self.keeps {
                    self.give_up(actions);
                }
                self.leave(now, Cause::Faulted, actions);
            }
            (State::Backup, Event::Yield) if self.keeps => self.give_up(actions),
            (State::Backup, Event::TakeOver) if self.held => self.take_over(now, actions),
            (State::Backup, Event::Answered) if self.asked.is_some() => {
                self.asked = Some(now);
                self.take_over(now, actions);
            }
            (_, Event::Answered) => {}

            (State::Master, Event::Advert(heard)) => self.hear_as_master(now, heard, actions),
            (State::Master, Event::Timer) => self.advertise_if_due(now, actions),
            (State::Master, Event::Priority(priority)) => {
                if self.priority != priority {
                    self.priority = priority;
                    self.advertise(now, actions);
                }
            }
            (State::Master, Event::Release) => self.release(now, After::Release, actions),
            (State::Master, Event::Yield) => self.release(now, After::Yield, actions),
            (State::Master, Event::Stop) => self.release(now, After::Stop, actions),
            (State::Master, Event::Shutdown) => self.release(now, After::Shutdown, actions),
            (State::Master | State::Releasing, Event::Fault) => {
                self.give_up(actions);
                self.leave(now, Cause::Faulted, actions);
            }
            (State::Master, Event::Reclaim) => {}

            (State::Releasing, Event::Advert(heard)) => {
                self.hear_as_releasing(now, heard, actions);
            }
            (State::Releasing, Event::Timer) => self.resign_or_end(now, actions),
            (State::Releasing, Event::Priority(priority)) => self.priority = priority,
            (State::Releasing, Event::Release) => {}
            (State::Releasing, Event::Yield) => {
                if !self.is_stopping() {
                    self.end_by(After::Yield);
                }
            }
            (State::Releasing, Event::Stop) => self.end_by(After::Stop),
            (State::Releasing, Event::Shutdown) => self.end_by(After::Shutdown),
            (State::Releasing, Event::Reclaim) => {
                self.yielded = false;
                if self.ending.is_some_and(|ending| ending.after == After::Release) {
                    self.become_master(now, Cause::Reclaimed, actions);
                }
            }
            (State::Releasing, Event::Start { .. }) => {
                if self.is_stopping() {
                    self.become_master(now, Cause::Started, actions);
                }
            }

            (State::Backup | State::Master, Event::Start { .. })
            | (State::Backup, Event::Yield | Event::TakeOver)
            | (State::Master | State::Releasing, Event::TakeOver) => {}
        }
    }

    fn idle(&mut self, event: Event) {
        match event {
            Event::Priority(priority) => self.priority = priority,
            Event::Release => self.yielded = true,
            Event::Reclaim => self.yielded = false,
            _ => {}
        }
    }

    /// RFC 9568 §6.4.3, an advert received.
    fn hear_as_master(&mut self, now: Time, heard: Heard, actions: &mut Vec<Action>) {
        let outranked =
            heard.priority > self.priority || heard.priority == self.priority && heard.source > self.config.address;
        if heard.priority != RESIGN && outranked {
            self.give_up(actions);
            actions.push(Action::Advertise(self.priority));
            self.become_backup(now, Cause::Outranked, actions);
            self.obey(now, heard);
            return;
        }
        // A stranger that floods us with losing adverts gets a bounded number of answers.
        if now < self.answers_from {
            return;
        }
        self.answers_from = now.saturating_add(self.config.interval / 8);
        self.advertise(now, actions);
        if heard.priority != RESIGN && now >= self.announces_from {
            self.announces_from = now.saturating_add(self.config.interval.max(ANNOUNCE_LIMIT));
            actions.push(Action::Announce);
        }
    }

    fn advertise_if_due(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.is_due(now) {
            self.advertise(now, actions);
        }
    }

    fn advertise(&mut self, now: Time, actions: &mut Vec<Action>) {
        actions.push(Action::Advertise(self.priority));
        self.timer = Some(now.saturating_add(self.config.interval));
    }

    /// The order is part of the contract: the gate, the addresses, the advert, the announcements.
    fn become_master(&mut self, now: Time, cause: Cause, actions: &mut Vec<Action>) {
        self.learned = self.config.interval;
        self.inferior = None;
        self.resigned = false;
        self.ending = None;
        self.yielded = false;
        self.answers_from = now;
        self.announces_from = now;
        actions.extend([Action::Gate(true), Action::AddAddresses]);
        self.advertise(now, actions);
        actions.push(Action::Announce);
        self.enter(now, State::Master, cause, actions);
    }

    /// Gives up the VIPs.
    fn give_up(&mut self, actions: &mut Vec<Action>) {
        self.ending = None;
        self.keeps = false;
        actions.extend([Action::Gate(false), Action::Silence, Action::RemoveAddresses]);
    }

    fn enter(&mut self, now: Time, state: State, cause: Cause, actions: &mut Vec<Action>) {
        self.held = false;
        self.keeps = false;
        self.asked = None;
        self.state = state;
        self.cause = cause;
        self.since = now;
        actions.push(Action::Entered(state, cause));
    }

    fn is_due(&self, now: Time) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}
