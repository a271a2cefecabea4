//! When a master announces which VIP (the frames are [`crate::vrrp::wire::announce`]'s).
//!
//! The [`Pacer`] holds no socket and no clock. A new master announces each of its VIPs five times at once
//! and five times more after 5 s, first all VIPs once, then all again, so that with many VIPs none waits for
//! another's repetition.

use std::net::IpAddr;
use std::time::Duration;

use super::machine::Time;
use super::pace::Pace;

/// How a new master announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Frames for each VIP at once; 0 for none.
    pub repeat: u32,
    /// When the second burst follows.
    pub delay: Duration,
    /// Frames for each VIP in the second burst; 0 for no second burst.
    pub delayed_repeat: u32,
    /// How often a master announces each VIP once more; `None` for never.
    pub refresh: Option<Duration>,
    /// Frames a second at most, over all instances of the interface.
    pub pace: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { repeat: 5, delay: Duration::from_secs(5), delayed_repeat: 5, refresh: None, pace: 10_000 }
    }
}

/// When to send which announcement on one interface, over all of its instances.
#[derive(Debug)]
pub struct Pacer<K> {
    pace: Pace,
    jobs: Vec<Job<K>>,
}

#[derive(Debug)]
struct Job<K> {
    key: K,
    addresses: Vec<IpAddr>,
    settings: Settings,
    due: Time,
    /// The round under way, and how far it is.
    phase: Phase,
    round: u32,
    position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    First,
    Delayed,
    Refresh,
}

/// Frames may go out back to back as long as they are worth no more than this.
const BURST: Duration = Duration::from_millis(10);

impl<K: PartialEq + Clone> Pacer<K> {
    /// A pacer that sends at most `pace` frames a second, at least one, in bursts of at most 10 ms worth.
    pub fn new(pace: u32) -> Self {
        Self { pace: Pace::new(pace, BURST), jobs: Vec::new() }
    }

    /// Takes another pace.
    pub fn set_pace(&mut self, pace: u32) {
        self.pace.set_rate(pace);
    }

    /// Starts the announcements of `key`'s addresses, from the beginning if they were under way.
    pub fn start(&mut self, now: Time, key: K, addresses: Vec<IpAddr>, settings: Settings) {
        self.stop(&key);
        let job = Job { key, addresses, settings, due: now, phase: Phase::First, round: 0, position: 0 };
        self.jobs.extend(job.settled(now));
    }

    /// Ends the announcements of `key`: it is not master any more.
    pub fn stop(&mut self, key: &K) {
        self.jobs.retain(|job| job.key != *key);
    }

    /// The next announcement that is due, to be sent now. Call until `None`, then wait for [`Self::deadline`].
    pub fn next(&mut self, now: Time) -> Option<(K, IpAddr)> {
        if !self.pace.allows(now) {
            return None;
        }
        // The lowest round first: each VIP's first announcement goes before any VIP's second.
        let (index, job) = self
            .jobs
            .iter_mut()
            .enumerate()
            .filter(|(_, job)| job.due <= now)
            .min_by_key(|(_, job)| (job.phase != Phase::First, job.round, job.position))?;
        let announcement = (job.key.clone(), *job.addresses.get(job.position)?);
        job.position += 1;
        if job.position == job.addresses.len() {
            job.position = 0;
            job.round += 1;
            let job = self.jobs.remove(index).settled(now);
            self.jobs.extend(job);
        }
        self.pace.spend(now);
        Some(announcement)
    }

    /// When [`Self::next`] has something; `None` when there is nothing left.
    pub fn deadline(&self) -> Option<Time> {
        let due = self.jobs.iter().map(|job| job.due).min()?;
        Some(due.max(self.pace.resumes()))
    }
}

