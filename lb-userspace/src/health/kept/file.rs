//! The file of what is known of the checks: JSON, replaced whole.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Asked, Kept, Record, Records};
use crate::health::history::{Entry, History, RESULTS, Said, TIMES};
use crate::health::machine::Held;
use crate::health::{Failure, Health};
use crate::host::file;

/// Checks that are written down at most; those of reals that aren't plainly up come first.
pub const MOST: usize = 10_000;
/// Bytes of a reason that are.
const WORDS: usize = 400;
/// Times of damping that are.
const DOWNS: usize = 100;
/// No file is larger.
const MAX_BYTES: usize = 128 << 20;
/// What becomes of one that can't be used.
const REFUSED: &str = "checks.json.refused";
const VERSION: u32 = 1;

/// A result without its reason has 80 bytes at most, a time 11, all else of a check 600; a reason's bytes are two at most.
const _: () = assert!(MOST * (RESULTS * (80 + 2 * WORDS) + TIMES * 11 + DOWNS * 15 + 2 * WORDS + 600) <= MAX_BYTES);

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    version: u32,
    checks: Vec<Check>,
}

/// Moments are milliseconds since 1970, times microseconds.
#[derive(Debug, Serialize, Deserialize)]
struct Check {
    asked: Asked,
    /// Whether it is up; else why not.
    up: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<(Kind, String)>,
    since: u64,
    heard: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u8>,
    against: u32,
    downs: Vec<u64>,
    held: bool,
    good_since: Option<u64>,
    /// When, how long it took, whether it was good (nothing: not asked), and what was wrong.
    results: Vec<(u64, u64, Option<bool>, Option<String>)>,
    times: Vec<u32>,
    /// Good ones, bad ones, and times that it couldn't be asked.
    counts: (u64, u64, u64),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Unreachable,
    Wrong,
}

/// The file.
#[must_use]
pub fn path() -> PathBuf {
    file::state("checks.json")
}

/// What an agent before this one knew. A file that can't be used is set aside, and the log says so.
#[must_use]
pub fn adopt(path: &Path) -> Records {
    read(path).unwrap_or_else(|why| {
        warn!("{}: {why}: it is kept as {REFUSED}, and the checks begin anew", path.display());
        if let Err(error) = std::fs::rename(path, path.with_file_name(REFUSED)) {
            warn!("{}: it can't be set aside: {error}", path.display());
        }
        Records::default()
    })
}

/// What was written down; nothing where there is no file.
///
/// # Errors
/// The file can't be used; the text says why.
pub fn read(path: &Path) -> Result<Records, String> {
    let read = || -> io::Result<Noted> {
        let file = io::Read::take(std::fs::File::open(path)?, MAX_BYTES as u64);
        Ok(serde_json::from_reader(io::BufReader::new(file))?)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Records::default()),
        Err(error) => Err(error.to_string()),
        Ok(noted) if noted.version != VERSION => {
            Err(format!("it is of version {}, and this lb knows {VERSION}", noted.version))
        }
        Ok(noted) => Ok(noted.checks.into_iter().take(MOST).map(record).collect()),
    }
}

/// Replaces the file.
///
/// # Errors
/// It can't be written.
pub fn write(path: &Path, mut all: Vec<(Asked, Record)>) -> io::Result<()> {
    if all.len() > MOST {
        let is_well = |record: &Record| matches!(record.kept.health, Health::Up { .. }) && record.kept.against == 0;
        all.sort_by_key(|(_, record)| is_well(record));
    }
    let checks = all.iter().take(MOST).map(noted).collect();
    file::replace_secret(path, &Noted { version: VERSION, checks })
}

fn noted((asked, Record { kept, history }): &(Asked, Record)) -> Check {
    let (up, since, why) = match &kept.health {
        Health::Up { since } => (true, *since, None),
        Health::Down { since, failure, reason } => {
            let kind = match failure {
                Failure::Unreachable => Kind::Unreachable,
                Failure::Wrong => Kind::Wrong,
            };
            (false, *since, Some((kind, cut(reason))))
        }
        // Nobody keeps that.
        Health::Unknown => (false, kept.heard, None),
    };
    let result = |entry: &Entry| {
        let (good, said) = match &entry.said {
            Said::Good => (Some(true), None),
            Said::Bad(reason) => (Some(false), Some(cut(reason))),
            Said::Void(reason) => (None, Some(cut(reason))),
        };
        (millis(entry.at), micros(entry.took), good, said)
    };
    Check {
        asked: asked.clone(),
        up,
        why,
        since: millis(since),
        heard: millis(kept.heard),
        weight: kept.weight,
        against: kept.against,
        downs: kept.held.downs.iter().rev().take(DOWNS).rev().copied().map(millis).collect(),
        held: kept.held.is_held,
        good_since: kept.held.good_since.map(millis),
        results: history.results.iter().map(result).collect(),
        times: history.times().collect(),
        counts: (history.good, history.bad, history.void),
    }
}

