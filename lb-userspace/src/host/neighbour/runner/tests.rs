//! The runner against the kernel, in network namespaces of its own.

use std::fs::File;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use tokio::time::timeout;

use super::*;
use crate::host::links;
use crate::host::neighbour::Resolved;
use crate::host::neighbour::event::Nud;

const GENEROUS: Duration = Duration::from_secs(30);

/// A director and a real, joined by a veth pair; gone when it is dropped.
struct Pair {
    director: String,
    real: String,
}

const REAL_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Pair {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let pair = Self { director: format!("lbhe-d-{name}-{id}"), real: format!("lbhe-r-{name}-{id}") };
        let Self { director, real } = &pair;
        ip(&format!("netns add {director}"));
        ip(&format!("netns add {real}"));
        ip(&format!(
            "-n {director} link add eth1 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns {real}"
        ));
        ip(&format!("-n {real} addr add 192.0.2.40/24 dev eth0"));
        ip(&format!("-n {real} addr add 2001:db8::40/64 dev eth0 nodad"));
        ip(&format!("-n {real} link set eth0 up"));
        ip(&format!("-n {director} addr add 192.0.2.1/24 dev eth1"));
        ip(&format!("-n {director} addr add 2001:db8::1/64 dev eth1 nodad"));
        ip(&format!("-n {director} link set eth1 up"));
        ip(&format!("-n {director} link set lo up"));
        ip(&format!("-n {director} route add 198.51.100.0/24 via 192.0.2.40"));
        pair
    }

    /// Runs the future in the director's namespace.
    fn run<F: Future<Output = ()>>(&self, work: impl FnOnce() -> F + Send) {
        let namespace = File::open(format!("/run/netns/{}", self.director)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work());
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.director, &self.real] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        crate::skip::skip("neighbours in namespaces: needs root");
    }
    root
}

struct Bench {
    handle: Handle,
    events: mpsc::Receiver<NeighbourEvent>,
    cancel: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        Self::with_buffer(BUFFER)
    }

    fn with_buffer(buffer: usize) -> Self {
        let (sender, events) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        Self { handle: Runner::spawn_with_buffer(sender, cancel.clone(), buffer, Heart::unwatched()), events, cancel }
    }

    async fn until(&mut self, address: &str, wanted: impl Fn(&NeighbourEvent) -> bool) -> NeighbourEvent {
        let address: IpAddr = address.parse().unwrap();
        timeout(GENEROUS, async {
            loop {
                let event = self.events.recv().await.expect("the runner is there");
                eprintln!("{event:?}");
                if event.address == address && wanted(&event) {
                    return event;
                }
            }
        })
        .await
        .expect("an event in time")
    }

    async fn mac_of(&mut self, address: &str, mac: [u8; 6]) -> Resolved {
        let wanted = |event: &NeighbourEvent| event.state.is_some_and(|state| state.mac == mac);
        self.until(address, wanted).await.state.unwrap()
    }

    async fn why_not(&mut self, address: &str) -> String {
        self.until(address, |event| event.state.is_none()).await.why
    }
}

fn addresses(list: &[&str]) -> Addresses {
    list.iter().map(|address| (address.parse().unwrap(), None)).collect()
}

