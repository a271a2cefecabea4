//! Writes the events down, so that they outlive the agent: the file is replaced whole, at most once a second.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use super::journal::{Journal, OTHERS, REALS};
use super::{Event, Events, Progress};
use crate::host::file;

/// The file is written so often at most: what happened in the last second before a power cut may be lost.
const PAUSE: Duration = Duration::from_secs(1);
/// No journal is larger.
const MAX_BYTES: u64 = 32 << 20;
/// What becomes of a file that can't be used.
const REFUSED: &str = "events.json.refused";
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    version: u32,
    events: Vec<Event>,
}

/// The file.
#[must_use]
pub fn path() -> PathBuf {
    file::state("events.json")
}

/// The events that were written down; none where there is no file.
///
/// # Errors
/// The file can't be used; the text says why.
pub fn read(path: &Path) -> Result<Vec<Event>, String> {
    let read = || -> io::Result<Noted> {
        let file = std::fs::File::open(path)?;
        let reader = io::BufReader::new(io::Read::take(file, MAX_BYTES));
        Ok(serde_json::from_reader(reader)?)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
        Ok(noted) if noted.version != VERSION => {
            Err(format!("it is of version {}, and this lb knows {VERSION}", noted.version))
        }
        Ok(noted) => Ok(noted.events),
    }
}

/// The events that an agent before this one wrote down. A file that can't be used is set aside, and the log says so.
#[must_use]
pub fn adopt(path: &Path) -> Events {
    let events = read(path).unwrap_or_else(|why| {
        warn!("{}: {why}: it is kept as {REFUSED}, and the events begin anew", path.display());
        if let Err(error) = std::fs::rename(path, path.with_file_name(REFUSED)) {
            warn!("{}: it can't be set aside: {error}", path.display());
        }
        Vec::new()
    });
    Events::new(Journal::adopt(events))
}

/// The task that writes. It ends after [`Events::close`], when all is written.
pub struct Keeper(JoinHandle<()>);

impl Keeper {
    /// Writes what happens to the file at `path`.
    #[must_use]
    pub fn spawn(events: Events, path: PathBuf) -> Self {
        let progress = events.progress();
        let written = progress.borrow().last;
        Self(tokio::spawn(keep(events, progress, written, path)))
    }

    /// Waits for its end.
    pub async fn join(self) {
        if tokio::time::timeout(3 * PAUSE, self.0).await.is_err() {
            warn!("the last events were not written down in time");
        }
    }
}

async fn keep(events: Events, mut progress: watch::Receiver<Progress>, mut written: u64, path: PathBuf) {
    let mut said = None;
    loop {
        let now = *progress.borrow_and_update();
        if now.last != written {
            let noted = Noted { version: VERSION, events: events.all() };
            let to = path.clone();
            let wrote = tokio::task::spawn_blocking(move || file::replace(&to, &noted)).await;
            match wrote.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(()) => said = None,
                Err(error) => {
                    let error = error.to_string();
                    if said.as_ref() != Some(&error) {
                        warn!("{}: {error}: the events will not outlive the agent", path.display());
                    }
                    said = Some(error);
                }
            }
            written = now.last;
        }
        if now.closed {
            return;
        }
        if progress.changed().await.is_err() {
            return;
        }
        // What comes soon after is written with it.
        let _ = tokio::time::timeout(PAUSE, progress.wait_for(|progress| progress.closed)).await;
    }
}

/// The most that a file has.
const _: () = assert!(((REALS + OTHERS) * 12_000) as u64 <= MAX_BYTES);

#[cfg(test)]
mod tests {
    use super::super::{Kind, Said};
    use super::*;

    #[tokio::test]
    async fn what_happened_outlives_the_agent_and_a_file_that_is_none_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/events.json");
        for round in 1..=3 {
            let events = adopt(&path);
            let keeper = Keeper::spawn(events.clone(), path.clone());
            events.record(Said::new(Kind::Agent, "lb", format!("round {round}")).because("a\nb\u{7} c"));
            events.close();
            keeper.join().await;
            let kept = read(&path).unwrap();
            assert_eq!(kept.len(), round);
            assert_eq!(kept.last().map(|event| event.number), Some(round as u64));
            assert_eq!(kept.last().and_then(|event| event.said.cause.as_deref()), Some("a b c"));
        }
        for text in ["", "{", "[]", "{\"version\":2,\"events\":[]}", "{\"version\":1}", "\u{fffd}"] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).is_err(), "{text}");
            assert!(adopt(&path).all().is_empty());
            assert_eq!(std::fs::read_to_string(path.with_file_name(REFUSED)).unwrap(), text);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn where_nothing_can_be_written_the_events_are_there_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "in the way").unwrap();
        let events = Events::default();
        let keeper = Keeper::spawn(events.clone(), folder.path().join("file/events.json"));
        events.record(Said::new(Kind::Agent, "lb", "started"));
        events.close();
        keeper.join().await;
        assert_eq!(events.all().len(), 1);
    }
}
