//! One connection to a peer, without a socket or a clock: time, messages and changes go in; messages, what the peer
//! told and the next deadline come out.
//!
//! Each way: a greeting; then bulk, which is every service, the members and slots of those that are served, and their
//! connections as the flow table has them; then deltas. Bulk is read as the connection takes it ([`Session::fill`]),
//! and a service's part of it is read again when it begins to be served. Deltas go before bulk; connections wait up to
//! [`FLUSH`] for others to fill a message with. What waits to be sent is bounded: a peer that doesn't take it is cut.

mod fault;
#[cfg(test)]
pub(super) mod model;
mod outgoing;
#[cfg(test)]
mod property;
mod receive;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::differences::Differences;
use super::ours::Ours;
use super::state::{Change, Flows, Told};
use super::wire::{Greeting, Message, VERSIONS};

pub use fault::Fault;
use outgoing::Outgoing;
use receive::Incoming;

/// Monotonic time since an epoch of the caller's choice.
pub type Time = Duration;

/// A connection's word waits so long for others.
pub const FLUSH: Duration = Duration::from_millis(5);
/// Time between two pings.
pub const PING: Duration = Duration::from_secs(1);
/// A peer that says nothing for so long is gone: it pings too.
pub const SILENCE: Duration = Duration::from_secs(5);
/// A peer that doesn't answer a ping for so long is too far behind.
pub const ANSWER: Duration = Duration::from_secs(10);
/// A peer that has not told everything for so long since it greeted never will: the largest table takes a minute.
pub const BULK: Duration = Duration::from_secs(600);

/// One connection's protocol state.
pub struct Session {
    own: Greeting,
    /// The peer's greeting, once heard.
    theirs: Option<Greeting>,
    /// When it must have told everything.
    whole_by: Time,
    outgoing: Outgoing,
    incoming: Incoming,
    heard: Time,
    /// The next ping.
    ping: Time,
    /// When the ping that waits for its answer was queued.
    asked: Option<Time>,
    lag: Option<Duration>,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There is no connection.
    Connecting,
    /// The peer has not greeted yet.
    Greeting,
    /// One of the two hasn't told everything yet.
    Bulk,
    /// Each is told what changes.
    Live,
}

/// What went over a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Their bytes, before encryption.
    pub bytes: u64,
    /// Words about connections.
    pub flows: u64,
}

impl Session {
    /// A session of a connection that was just made. The greeting waits to be sent, unless that was done.
    pub fn new(now: Time, own: Greeting, greeted: bool) -> Self {
        let mut outgoing = Outgoing::default();
        if !greeted {
            outgoing.raw(own.encode());
        }
        Self {
            own,
            theirs: None,
            whole_by: now + BULK,
            outgoing,
            incoming: Incoming::default(),
            heard: now,
            ping: now + PING,
            asked: None,
            lag: None,
        }
    }

    /// Takes a message of the peer's, and adds what it told.
    ///
    /// # Errors
    /// The session is over.
    pub fn receive(
        &mut self,
        now: Time,
        bytes: &[u8],
        ours: &Ours,
        differences: &mut Differences,
        told: &mut Vec<Told>,
    ) -> Result<(), Fault> {
        self.heard = now;
        self.incoming.traffic.messages += 1;
        self.incoming.traffic.bytes += bytes.len() as u64;
        if self.theirs.is_none() {
            let greeting = Greeting::parse(bytes).map_err(|_| Fault::Lie("no greeting"))?;
            return self.meet(greeting, ours, differences, told);
        }
        match Message::parse(bytes).map_err(|_| Fault::Lie("bytes that are no message"))? {
            Message::Ping(at) => self.outgoing.put(&Message::Pong(at)),
            Message::Pong(at) => self.answered(now, at)?,
            message => self.incoming.take(now, message, ours, differences, told)?,
        }
        Ok(())
    }

