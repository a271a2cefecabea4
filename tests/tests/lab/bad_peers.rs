//! Strangers, and peers that have the key and behave badly, against a director that runs: connections go on, a good peer
//! stays in step, memory stays bounded, and each fault is one line of the log and a word of the status.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::client::Connection;
use lb_tests::fake_peer::{FakePeer, connect, is_ended};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, scenario, wait_until};
use lb_tests::sharing::{Service, Sharing, all_go_on, host, key_file};
use lb_userspace::config::Protocol;
use lb_userspace::peers::Status;
use lb_userspace::peers::session::State;
use lb_userspace::peers::state::{Kind, ServiceId, Stage};
use lb_userspace::peers::wire::flow::{Entry, Records};
use lb_userspace::peers::wire::{Counts, Message, Service as Named, Slots};

/// What the director may need for all of them together.
const ROOM: u64 = 48 << 20;

/// The director's port for its peers.
const PORT: u16 = lb_userspace::config::PEERS_PORT;

/// One who behaves badly, and the line that the director says of it.
struct Bad {
    does: fn(&Scene<'_>, Ipv4Addr) -> Result<()>,
    line: &'static str,
}

/// Each has an address of its own, and all do it at the same time.
const ALL: &[Bad] = &[
    Bad { does: other_counts, line: "sent other numbers than it told" },
    Bad { does: unknown_real, line: "sent a real that it never named" },
    Bad { does: unknown_service, line: "sent something of a service that it never named" },
    Bad { does: not_served, line: "sent something of a service that it doesn't serve" },
    Bad { does: slot_beyond, line: "sent a slot beyond its ring" },
    Bad { does: huge_frame, line: "sent what isn't by this key" },
    Bad { does: endless, line: "lost the connection" },
    Bad { does: cut_short, line: "lost the connection" },
    Bad { does: slow, line: "doesn't keep up (a ping has no answer for 10 s)" },
    Bad { does: other_key, line: "called with another key, and was refused" },
    Bad { does: replayed, line: "repeats what another said, and was refused" },
    Bad { does: mute, line: "called, and said nothing within 5 s" },
    Bad { does: scanner, line: "called and hung up" },
    Bad { does: garbage, line: "called and hung up: what it says isn't of this protocol" },
];

struct Scene<'a> {
    /// Where they are.
    host: &'a Host,
    to: SocketAddr,
    key: PathBuf,
    real: IpAddr,
}

impl Scene<'_> {
    fn connect(&self, from: Ipv4Addr) -> Result<std::net::TcpStream> {
        connect(self.host, from, self.to, None)
    }

    fn greet(&self, from: Ipv4Addr) -> Result<FakePeer> {
        FakePeer::greet(self.connect(from)?, &self.key)
    }

    /// Tells this, and is cut.
    fn tells(&self, from: Ipv4Addr, messages: &[Message]) -> Result<()> {
        let mut peer = self.greet(from)?;
        // What comes behind the lie may not go any more.
        let _ = peer.say_all(messages);
        is_ended(&mut peer.stream)
    }

    fn entry(&self, n: u32) -> Entry {
        let client = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n));
        Entry { service: 0, client: (client, 40_000), port: 80, real: self.real, stage: Stage::Open, age: 0 }
    }
}

/// The service of the lab, as this one's number.
fn web(number: u16, serving: bool) -> Message {
    let id = ServiceId { vip: VIP.into(), protocol: Protocol::Tcp, port: Some(80) };
    Message::Services(vec![Named::new(number, id, Kind::Tracked, serving, 7)])
}

fn flows(entries: impl Iterator<Item = Entry>) -> Message {
    let mut records = Records::new(false);
    for entry in entries {
        records.push(&entry);
    }
    Message::Flows(records)
}

fn slots(words: Vec<(u32, u16, u16)>, real: IpAddr) -> Message {
    Message::Slots(Slots { services: vec![0], ring_size: 65537, whole: true, reals: vec![real], words })
}

fn other_counts(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let counts = Counts { services: 1, flows: 1_000_000, ..Counts::default() };
    scene.tells(from, &[Message::Begin, web(0, true), Message::End(counts)])
}

fn unknown_real(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    scene.tells(from, &[Message::Begin, web(0, true), slots(vec![(0, 1, 60_000)], scene.real)])
}

fn unknown_service(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let entry = Entry { service: 40_000, ..scene.entry(1) };
    scene.tells(from, &[Message::Begin, web(0, true), flows([entry].into_iter())])
}

fn not_served(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    scene.tells(from, &[Message::Begin, web(0, false), flows([scene.entry(1)].into_iter())])
}

fn slot_beyond(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    scene.tells(from, &[Message::Begin, web(0, true), slots(vec![(u32::MAX, 1, 1)], scene.real)])
}

