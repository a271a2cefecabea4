//! What is known outlives the runner.

use super::*;
use crate::health::Failure;
use crate::health::kept::file;

/// Until the runner has heard this often of its one target; then it is ended.
async fn run(bench: Bench, results: usize) -> Seen {
    let deadline = Instant::now() + GENEROUS;
    let seen = loop {
        let look = bench.handle.look().await.unwrap();
        if look.checks.first().is_some_and(|seen| seen.history.results.len() >= results) {
            break look.checks[0].clone();
        }
        assert!(Instant::now() < deadline, "{look:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    bench.cancel.cancel();
    bench.handle.join().await;
    seen
}

fn at(path: &std::path::Path) -> Bench {
    Bench::keeping(100, Keeper::new(path.to_owned(), file::read(path).unwrap()))
}

#[tokio::test]
async fn state_progress_and_history_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checks.json");
    let (_held, port) = refusing();
    let mut target = target(port);
    (target.check.rise, target.check.fall) = (50, 50);
    let bench = at(&path);
    let up = Health::Up { since: SystemTime::UNIX_EPOCH };
    bench.handle.set_targets([(target.clone(), Some(up.clone()))].into());
    let first = run(bench, 3).await;
    let Phase::Falling(have, 50) = first.phase else { panic!("{first:?}") };

    // The next goes on from there, at another pace as well.
    target.check.interval *= 2;
    let records = file::read(&path).unwrap();
    assert_eq!(records.health(&target, SystemTime::now()), Some(&up));
    let bench = at(&path);
    bench.handle.set_targets([(target.clone(), Some(up))].into());
    let second = run(bench, 4).await;
    let Phase::Falling(now, 50) = second.phase else { panic!("{second:?}") };
    assert!(now > have && second.history.bad >= u64::from(now), "{second:?}");
    assert!(second.before.is_none());

    // Another question knows nothing of it.
    let records = file::read(&path).unwrap();
    let asked = |change: &dyn Fn(&mut Target)| {
        let mut other = target.clone();
        change(&mut other);
        records.health(&other, SystemTime::now()).is_some()
    };
    assert!(asked(&|other| other.check.timeout *= 2));
    assert!(!asked(&|other| other.check.port += 1));
    assert!(!asked(&|other| other.check.kind = CheckKind::Ping(crate::config::Ping)));
    assert!(!asked(&|other| other.address = FLAPPING.into()));
    assert!(!asked(&|other| other.check.source = Some(Origin::Interface("eth1".to_owned()))));
}

#[tokio::test]
async fn what_is_old_is_shown_and_the_first_result_decides() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checks.json");
    let (listener, port) = listen().await;
    let mut target = target(port);
    (target.check.rise, target.check.interval, target.check.timeout) = (50, 3 * GENEROUS, 2 * GENEROUS);
    // Nobody answers yet, so that the first check hangs.
    let tcp = std::mem::replace(&mut target.check.kind, CheckKind::Http(Http::default()));
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    let down = Health::Down { since: long_ago, failure: Failure::Wrong, reason: "status 503".to_owned() };
    let kept = Kept { health: down.clone(), heard: long_ago, weight: None, against: 49, held: Default::default() };
    let record = Record { kept: kept.clone(), history: History::default() };
    file::write(&path, vec![(Asked::of(&target), record)]).unwrap();
    assert_eq!(file::read(&path).unwrap().health(&target, SystemTime::now()), None, "it doesn't count");
    let bench = at(&path);
    bench.handle.set_targets([(target.clone(), None)].into());
    let look = bench.handle.look().await.unwrap();
    assert_eq!((&look.checks[0].before, look.checks[0].phase), (&Some(kept.clone()), Phase::Unknown));
    bench.cancel.cancel();
    bench.handle.join().await;
    let mut again = file::read(&path).unwrap();
    assert_eq!(again.take(&target).map(|record| record.kept), Some(kept), "it is still there");

    // One that counts, but isn't what the maps say, decides nothing either.
    target.check.kind = tcp;
    let heard = SystemTime::now();
    let kept = Kept { health: down, heard, weight: None, against: 0, held: Default::default() };
    let record = Record { kept, history: History::default() };
    file::write(&path, vec![(Asked::of(&target), record)]).unwrap();
    accept_all(listener);
    let mut bench = at(&path);
    bench.handle.set_targets([(target.clone(), None)].into());
    assert!(is_up(&bench.event().await.health), "at once, not after fifty");
    let seen = run(bench, 1).await;
    assert!(seen.before.is_none());
}

#[tokio::test]
async fn a_change_of_health_is_written_at_once_and_a_disk_that_refuses_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checks.json");
    let (_held, port) = refusing();
    let mut bench = at(&path);
    bench.handle.set_targets(targets([target(port)]));
    assert!(is_down(&bench.event().await.health));
    let written = async {
        while file::read(&path).unwrap().health(&target(port), SystemTime::now()).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Results alone would be written after ten seconds.
    timeout(Duration::from_secs(5), written).await.expect("it is written without an end of the runner");
    drop(bench);

    let mut bench = Bench::keeping(100, Keeper::new(path.join("no-folder"), Default::default()));
    bench.handle.set_targets(targets([target(port)]));
    assert!(is_down(&bench.event().await.health));
    run(bench, 5).await;
}