#[test]
fn reals_resolve_and_follow_their_changes() {
    if !is_root() {
        return;
    }
    let pair = Pair::new("follow");
    pair.run(async || {
        let mut bench = Bench::new();
        bench.handle.set_addresses(addresses(&["192.0.2.40", "2001:db8::40"]));
        let v4 = bench.mac_of("192.0.2.40", REAL_MAC).await;
        assert_eq!(v4.source_mac, DIRECTOR_MAC);
        assert_eq!(v4.vlan, None);
        let link = links::snapshot().await.unwrap().into_iter().find(|link| link.name == "eth1").unwrap();
        assert_eq!(v4.ifindex, link.index);
        assert_eq!(link.kind.as_deref(), Some("veth"));
        assert_eq!(link.mac, Some(DIRECTOR_MAC));
        assert!(link.addresses.contains(&"192.0.2.1/24".parse().unwrap()));

        // Told by a gratuitous ARP.
        let real = &pair.real;
        ip(&format!("netns exec {real} sysctl -qw net.ipv4.conf.eth0.arp_notify=1"));
        ip(&format!("-n {real} link set eth0 address 02:00:00:00:00:03"));
        bench.mac_of("192.0.2.40", [2, 0, 0, 0, 0, 3]).await;

        // Told by nobody: a probe is not answered, a broadcast is.
        ip(&format!("netns exec {real} sysctl -qw net.ipv4.conf.eth0.arp_notify=0"));
        ip(&format!("-n {real} link set eth0 address 02:00:00:00:00:04"));
        bench.mac_of("192.0.2.40", [2, 0, 0, 0, 0, 4]).await;

        // The director's own MAC address is the frames' source.
        let director = &pair.director;
        ip(&format!("-n {director} link set eth1 address 02:00:00:00:00:05"));
        bench
            .until("192.0.2.40", |event| event.state.is_some_and(|state| state.source_mac == [2, 0, 0, 0, 0, 5]))
            .await;

        ip(&format!("-n {real} link set eth0 down"));
        assert_eq!(bench.why_not("192.0.2.40").await, "eth1 has no carrier");
        ip(&format!("-n {real} link set eth0 up"));
        bench.mac_of("192.0.2.40", [2, 0, 0, 0, 0, 4]).await;

        ip(&format!("-n {real} link del eth0"));
        let why = bench.why_not("192.0.2.40").await;
        assert!(
            ["eth1 is gone", "eth1 is down", "eth1 has no carrier", "no route to it"].contains(&why.as_str()),
            "{why}"
        );
        bench.cancel.cancel();
        timeout(GENEROUS, bench.handle.join()).await.unwrap();
    });
}

#[test]
fn what_cant_be_reached_is_told_with_its_reason() {
    if !is_root() {
        return;
    }
    let pair = Pair::new("reasons");
    pair.run(async || {
        let mut bench = Bench::new();
        let mut list = addresses(&["192.0.2.99", "2001:db8::99", "198.51.100.7", "203.0.113.9", "192.0.2.1"]);
        list.insert("192.0.2.41".parse().unwrap(), Some("eth7".to_owned()));
        bench.handle.set_addresses(list);
        let mut missing = HashMap::from([
            ("192.0.2.99", "no answer to ARP requests on eth1"),
            ("2001:db8::99", "no answer to neighbour solicitations on eth1"),
            ("198.51.100.7", "not on a segment of this director: its route goes by the gateway 192.0.2.40"),
            ("203.0.113.9", "no route to it"),
            ("192.0.2.1", "it is an address of this machine"),
            ("192.0.2.41", "there is no interface eth7"),
        ]);
        // (That eth1 has no carrier may come first: the kernel takes a second to find it.)
        let all = timeout(GENEROUS, async {
            while !missing.is_empty() {
                let event = bench.events.recv().await.unwrap();
                assert_eq!(event.state, None);
                missing.retain(|address, why| event.address.to_string() != *address || event.why != *why);
            }
        });
        if all.await.is_err() {
            panic!("not told: {missing:?}");
        }

        // Each is mended while it is watched.
        let Pair { director, real } = &pair;
        ip(&format!("-n {real} addr add 192.0.2.99/24 dev eth0"));
        bench.mac_of("192.0.2.99", REAL_MAC).await;
        ip(&format!("-n {real} addr add 203.0.113.9/24 dev eth0"));
        ip(&format!("-n {director} route add 203.0.113.0/24 dev eth1"));
        bench.mac_of("203.0.113.9", REAL_MAC).await;
        ip(&format!("-n {real} addr add 192.0.2.41/24 dev eth0"));
        ip(&format!("-n {director} link set eth1 down"));
        ip(&format!("-n {director} link set eth1 name eth7"));
        ip(&format!("-n {director} link set eth7 up"));
        bench.mac_of("192.0.2.41", REAL_MAC).await;
    });
}

#[test]
fn a_flushed_entry_is_resolved_again_without_a_word() {
    if !is_root() {
        return;
    }
    let pair = Pair::new("flush");
    pair.run(async || {
        let mut bench = Bench::new();
        bench.handle.set_addresses(addresses(&["192.0.2.40"]));
        bench.mac_of("192.0.2.40", REAL_MAC).await;
        let director = &pair.director;
        for _ in 0..3 {
            ip(&format!("-n {director} neigh flush dev eth1"));
        }
        assert!(timeout(Duration::from_secs(2), bench.events.recv()).await.is_err());
        let (_, handle) = {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            (tokio::spawn(connection), handle)
        };
        let Input::Dump(_, neighbours, _) = kernel::dump(&handle).await.unwrap() else { unreachable!() };
        assert!(neighbours.iter().any(|entry| entry.mac == Some(REAL_MAC)));
    });
}

