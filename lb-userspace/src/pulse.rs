//! Signs of life of the agent's threads and tasks.
//!
//! Each that matters holds a [`Heart`] and beats. Whoever watches asks [`Pulse::fault`] for one that has been silent for
//! too long, or that ended (its heart was dropped, by a panic too) before [`Pulse::close`] said that it may.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a task beats.
pub const BEAT: Duration = Duration::from_secs(1);

/// All hearts of one agent.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    hearts: Mutex<Vec<Arc<State>>>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct State {
    name: &'static str,
    born: Instant,
    /// In milliseconds after `born`.
    beat: AtomicU64,
    ended: AtomicBool,
}

impl State {
    fn beat(&self) {
        self.beat.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

impl Pulse {
    /// A heart for the thread or task of this name, which begins to live now.
    #[must_use]
    pub fn heart(&self, name: &'static str) -> Heart {
        let state = State { name, born: Instant::now(), beat: AtomicU64::new(0), ended: AtomicBool::new(false) };
        let state = Arc::new(state);
        self.0.hearts.lock().unwrap_or_else(PoisonError::into_inner).push(state.clone());
        Heart(state)
    }

    /// From now on everything may end.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// The first one that ended, or was not heard for `patience` before `now`, in words.
    #[must_use]
    pub fn fault(&self, now: Instant, patience: Duration) -> Option<String> {
        if self.0.closed.load(Ordering::Relaxed) {
            return None;
        }
        let hearts = self.0.hearts.lock().unwrap_or_else(PoisonError::into_inner);
        hearts.iter().find_map(|heart| {
            if heart.ended.load(Ordering::Relaxed) {
                return Some(format!("{} ended", heart.name));
            }
            let beat = heart.born + Duration::from_millis(heart.beat.load(Ordering::Relaxed));
            let silent = now.saturating_duration_since(beat);
            (silent > patience).then(|| format!("{} gave no sign of life for {} s", heart.name, silent.as_secs()))
        })
    }
}

/// The sign of life of one thread or task; dropped at its end.
#[derive(Debug)]
pub struct Heart(Arc<State>);

impl Heart {
    /// One that nobody watches.
    #[must_use]
    pub fn unwatched() -> Self {
        Pulse::default().heart("")
    }

    /// It lives.
    pub fn beat(&self) {
        self.0.beat();
    }

    /// Beats on its behalf, for one that is asked.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener(self.0.clone())
    }

    /// Does the work of a task, and beats for as long as that task gets to run.
    pub async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                _ = beats.tick() => self.beat(),
                done = &mut work => return done,
            }
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

/// See [`Heart::listener`].
#[derive(Debug)]
pub struct Listener(Arc<State>);

impl Listener {
    /// It answered.
    pub fn heard(&self) {
        self.0.beat();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_silent_one_and_one_that_ended_are_named() {
        let pulse = Pulse::default();
        let (first, second) = (pulse.heart("the first"), pulse.heart("the second"));
        let now = Instant::now();
        assert_eq!(pulse.fault(now, PATIENCE), None);
        let late = now + Duration::from_secs(12);
        assert_eq!(pulse.fault(late, PATIENCE).unwrap(), "the first gave no sign of life for 12 s");
        first.0.beat.store(12_000, Ordering::Relaxed);
        assert_eq!(pulse.fault(late, PATIENCE).unwrap(), "the second gave no sign of life for 12 s");
        let panicked = std::thread::spawn(move || {
            let _held = second;
            panic!("as a test");
        });
        assert!(panicked.join().is_err());
        assert_eq!(pulse.fault(now, PATIENCE).unwrap(), "the second ended");
        pulse.close();
        assert_eq!(pulse.fault(late, PATIENCE), None);
    }

    #[tokio::test]
    async fn a_task_beats_while_it_gets_to_run() {
        let pulse = Pulse::default();
        let heart = pulse.heart("the task");
        let state = heart.0.clone();
        let task = tokio::spawn(heart.during(std::future::pending::<()>()));
        let beats = || state.beat.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
        while beats() < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        task.abort();
        assert!(task.await.is_err());
        assert_eq!(pulse.fault(Instant::now(), PATIENCE).unwrap(), "the task ended");
    }
}
