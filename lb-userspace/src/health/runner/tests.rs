//! The runner against real listeners on the loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::*;
use crate::config::{Check, CheckKind, Http, Origin, Tcp};
use crate::health::machine::phase::Phase;

const GENEROUS: Duration = Duration::from_secs(20);

fn target(port: u16) -> Target {
    Target {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        check: Check {
            kind: CheckKind::Tcp(Tcp),
            port,
            interval: Duration::from_millis(30),
            fast: Duration::from_millis(30),
            timeout: Duration::from_secs(5),
            rise: 1,
            fall: 1,
            jitter: 10,
            via: crate::config::Via::Real,
            address: None,
            source: None,
            damping: None,
        },
    }
}

fn targets(list: impl IntoIterator<Item = Target>) -> Targets {
    list.into_iter().map(|target| (target, None)).collect()
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// No other test's connection has a port of this address, so that one can be given up and taken again.
const FLAPPING: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 7);

fn listen_on_flapping(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((FLAPPING, port).into()).unwrap();
    socket.listen(1024).unwrap()
}

/// A port that refuses: bound, but not listening, so that nobody else gets it.
fn refusing() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn accept_all(listener: TcpListener) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { while listener.accept().await.is_ok() {} })
}

struct Bench {
    handle: Handle,
    events: mpsc::Receiver<Event>,
    cancel: CancellationToken,
}

impl Bench {
    fn new(limit: usize) -> Self {
        Self::keeping(limit, Keeper::default())
    }

    fn keeping(limit: usize, keeper: Keeper) -> Self {
        let (sender, events) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let handle = Runner::spawn_with_limit(sender, cancel.clone(), limit, keeper, Heart::unwatched());
        Self { handle, events, cancel }
    }

    async fn event(&mut self) -> Event {
        timeout(GENEROUS, self.events.recv()).await.expect("an event in time").expect("the runner is there")
    }

    /// Reads events until the target is as wanted.
    async fn until(&mut self, target: &Target, wanted: impl Fn(&Health) -> bool) -> Health {
        loop {
            let event = self.event().await;
            if event.target == *target && wanted(&event.health) {
                return event.health;
            }
        }
    }
}

fn is_up(health: &Health) -> bool {
    matches!(health, Health::Up { .. })
}

fn is_down(health: &Health) -> bool {
    matches!(health, Health::Down { .. })
}

#[tokio::test]
async fn up_and_refused_are_told_once_each() {
    let (listener, good) = listen().await;
    accept_all(listener);
    let (_held, bad) = refusing();
    let mut bench = Bench::new(100);
    bench.handle.set_targets(targets([target(good), target(bad)]));
    let mut seen = HashMap::new();
    for _ in 0..2 {
        let event = bench.event().await;
        seen.insert(event.target.check.port, event.health);
    }
    assert!(is_up(&seen[&good]));
    let Health::Down { reason, .. } = &seen[&bad] else {
        panic!("{seen:?}");
    };
    assert_eq!(reason, "connection refused");
    // Ten more rounds change nothing, so they say nothing.
    assert!(timeout(Duration::from_millis(300), bench.events.recv()).await.is_err());
    let look = bench.handle.look().await.unwrap();
    assert_eq!((look.delayed, look.waiting), (0, 0));
    for seen in &look.checks {
        let (history, is_good) = (&seen.history, seen.target.check.port == good);
        let expected = if is_good { (Phase::Up, 0) } else { (Phase::Down, history.bad) };
        assert_eq!((seen.phase, history.bad), expected);
        assert!(history.good + history.bad >= 5 && history.percentile(50).is_some() == is_good, "{seen:?}");
    }
}