    fn meet(
        &mut self,
        greeting: Greeting,
        ours: &Ours,
        differences: &mut Differences,
        told: &mut Vec<Told>,
    ) -> Result<(), Fault> {
        let (oldest, newest) = VERSIONS;
        if greeting.oldest > newest || greeting.newest < oldest {
            return Err(Fault::Version { oldest: greeting.oldest, newest: greeting.newest });
        }
        if greeting.instance == self.own.instance {
            return Err(Fault::Itself);
        }
        self.theirs = Some(greeting);
        self.incoming.same_rings = greeting.rings == self.own.rings;
        differences.begin();
        told.push(Told::Begin);
        self.outgoing.begin(ours);
        Ok(())
    }

    fn answered(&mut self, now: Time, at: u64) -> Result<(), Fault> {
        match self.asked.take() {
            Some(asked) if micros(asked) == at => {
                self.lag = Some(now.saturating_sub(asked));
                Ok(())
            }
            _ => Err(Fault::Lie("an answer to a ping that wasn't sent")),
        }
    }

    /// This director changed so. `ours` has the change already.
    pub fn change(&mut self, now: Time, change: &Change, ours: &Ours, differences: &mut Differences) {
        if let Change::Service(service, _) | Change::Gone(service) = change {
            differences.compare(now, *service, ours);
        }
        self.outgoing.change(now, change, ours);
    }

    /// Whether [`Session::fill`] has something to add.
    pub fn is_filling(&self) -> bool {
        self.outgoing.is_filling()
    }

    /// Adds bulk, as much as the connection may take next.
    pub fn fill(&mut self, ours: &Ours, flows: &dyn Flows) {
        self.outgoing.fill(ours, flows);
    }

    /// The next message to send.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop()
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The session is over.
    pub fn tick(&mut self, now: Time) -> Result<(), Fault> {
        if now >= self.heard + SILENCE {
            return Err(Fault::Silent(SILENCE));
        }
        if self.asked.is_some_and(|asked| now >= asked + ANSWER) {
            return Err(Fault::Behind("a ping has no answer for 10 s"));
        }
        if !self.is_taken() && now >= self.whole_by {
            return Err(Fault::Endless(BULK));
        }
        if self.outgoing.is_over() {
            return Err(Fault::Behind("too much waits to be sent"));
        }
        self.outgoing.flush_due(now);
        if now >= self.ping {
            self.ping = now + PING;
            if self.theirs.is_some() && self.asked.is_none() {
                self.asked = Some(now);
                self.outgoing.put(&Message::Ping(micros(now)));
            }
        }
        Ok(())
    }

    /// When [`Session::tick`] has something to do.
    pub fn deadline(&self) -> Time {
        let whole_by = (!self.is_taken()).then_some(self.whole_by);
        let ends = self.asked.map(|asked| asked + ANSWER).into_iter().chain(self.outgoing.flush_at()).chain(whole_by);
        ends.fold((self.heard + SILENCE).min(self.ping), Time::min)
    }

    /// Nothing was read from the peer until now, for this director's own reasons.
    pub fn excuse(&mut self, now: Time) {
        self.heard = now;
    }

    /// Nothing waits to be transmitted.
    pub fn has_told(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// How far it is.
    pub fn state(&self) -> State {
        match self.theirs {
            None => State::Greeting,
            Some(_) if self.outgoing.is_live() && self.incoming.is_whole() => State::Live,
            Some(_) => State::Bulk,
        }
    }

    /// The peer has told everything.
    pub fn is_taken(&self) -> bool {
        self.incoming.is_whole()
    }

    /// The peer's greeting.
    pub fn peer(&self) -> Option<&Greeting> {
        self.theirs.as_ref()
    }

    /// Both directors compute slots alike; else the peer's aren't taken.
    pub fn has_same_rings(&self) -> bool {
        self.incoming.same_rings
    }

    /// What the last ping took until its answer was here: a change told now is there in less.
    pub fn lag(&self) -> Option<Duration> {
        self.lag
    }

    /// What was queued for the peer, and heard of it.
    pub fn traffic(&self) -> (Traffic, Traffic) {
        (self.outgoing.traffic, self.incoming.traffic)
    }
}

fn micros(time: Time) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