impl<K> Job<K> {
    /// Goes on to the phase that has rounds left; `None` when there is none.
    fn settled(mut self, now: Time) -> Option<Self> {
        if self.addresses.is_empty() {
            return None;
        }
        if self.phase == Phase::First && self.round >= self.settings.repeat {
            (self.phase, self.round) = (Phase::Delayed, 0);
            self.due = now.saturating_add(self.settings.delay);
        }
        if self.phase == Phase::Delayed && self.round >= self.settings.delayed_repeat {
            (self.phase, self.round) = (Phase::Refresh, 0);
            self.due = now.saturating_add(self.settings.refresh?);
        }
        if self.phase == Phase::Refresh && self.round > 0 {
            self.round = 0;
            self.due = now.saturating_add(self.settings.refresh?);
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn address(last: u8) -> IpAddr {
        [10, 77, 0, last].into()
    }

    /// Runs the pacer for `length`; what was sent when.
    fn run(pacer: &mut Pacer<u8>, length: Duration) -> Vec<(Time, u8, IpAddr)> {
        let mut sent = Vec::new();
        while let Some(now) = pacer.deadline().filter(|&deadline| deadline <= length) {
            let (key, address) = pacer.next(now).expect("something is due at the deadline");
            sent.push((now, key, address));
        }
        sent
    }

    #[test]
    fn a_vip_is_announced_five_times_and_five_times_more_after_five_seconds() {
        let mut pacer = Pacer::new(10_000);
        pacer.start(MS, 1, vec![address(100)], Settings::default());
        let times: Vec<_> = run(&mut pacer, Duration::MAX).iter().map(|sent| sent.0).collect();
        let second = MS + Duration::from_secs(5);
        assert_eq!(times, [[MS; 5], [second; 5]].concat());
        assert_eq!(pacer.deadline(), None);
    }

    #[test]
    fn every_vip_is_announced_once_before_any_is_announced_again() {
        let mut pacer = Pacer::new(10_000);
        pacer.start(MS, 1, vec![address(100), address(101)], Settings::default());
        pacer.start(MS, 2, vec![address(102)], Settings::default());
        let order: Vec<_> = run(&mut pacer, MS).iter().map(|sent| sent.2).collect();
        for round in order.chunks(3) {
            let mut round = round.to_vec();
            round.sort();
            assert_eq!(round, [address(100), address(101), address(102)]);
        }
    }

    #[test]
    fn many_vips_keep_to_the_pace() {
        let mut pacer = Pacer::new(1000);
        for key in 0..200 {
            pacer.start(Time::ZERO, key, vec![address(key)], Settings::default());
        }
        let sent = run(&mut pacer, Duration::MAX);
        assert_eq!(sent.len(), 2000);
        for (index, (time, ..)) in sent.iter().enumerate() {
            let within = sent[index..].iter().take_while(|later| later.0 < *time + 100 * MS).count();
            assert!(within <= 112, "{within} frames within 100 ms at 1000 a second");
        }
        // 200 first announcements at 1000 a second.
        assert!(sent[199].0 <= 200 * MS);
    }

    #[test]
    fn a_stopped_instance_is_silent_and_a_restarted_one_begins_again() {
        let mut pacer = Pacer::new(10_000);
        pacer.start(MS, 1, vec![address(100)], Settings::default());
        pacer.start(MS, 2, vec![address(101)], Settings::default());
        pacer.stop(&1);
        assert!(run(&mut pacer, MS).iter().all(|sent| sent.1 == 2));
        pacer.start(2 * MS, 2, vec![address(101)], Settings::default());
        assert_eq!(run(&mut pacer, Duration::MAX).len(), 10);
    }

    #[test]
    fn a_master_refreshes_for_ever_when_asked_to() {
        let mut pacer = Pacer::new(10_000);
        let settings =
            Settings { repeat: 1, delayed_repeat: 0, refresh: Some(Duration::from_secs(60)), ..Settings::default() };
        pacer.start(Time::ZERO, 1, vec![address(100), address(101)], settings);
        assert_eq!(run(&mut pacer, Duration::from_secs(600)).len(), 2 * 11);
    }

    #[test]
    fn nothing_to_announce_ends_at_once() {
        let mut pacer = Pacer::new(10_000);
        let silent = Settings { repeat: 0, delayed_repeat: 0, ..Settings::default() };
        pacer.start(MS, 1, vec![address(100)], silent);
        pacer.start(MS, 2, vec![], Settings::default());
        assert_eq!(pacer.deadline(), None);
    }
}
