//! Writes what is known down, beside the checks: no check waits for a disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::warn;

use super::{Asked, Record, Records, file};

/// Results alone are written so often.
const PAUSE: Duration = Duration::from_secs(10);
/// A change of health is written with those that follow within this time.
const SOON: Duration = Duration::from_millis(100);
/// A part of the time that goes to writing at most: one in so many.
const PART: u32 = 100;
/// The last write may take this long.
const LAST: Duration = Duration::from_secs(3);

/// When to write, and what an agent before this one had written.
#[derive(Debug)]
pub struct Keeper {
    /// What was known before, of targets that haven't come yet.
    pub before: Records,
    path: Option<PathBuf>,
    due: Instant,
    /// Not before, so that writing takes no more than its part.
    earliest: Instant,
    began: Instant,
    writing: JoinSet<std::io::Result<()>>,
    said: Option<String>,
}

impl Default for Keeper {
    /// Keeps nothing.
    fn default() -> Self {
        Self::over(None, Records::default())
    }
}

impl Keeper {
    /// Keeps it in a file, of which this was read.
    #[must_use]
    pub fn new(path: PathBuf, before: Records) -> Self {
        Self::over(Some(path), before)
    }

    fn over(path: Option<PathBuf>, before: Records) -> Self {
        let now = Instant::now();
        Self { before, path, due: now + PAUSE, earliest: now, began: now, writing: JoinSet::new(), said: None }
    }

    /// When something is to be written; `None` where nothing is, or something is being.
    pub fn deadline(&self) -> Option<Instant> {
        (self.path.is_some() && self.writing.is_empty()).then_some(self.due)
    }

    /// A real's health changed.
    pub fn hurry(&mut self, now: Instant) {
        self.due = self.due.min((now + SOON).max(self.earliest));
    }

    /// Writes what `all` gives, if that is due.
    pub fn tick(&mut self, now: Instant, all: impl FnOnce() -> Vec<(Asked, Record)>) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        let Some(path) = self.path.clone() else { return };
        let all = all();
        self.began = now;
        self.due = now + PAUSE;
        self.writing.spawn_blocking(move || file::write(&path, all));
    }

    /// Waits for the end of a write; for ever where none is under way.
    pub async fn written(&mut self) {
        let Some(written) = self.writing.join_next().await else { return std::future::pending().await };
        let now = Instant::now();
        self.earliest = now + now.duration_since(self.began) * PART;
        self.due = self.due.max(self.earliest);
        let fault = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let (Some(error), Some(path)) = (&fault, &self.path)
            && fault != self.said
        {
            warn!("{}: {error}: what the checks know will not outlive the agent", path.display());
        }
        self.said = fault;
    }

    /// Writes the last that is known.
    pub async fn finish(mut self, all: Vec<(Asked, Record)>) {
        let Some(path) = self.path.take() else { return };
        let last = async {
            while self.writing.join_next().await.is_some() {}
            tokio::task::spawn_blocking(move || file::write(&path, all)).await
        };
        if !matches!(tokio::time::timeout(LAST, last).await, Ok(Ok(Ok(())))) {
            warn!("the checks' last results were not written down");
        }
    }
}