#[test]
fn what_the_kernel_could_not_tell_is_asked_for() {
    if !is_root() {
        return;
    }
    let pair = Pair::new("overrun");
    pair.run(async || {
        // Room for a message or two.
        let mut bench = Bench::with_buffer(1);
        bench.handle.set_addresses(addresses(&["192.0.2.40"]));
        bench.mac_of("192.0.2.40", REAL_MAC).await;
        // Permanent entries, which are told once; and while this thread waits for `ip`, nobody listens.
        let director = &pair.director;
        let mut batch = String::new();
        for n in 100..200 {
            batch += &format!("neigh replace 192.0.2.{n} lladdr 02:00:00:00:00:99 dev eth1 nud permanent\n");
        }
        batch += "neigh replace 192.0.2.40 lladdr 02:00:00:00:00:77 dev eth1 nud permanent\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        ip(&format!("-n {director} -batch {}", file.path().display()));
        bench.mac_of("192.0.2.40", [2, 0, 0, 0, 0, 0x77]).await;
    });
}

#[test]
fn hundreds_of_reals_resolve() {
    if !is_root() {
        return;
    }
    let pair = Pair::new("many");
    // The real answers for all of 10.0.0.0/16.
    ip(&format!("-n {} link set lo up", pair.real));
    ip(&format!("-n {} route add local 10.0.0.0/16 dev lo", pair.real));
    ip(&format!("-n {} route add 10.0.0.0/16 dev eth1", pair.director));
    pair.run(async || {
        let mut bench = Bench::new();
        bench.handle.set_addresses(addresses(&["192.0.2.40"]));
        bench.mac_of("192.0.2.40", REAL_MAC).await;
        // (The kernel's table holds 1024 of all namespaces together, unless told otherwise.)
        let list: Addresses = (1..=300u32).map(|n| (IpAddr::from((0x0a00_0000 + n).to_be_bytes()), None)).collect();
        let count = list.len();
        bench.handle.set_addresses(list);
        let mut seen = HashMap::new();
        let began = Instant::now();
        timeout(GENEROUS, async {
            while seen.len() < count {
                let event = bench.events.recv().await.unwrap();
                if event.state.is_some_and(|state| state.mac == REAL_MAC) {
                    seen.insert(event.address, ());
                }
            }
        })
        .await
        .expect("all resolve in time");
        eprintln!("{count} reals resolved in {:?}", began.elapsed());
    });
}

#[test]
fn a_lost_request_is_repeated_when_it_is_asked_for() {
    if !is_root() {
        return;
    }
    let pair = Pair::new("repeat");
    let Pair { director, real } = &pair;
    // The kernel's own repetition is not what answers here.
    ip(&format!("netns exec {director} sysctl -qw net.ipv4.neigh.eth1.retrans_time_ms=300000"));
    pair.run(async || {
        let mut bench = Bench::new();
        bench.handle.set_addresses(addresses(&["192.0.2.40"]));
        let ifindex = bench.mac_of("192.0.2.40", REAL_MAC).await.ifindex;
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let late: IpAddr = "192.0.2.77".parse().unwrap();
        let entry = async || {
            let Input::Dump(_, neighbours, _) = kernel::dump(&handle).await.unwrap() else { unreachable!() };
            neighbours.into_iter().find(|entry| entry.address == late)
        };
        kernel::resolve(&handle, late, ifindex).await.unwrap();
        assert_eq!(entry().await.unwrap().nud, Nud::Incomplete);
        ip(&format!("-n {real} addr add 192.0.2.77/24 dev eth0"));
        assert_eq!(entry().await.unwrap().nud, Nud::Incomplete);
        kernel::repeat(&handle, late, ifindex).await.unwrap();
        timeout(GENEROUS, async {
            while entry().await.is_none_or(|entry| entry.mac != Some(REAL_MAC)) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the repeated request is answered");
    });
}