fn record(noted: Check) -> (Asked, Record) {
    let since = moment(noted.since);
    let health = match noted.why {
        _ if noted.up => Health::Up { since },
        Some((Kind::Unreachable, reason)) => Health::Down { since, failure: Failure::Unreachable, reason },
        Some((Kind::Wrong, reason)) => Health::Down { since, failure: Failure::Wrong, reason },
        None => Health::Unknown,
    };
    let entry = |(at, took, good, said): (u64, u64, Option<bool>, Option<String>)| {
        let text = said.unwrap_or_default().into();
        let said = match good {
            Some(true) => Said::Good,
            Some(false) => Said::Bad(text),
            None => Said::Void(text),
        };
        Entry { at: moment(at), took: Duration::from_micros(took), said }
    };
    let (good, bad, void) = noted.counts;
    let history = History::of(noted.results.into_iter().map(entry), noted.times, (good, bad, void));
    let held = Held {
        downs: noted.downs.into_iter().take(DOWNS).map(moment).collect(),
        is_held: noted.held,
        good_since: noted.good_since.map(moment),
    };
    let kept = Kept { health, heard: moment(noted.heard), weight: noted.weight, against: noted.against, held };
    (noted.asked, Record { kept, history })
}

fn cut(reason: &str) -> String {
    reason.get(..reason.floor_char_boundary(WORDS)).unwrap_or(reason).to_owned()
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// One that this machine's clock can't say is long past.
fn moment(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::machine::Outcome;

    fn some() -> Vec<(Asked, Record)> {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
        let mut history = History::default();
        let outcomes = [
            Outcome::Good,
            Outcome::Bad(Failure::Wrong, "status 503".to_owned()),
            Outcome::Void("no \"socket\"".to_owned()),
        ];
        outcomes.iter().for_each(|outcome| history.note(at(9), Duration::from_micros(1234), outcome));
        let down = Health::Down { since: at(5), failure: Failure::Unreachable, reason: "refused".to_owned() };
        let held = Held { downs: vec![at(3), at(5)], is_held: true, good_since: Some(at(6)) };
        let names = ["\"a\"", "\"b\""].map(|name| serde_json::from_str(name).unwrap());
        let [a, b] = names;
        let kept = Kept { health: down, heard: at(10), weight: Some(50), against: 2, held };
        let up =
            Kept { health: Health::Up { since: at(1) }, heard: at(2), weight: None, against: 0, held: Held::default() };
        vec![(a, Record { kept, history }), (b, Record { kept: up, history: History::default() })]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/checks.json");
        assert_eq!(read(&path).unwrap(), Records::default());
        write(&path, some()).unwrap();
        assert_eq!(read(&path).unwrap(), some().into_iter().collect());
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_none_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checks.json");
        let half = serde_json::to_string(&Noted { version: 1, checks: some().iter().map(noted).collect() }).unwrap();
        let half = &half[..half.len() / 2];
        for text in ["", "{", "[]", "{\"version\":2,\"checks\":[]}", "{\"version\":1}", "\u{fffd}", half] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).is_err(), "{text}");
            assert_eq!(adopt(&path), Records::default());
            assert_eq!(std::fs::read_to_string(path.with_file_name(REFUSED)).unwrap(), text);
            assert!(!path.exists());
        }
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checks.json");
        let [(_, mut bad), (_, up)] = <[_; 2]>::try_from(some()).unwrap();
        let long = "ö".repeat(WORDS);
        bad.kept.health = Health::Down { since: UNIX_EPOCH, failure: Failure::Wrong, reason: long.clone() };
        let name = |number: usize| serde_json::from_str::<Asked>(&format!("\"{number}\"")).unwrap();
        let all = (0..=MOST).map(|number| (name(number), if number == MOST { bad.clone() } else { up.clone() }));
        write(&path, all.collect()).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.0.len(), MOST);
        let Health::Down { reason, .. } = &read.0[&name(MOST)].kept.health else { panic!("the bad one has room") };
        assert!(long.starts_with(reason) && reason.len() == WORDS);
        // Numbers that nobody wrote so.
        let wild = Check { since: u64::MAX, heard: u64::MAX, against: u32::MAX, ..noted(&some()[0]) };
        let (_, record) = record(Check { times: vec![1; 1000], ..wild });
        assert_eq!((record.history.times().count(), record.kept.against), (TIMES, u32::MAX));
    }
}
