//! Flap damping: a target that goes down again and again is held down until it has been good for a while, so that clients
//! aren't sent to and fro.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use super::Now;
use super::kept::{from_the_wall, on_the_wall};
use crate::config::Damping;

/// What of it outlives the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// When the target went down lately.
    pub downs: Vec<SystemTime>,
    /// Whether it is held down.
    pub is_held: bool,
    /// Since when it is good while it is.
    pub good_since: Option<SystemTime>,
}

/// How often a target went down lately, and since when it is good.
#[derive(Debug, Clone, Default)]
pub(super) struct Flaps {
    damping: Option<Damping>,
    /// When it went down, of the last [`Damping::after`] times.
    downs: VecDeque<Instant>,
    is_held: bool,
    /// The first good answer since the last bad one, while it is held.
    good_since: Option<Instant>,
}

impl Flaps {
    /// Takes another rule. A target that is held stays so, for as long as the new rule says; without a rule it is free.
    pub(super) fn set(&mut self, damping: Option<Damping>) {
        self.damping = damping;
        self.trim();
        self.is_held &= damping.is_some();
    }

    /// It was up and is down now.
    pub(super) fn went_down(&mut self, now: Instant) {
        let Some(Damping { after, within, .. }) = self.damping else { return };
        self.downs.push_back(now);
        self.trim();
        let is_full = self.downs.len() >= usize::try_from(after).unwrap_or(usize::MAX);
        self.is_held = is_full && self.downs.front().is_some_and(|first| now.duration_since(*first) <= within);
        self.good_since = None;
    }

    /// A bad answer of one that is down.
    pub(super) fn was_bad(&mut self) {
        self.good_since = None;
    }

    /// It is up now.
    pub(super) fn came_up(&mut self) {
        (self.is_held, self.good_since) = (false, None);
    }

    /// A good answer of one that is down. Why it is held down all the same, if it is.
    pub(super) fn is_held(&mut self, now: Instant) -> Option<String> {
        let Damping { after, within, good_for } = self.damping.filter(|_| self.is_held)?;
        let since = *self.good_since.get_or_insert(now);
        (now.duration_since(since) < good_for).then(|| {
            let shown = humantime::format_duration;
            format!(
                "went down {after} times within {}: held down until it was good for {}",
                shown(within),
                shown(good_for)
            )
        })
    }

    /// For how long it was good, and for how long it must be, while it is held.
    pub(super) fn progress(&self, now: Instant) -> Option<(Duration, Duration)> {
        let damping = self.damping.filter(|_| self.is_held)?;
        let good = self.good_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        Some((good, damping.good_for))
    }

    /// What is to be kept.
    pub(super) fn kept(&self, now: Now) -> Held {
        Held {
            downs: self.downs.iter().filter_map(|down| on_the_wall(*down, now)).collect(),
            is_held: self.is_held,
            good_since: self.good_since.and_then(|since| on_the_wall(since, now)),
        }
    }

    /// Goes on from what was kept, by the rule that is set.
    pub(super) fn resume(&mut self, kept: &Held, now: Now) {
        self.downs = kept.downs.iter().filter_map(|down| from_the_wall(*down, now)).collect();
        self.is_held = kept.is_held && self.damping.is_some();
        self.good_since = kept.good_since.and_then(|since| from_the_wall(since, now));
        self.trim();
    }

    fn trim(&mut self) {
        let keep = self.damping.map_or(0, |damping| usize::try_from(damping.after).unwrap_or(usize::MAX));
        while self.downs.len() > keep {
            self.downs.pop_front();
        }
    }
}