#[tokio::test]
async fn a_flapping_real_is_followed() {
    let listener = listen_on_flapping(0);
    let port = listener.local_addr().unwrap().port();
    let mut target = target(port);
    target.address = FLAPPING.into();
    let mut accepting = accept_all(listener);
    let mut bench = Bench::new(100);
    bench.handle.set_targets(targets([target.clone()]));
    for _ in 0..3 {
        bench.until(&target, is_up).await;
        accepting.abort();
        let _ = accepting.await;
        bench.until(&target, is_down).await;
        accepting = accept_all(listen_on_flapping(port));
    }
    bench.until(&target, is_up).await;
}

#[tokio::test]
async fn rise_and_fall_are_counted_in_checks() {
    let (listener, port) = listen().await;
    let mut target = target(port);
    target.check.kind = CheckKind::Http(Http { status: vec![(200, 200)], ..Http::default() });
    target.check.rise = 2;
    target.check.fall = 3;
    // 200 once (decides at once), then 500 three times, then 200.
    let server = tokio::spawn(async move {
        for n in 0.. {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await;
            let status = if (1..4).contains(&n) { 500 } else { 200 };
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            let _ = connection.write_all(answer.as_bytes()).await;
            if n >= 5 {
                return;
            }
        }
    });
    let mut bench = Bench::new(100);
    bench.handle.set_targets(targets([target.clone()]));
    assert!(is_up(&bench.event().await.health));
    let Health::Down { reason, .. } = bench.event().await.health else {
        panic!("down after three");
    };
    assert_eq!(reason, "status 500, expected 200");
    assert!(is_up(&bench.event().await.health), "up after two");
    timeout(GENEROUS, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_silent_real_times_out_and_others_are_not_held_up() {
    let (silent, silent_port) = listen().await;
    let mut slow = target(silent_port);
    slow.check.timeout = Duration::from_millis(80);
    slow.check.kind = CheckKind::Http(Http { status: vec![(200, 299)], ..Http::default() });
    let (listener, port) = listen().await;
    accept_all(listener);
    let mut bench = Bench::new(100);
    bench.handle.set_targets(targets([slow.clone(), target(port)]));
    let health = bench.until(&slow, is_down).await;
    let Health::Down { reason, .. } = health else { unreachable!() };
    assert_eq!(reason, "timed out after 80ms waiting for a response");
    drop(silent);
}

#[tokio::test]
async fn a_removed_target_is_checked_no_more_and_a_kept_one_keeps_its_state() {
    let (removed, removed_port) = listen().await;
    let (kept, kept_port) = listen().await;
    accept_all(kept);
    let mut bench = Bench::new(100);
    bench.handle.set_targets(targets([target(removed_port), target(kept_port)]));
    for _ in 0..2 {
        assert!(is_up(&bench.event().await.health));
    }
    bench.handle.set_targets(targets([target(kept_port)]));
    // What was on its way when it was removed may still arrive; then there is silence.
    timeout(GENEROUS, async { while timeout(Duration::from_millis(300), removed.accept()).await.is_ok() {} })
        .await
        .expect("no further connection to the removed target");
    assert!(bench.events.try_recv().is_err(), "nothing changed for the kept one");
    // It comes back as a new one.
    bench.handle.set_targets(targets([target(kept_port), target(removed_port)]));
    let event = bench.event().await;
    assert_eq!(event.target.check.port, removed_port);
}

#[tokio::test]
async fn health_that_is_carried_over_stays_until_checks_speak_against_it() {
    let since = SystemTime::UNIX_EPOCH;
    let (_held, port) = refusing();
    let mut target = target(port);
    target.check.fall = 2;
    let mut bench = Bench::new(100);
    let known = Health::Up { since };
    bench.handle.set_targets(HashMap::from([(target, Some(known.clone()))]));
    assert_eq!(bench.event().await.health, known, "the first result, of two that it takes");
    assert!(is_down(&bench.event().await.health));
}

#[tokio::test]
async fn another_pace_of_the_same_question_forgets_nothing() {
    let (listener, port) = listen().await;
    let (counted, held) = (Arc::new(AtomicU64::new(0)), refusing());
    let connections = Arc::clone(&counted);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            connections.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (mut good, mut bad) = (target(port), target(held.1));
    let mut bench = Bench::new(100);
    bench.handle.set_targets(targets([good.clone(), bad.clone()]));
    let mut known: Targets = HashMap::new();
    for _ in 0..2 {
        let event = bench.event().await;
        known.insert(event.target, Some(event.health));
    }
    // Once an hour: whatever is known in a moment was kept.
    for slow in [&mut good, &mut bad] {
        (slow.check.interval, slow.check.fall) = (Duration::from_secs(3600), 7);
    }
    let kept = |target: &Target| known.iter().find(|(held, _)| held.asks_the_same(target)).unwrap().1.clone();
    bench.handle.set_targets([&good, &bad].map(|slow| (slow.clone(), kept(slow))).into());
    assert!(timeout(Duration::from_millis(300), bench.events.recv()).await.is_err(), "nothing is news");
    // Whoever asks with less knowledge is told, by the new name.
    let mut slower = good.clone();
    slower.check.interval *= 2;
    bench.handle.set_targets(targets([slower.clone(), bad.clone()]));
    let event = bench.event().await;
    assert_eq!((&event.target, Some(event.health)), (&slower, kept(&good)));
    let look = bench.handle.look().await.unwrap();
    assert!(look.checks.iter().all(|seen| !seen.history.results.is_empty()), "{look:?}");
    // Another question begins anew, and at once.
    let before = counted.load(Ordering::Relaxed);
    slower.check.source = Some(Origin::Address(Ipv4Addr::LOCALHOST.into()));
    bench.handle.set_targets(targets([slower.clone(), bad]));
    let event = bench.event().await;
    assert!(event.target == slower && is_up(&event.health));
    assert!(counted.load(Ordering::Relaxed) > before);
}

#[tokio::test]
async fn beyond_the_limit_checks_wait_their_turn() {
    let (listener, port) = listen().await;
    accept_all(listener);
    let list: Vec<Target> = (0..200)
        .map(|n| {
            let mut target = target(port);
            target.check.timeout += Duration::from_millis(n);
            target
        })
        .collect();
    let mut bench = Bench::new(1);
    bench.handle.set_targets(targets(list));
    let mut bites = false;
    for _ in 0..200 {
        assert!(is_up(&bench.event().await.health));
        let look = bench.handle.look().await.unwrap();
        assert!((look.checks.len(), look.limit) == (200, 1) && look.running <= 1);
        bites |= look.waiting > 0;
    }
    let look = bench.handle.look().await.unwrap();
    assert!(bites && look.delayed > 0 && look.late.is_some());
}

#[tokio::test]
async fn cancelling_ends_the_loop_and_its_checks() {
    let (listener, port) = listen().await;
    let mut silent = target(port);
    silent.check.kind = CheckKind::Http(Http { status: vec![], ..Http::default() });
    silent.check.timeout = GENEROUS;
    let bench = Bench::new(100);
    bench.handle.set_targets(targets([silent]));
    let (mut connection, _) = listener.accept().await.unwrap();
    bench.cancel.cancel();
    timeout(GENEROUS, bench.handle.join()).await.unwrap();
    let rest = timeout(GENEROUS, async {
        let mut buffer = [0; 4096];
        while connection.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    });
    rest.await.expect("the running check's connection is closed");
}

#[tokio::test]
async fn ten_thousand_targets_are_all_told() {
    let (listener, port) = listen().await;
    accept_all(listener);
    let list = (0..10_000u64).map(|n| {
        let mut target = target(port);
        target.check.interval = Duration::from_secs(60) + Duration::from_millis(n);
        target
    });
    let mut bench = Bench::new(500);
    bench.handle.set_targets(targets(list));
    for _ in 0..10_000 {
        assert!(is_up(&bench.event().await.health));
    }
}

mod restart;