/// The longest length that there is, and what follows isn't by the key.
fn huge_frame(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let mut peer = scene.greet(from)?;
    peer.say(&Message::Begin)?;
    let _ = peer.stream.write_all(&[0xff; 200_000]);
    is_ended(&mut peer.stream)
}

/// Millions of connections, and no end of them. Those who live are left alone.
fn endless(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let mut peer = scene.greet(from)?;
    peer.say_all(&[Message::Begin, web(0, true)])?;
    let start = Instant::now();
    let mut next = 0;
    while start.elapsed() < Duration::from_secs(3) {
        peer.say(&flows((next..next + 3000).map(|n| scene.entry(n))))?;
        peer.said.clear();
        next += 3000;
    }
    Ok(())
}

/// In the midst of a list.
fn cut_short(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let mut peer = scene.greet(from)?;
    peer.say_all(&[Message::Begin, web(0, true)])?;
    peer.say(&Message::Members { services: vec![0], more: true, members: Vec::new() })?;
    // Half of what it is told itself.
    peer.stream.read_exact(&mut [0; 100])?;
    Ok(())
}

/// A byte a second, for as long as it may. Then it reads as others do, and is told everything.
fn slow(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let stream = connect(scene.host, from, scene.to, Some(2304))?;
    let mut peer = FakePeer::greet(stream, &scene.key)?;
    peer.say_all(&[Message::Begin, Message::End(Counts::default())])?;
    let start = Instant::now();
    // It says that it lives.
    while peer.say(&Message::Ping(1)).is_ok() && peer.stream.read(&mut [0]).is_ok_and(|count| count > 0) {
        ensure!(start.elapsed() < DEADLINE, "it is not cut");
        thread::sleep(Duration::from_secs(1));
    }
    let mut again = scene.greet(from)?;
    again.say_all(&[Message::Begin, Message::End(Counts::default())])?;
    let mut told = 0;
    loop {
        match again.hear()? {
            Message::Flows(records) => told += records.len(),
            Message::End(_) => break,
            _ => {}
        }
    }
    ensure!(told > 0, "it was told of no connection");
    Ok(())
}

fn other_key(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let key = scene.key.with_extension("other");
    fs::write(&key, "a7d1c2e90b354f688d1e2f3a4b5c6d7e8f901234")?;
    fs::set_permissions(&key, fs::metadata(&scene.key)?.permissions())?;
    for _ in 0..20 {
        ensure!(FakePeer::greet(scene.connect(from)?, &key).is_err(), "another key is as good");
    }
    Ok(())
}

/// All that was said over a real connection, again and again.
fn replayed(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let mut peer = scene.greet(from)?;
    peer.say_all(&[Message::Begin, web(0, true), Message::End(Counts { services: 1, ..Counts::default() })])?;
    while !matches!(peer.hear()?, Message::End(_)) {}
    let said = std::mem::take(&mut peer.said);
    drop(peer);
    for _ in 0..20 {
        let mut stream = scene.connect(from)?;
        let _ = stream.write_all(&said);
        is_ended(&mut stream)?;
    }
    Ok(())
}

/// More than there is room for, and none says a word.
fn mute(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    let mut streams = (0..200).map(|_| scene.connect(from)).collect::<Result<Vec<_>>>()?;
    streams.iter_mut().try_for_each(is_ended)
}

fn scanner(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    (0..50).try_for_each(|_| scene.connect(from).map(drop))
}

fn garbage(scene: &Scene<'_>, from: Ipv4Addr) -> Result<()> {
    for _ in 0..20 {
        let mut stream = scene.connect(from)?;
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: director\r\n\r\n");
        is_ended(&mut stream)?;
    }
    Ok(())
}

/// From an address that isn't a peer's.
fn strangers(scene: &Scene<'_>, from: &Host) -> Result<()> {
    for _ in 0..100 {
        is_ended(&mut connect(from, from.v4(), scene.to, None)?)?;
    }
    Ok(())
}

/// What a process has in memory, in bytes.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() << 10
}

fn descriptors(process: u32) -> u64 {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, |all| all.count() as u64)
}

/// The most that the director has of memory and descriptors while something goes on.
fn most<T>(process: u32, work: impl FnOnce() -> T) -> (T, u64, u64) {
    let (memory, files, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                memory.fetch_max(resident(process), Ordering::Relaxed);
                files.fetch_max(descriptors(process), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        let _ = watch.join();
        (result, memory.load(Ordering::Relaxed), files.load(Ordering::Relaxed))
    })
}

/// Lines of the log about an address, and how often each was said. What a call of the director's own met, which nobody
/// answers there, isn't of interest.
fn lines(log: &str, of: Ipv4Addr) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for line in log.lines() {
        let Some((_, words)) = line.split_once(&format!("peers: {of}: ")) else { continue };
        if !words.starts_with("can't be reached") && !words.starts_with("everything was told") {
            *tally.entry(words.to_owned()).or_default() += 1;
        }
    }
    tally
}

