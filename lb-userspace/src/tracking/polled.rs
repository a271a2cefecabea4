//! Files and processes that are tracked: looked at again and again, and told when they say something else.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::Seen;
use super::policy::Word;
use crate::config::Condition;

/// Bytes of a file that may hold its number.
const NUMBER: u64 = 64;

/// Looks at what a condition names, at its interval. It ends at once for one of another kind.
pub(super) async fn watch(condition: Condition, seen: mpsc::UnboundedSender<Seen>) {
    let (interval, what) = match &condition {
        Condition::File { path, interval } => (*interval, format!("file {}", path.display())),
        Condition::Process { name, interval, .. } => (*interval, format!("process {name}")),
        _ => return,
    };
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut last, mut complained) = (None, false);
    loop {
        ticks.tick().await;
        let asked = condition.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || look(&asked)).await else { return };
        let word = match found {
            Ok(word) => {
                complained = false;
                word
            }
            Err(why) => {
                if !std::mem::replace(&mut complained, true) {
                    warn!("{what}: {why}: what it said last stays");
                }
                continue;
            }
        };
        if last.replace(word) == Some(word) {
            continue;
        }
        match word {
            Word::Number(number) => info!("{what}: says {number}"),
            Word::Holds(true) => info!("{what}: holds"),
            Word::Holds(false) => warn!("{what}: fails"),
        }
        if seen.send(Seen::Word(condition.clone(), word)).is_err() {
            return;
        }
    }
}

fn look(condition: &Condition) -> Result<Word, String> {
    match condition {
        Condition::File { path, .. } => number(path).map(Word::Number),
        Condition::Process { name, count, .. } => running(name)
            .map(|found| Word::Holds(found >= *count))
            .map_err(|error| format!("/proc can't be read: {error}")),
        _ => Err("it is nothing to be looked at".to_owned()),
    }
}

/// The number in a file; 0 where there is no file, or nothing in it.
fn number(path: &Path) -> Result<i32, String> {
    let mut text = String::new();
    // A pipe would keep whoever opens it waiting.
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err("it is no file".to_owned());
    }
    match File::open(path).and_then(|file| file.take(NUMBER).read_to_string(&mut text)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(format!("it can't be read: {error}")),
        Ok(_) => {}
    }
    match text.trim() {
        "" => Ok(0),
        number => number.parse().map_err(|_| "its text is no whole number".to_owned()),
    }
}

/// How many processes have this name, or were started by a program of it.
fn running(name: &str) -> std::io::Result<u32> {
    let mut found = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // It may have ended meanwhile.
        let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let is_named = comm.trim_end() == name || {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let program = line.split(|&byte| byte == 0).next().unwrap_or_default();
            program == name.as_bytes() || program.rsplit(|&byte| byte == b'/').next() == Some(name.as_bytes())
        };
        found += u32::from(is_named && !is_zombie(&path));
    }
    Ok(found)
}

fn is_zombie(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_says_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("track");
        assert_eq!(number(&path), Ok(0));
        for (text, expected) in
            [("", Some(0)), ("-30\n", Some(-30)), (" 7 ", Some(7)), ("x", None), ("99999999999", None)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(number(&path).ok(), expected, "{text:?}");
        }
        assert!(number(folder.path()).is_err());
    }

    #[test]
    fn processes_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("a-name-of-more-than-15-bytes");
        fs::copy("/bin/sleep", &program).unwrap();
        let name = program.file_name().unwrap().to_str().unwrap();
        assert_eq!(running(name).unwrap(), 0);
        let mut children: Vec<_> = (0..2).map(|_| Command::new(&program).arg("1000").spawn().unwrap()).collect();
        // By then it has been executed.
        while running(name).unwrap() < 2 {}
        children[0].kill().unwrap();
        // Not reaped yet, and dead all the same.
        while running(name).unwrap() > 1 {}
        children[1].kill().unwrap();
        children.iter_mut().for_each(|child| drop(child.wait()));
        assert_eq!(running(name).unwrap(), 0);
    }
}