fn status(directors: &Sharing<'_>, number: usize) -> Result<Status> {
    let status = directors.agents.get(number).context("no such director")?.status()?;
    status.peers.context("no peers")
}

/// B doesn't reach A any more, but hears it: A misses B, and neither loses anything.
fn half_open(lab: &Lab, directors: &Sharing<'_>) -> Result<()> {
    let (a, b) = (host(lab, 0).v4(), host(lab, 1));
    b.ip(&format!("route add blackhole {a}/32"))?;
    wait_until(DEADLINE, "the good peer to be missed", || {
        let error = |status: Status| status.peers.first().and_then(|peer| peer.error.clone());
        status(directors, 0).ok().and_then(error).is_some()
    })?;
    b.ip(&format!("route del blackhole {a}/32"))?;
    directors.have_met()
}

#[test]
fn peers_that_behave_badly_cost_nobody_a_connection() {
    scenario(Lab::builder().clients(2).directors(2).reals(3), |lab| {
        let bad = lab.host("client-2");
        let address = |n: usize| Ipv4Addr::from_bits(Ipv4Addr::new(172, 28, 128, 100).to_bits() + n as u32);
        let addresses: Vec<_> = (0..ALL.len()).map(address).collect();
        addresses.iter().try_for_each(|address| bad.ip(&format!("address add {address}/24 dev eth1")).map(drop))?;
        let mut directors = Sharing::start_with(lab, &[Service::RR; 2], &addresses)?;
        let mut connections: Vec<(Connection, String)> = directors.connect()?;
        let to = SocketAddr::from((host(lab, 0).v4(), PORT));
        let scene = Scene { host: bad, to, key: key_file(lab)?, real: lab.real(1).v4().into() };
        let process = directors.agents.first_mut().context("A")?.process().id();
        let before = (resident(process), descriptors(process));

        let (done, memory, files) = most(process, || {
            thread::scope(|scope| {
                let one = |(bad, from): (&'static Bad, &Ipv4Addr)| {
                    let (scene, from) = (&scene, *from);
                    scope.spawn(move || (bad.does)(scene, from).with_context(|| bad.line))
                };
                let all: Vec<_> = ALL.iter().zip(&addresses).map(one).collect();
                let stranger = scope.spawn(|| strangers(&scene, lab.client()));
                let gone_on = (0..3).try_for_each(|_| all_go_on(&mut connections).context("meanwhile"));
                let all = all.into_iter().chain([stranger]);
                let done = all.map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                let done: Result<Vec<()>> = done.collect();
                done.map(drop).and(gone_on)
            })
        });
        done?;
        println!("memory {} KiB before, {} at most; {} descriptors, {files}", before.0 >> 10, memory >> 10, before.1);
        ensure!(memory < before.0 + ROOM, "{} MiB more", (memory - before.0) >> 20);
        // So many callers of each peer wait, and no more.
        ensure!(files < before.1 + 100, "{files} descriptors");
        all_go_on(&mut connections).context("behind all of that")?;

        half_open(lab, &directors)?;
        let now = status(&directors, 0)?;
        let log = directors.agents.first().context("A")?.log();
        for (bad, from) in ALL.iter().zip(&addresses) {
            let said = lines(&log, *from);
            let of_it: Vec<_> = said.iter().filter(|(words, _)| words.starts_with(bad.line)).collect();
            ensure!(matches!(of_it[..], [(_, 1)]), "{}: said {said:?}", bad.line);
            let peer = now.peers.iter().find(|peer| peer.address.ip() == *from).context("not in the status")?;
            ensure!(peer.state == State::Connecting && peer.error.is_some(), "{}: {peer:?}", bad.line);
        }
        let of_b = lines(&log, host(lab, 1).v4());
        ensure!(of_b.len() == 1 && of_b.contains_key("was silent for 5 s; its connection was cut"), "{of_b:?}");
        let stranger = lab.client().v4();
        let refused = format!("peers: {stranger} called, which isn't in `addresses`; it was refused");
        ensure!(log.matches(&refused).count() == 1, "the stranger: {}", log.matches(&refused).count());
        let strangers = now.strangers.context("nobody tells of strangers")?;
        ensure!(strangers.calls == 100 && strangers.last == IpAddr::from(stranger), "{strangers:?}");
        let shown = directors.agents.first().context("A")?.lb(&["list"])?;
        ensure!(shown.contains("100 calls from elsewhere than `addresses` refused"), "{shown}");

        directors.cut(0)?;
        directors.is_master(1)?;
        all_go_on(&mut connections).context("on the good peer")
    });
}
