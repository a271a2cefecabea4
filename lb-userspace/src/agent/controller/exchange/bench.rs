//! What the exchange costs an agent, from one director's flow table into another's: `cargo xtask bench exchange`. A thread
//! stands for the packets that open connections; each director's exchange has one of its own, whose CPU time is told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lb_common::flow::Stage;
use lb_common::maps::{Address, FlowKey, Service, ServiceKey, Timeouts, mapped};
use tokio::runtime::Builder;

use super::*;
use crate::config::{self, Protocol};
use crate::dataplane::{Arrays, Desired, KeyReader, Mapped, Remembered, clock};
use crate::peers::state::Kind;
use crate::planner::told::Names;

/// `limits.flows` of both.
const FLOWS: u32 = 2 << 20;
const LINES: u32 = FLOWS / 8 * 11 / 8;
const MILLION: u32 = 1_000_000;
const RATE: u32 = 200_000;
const SECONDS: u32 = 5;
const TICKS: u32 = 1000;
/// No other process's or bench's.
const NETWORK: [u8; 2] = [127, 251];

fn service() -> Service {
    let key = ServiceKey { address: mapped([192, 0, 2, 1]), port: [0, 80], protocol: 6, reserved: 0 };
    Service { key, id: 3, reals: 0, room: 9, ring_size: 251, flags: Service::TRACKED, ..Service::FREE }
}

fn address(number: u16) -> Address {
    mapped([192, 0, 2, 40 + number as u8])
}

fn flow_key(n: u32) -> FlowKey {
    FlowKey { client: mapped((0x0a00_0000 + n).to_be_bytes()), ports: [156, 64, 0, 80], service: 3 }
}

/// A flow table in memory, and what names its entries.
fn names() -> Names {
    let desired = Desired { hash_seed: 7, services: [(service().key, service())].into(), ..Desired::default() };
    let timeouts = Timeouts { tcp: 900, udp: 300, opening: 60, closing: 120 };
    let arrays = Arrays {
        lines: Arc::new(Mapped::apart("flows", LINES).unwrap()),
        keys: Arc::new(Mapped::apart("flow_keys", LINES).unwrap()),
        slots: Arc::new(Mapped::apart("slots", 256).unwrap()),
    };
    let table = Remembered::new(KeyReader::new(&desired, LINES), timeouts, arrays);
    Names::new(table, (1..=8).map(|number| ((0, number), address(number))), Duration::from_secs(1))
}

/// Where a director is.
fn place(network: u8, number: u8) -> SocketAddr {
    (IpAddr::from(Ipv4Addr::new(NETWORK[0], NETWORK[1], network, number)), config::PEERS_PORT).into()
}

struct Director {
    teller: Teller,
    items: mpsc::Receiver<Item>,
}

impl Director {
    fn start(network: u8, number: u8, other: u8, serving: bool) -> Self {
        let shared = Arc::new(Shared::new(View::of(names(), TICKS)));
        let peers = config::Peers {
            listen: place(network, number),
            addresses: vec![place(network, other)],
            key_file: "/".into(),
            bulk_wait: Duration::from_secs(1),
        };
        let (handle, items) = peers::spawn(&peers, Key::of("bench"), 1, Arc::new(Bulk { shared: shared.clone() }));
        let id = ServiceId { vip: Ipv4Addr::new(192, 0, 2, 1).into(), protocol: Protocol::Tcp, port: Some(80) };
        if serving {
            shared.serving.write().unwrap().insert(service().key);
        }
        handle.tell(Change::Service(id, Offer { kind: Kind::Tracked, serving, configured: vec![] }));
        Self { teller: Teller::new(handle, shared), items }
    }

    /// A packet's work.
    fn open(view: &View, n: u32) {
        view.names.table.put(&flow_key(n), &service(), 1 + (n % 8) as u16, Stage::Open, TICKS);
    }

    /// Looks at the table as the controller does, until `done`.
    async fn tell(&self, watch: &mut Watch, done: &AtomicU64) {
        let mut pace = Pace::default();
        while done.load(Ordering::Acquire) == 0 {
            let (count, took) = self.teller.look(watch);
            tokio::time::sleep(pace.rest(count, took)).await;
        }
    }

    /// Takes what comes into the table, and hands each connection's number to `taken`; to the end of bulk, or until so
    /// many have come.
    async fn take(&mut self, most: u32, mut taken: impl FnMut(u32)) {
        let mut count = 0;
        while count < most {
            for told in self.items.recv().await.unwrap().told {
                let Told::Flows(flows) = told else { continue };
                let view = self.teller.shared.view();
                view.names.take(&flows, view.now());
                for flow in &flows {
                    let IpAddr::V4(client) = flow.client.0 else { continue };
                    taken(u32::from(client) - 0x0a00_0000);
                }
                count += flows.len() as u32;
            }
        }
    }
}

fn alone<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn percent(worked: Duration, of: Duration) -> f64 {
    worked.as_secs_f64() / of.as_secs_f64() * 100.0
}

#[test]
fn a_million_in_bulk_from_table_to_table() {
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        let teller = scope.spawn(|| {
            alone(async {
                let director = Director::start(0, 1, 2, true);
                let view = director.teller.shared.view();
                (0..MILLION).for_each(|n| Director::open(&view, n));
                let (before, mut watch) = (clock::worked(), Watch::new(&view.names.table));
                director.tell(&mut watch, &done).await;
                clock::worked() - before
            })
        });
        let (took, hearing) = alone(async {
            let mut director = Director::start(0, 2, 1, false);
            let mut start = None;
            let mut seen = vec![false; MILLION as usize];
            director
                .take(MILLION, |n| {
                    start.get_or_insert_with(|| (Instant::now(), clock::worked()));
                    seen[n as usize] = true;
                })
                .await;
            assert!(seen.iter().all(|seen| *seen));
            let (began, worked) = start.unwrap();
            (began.elapsed(), clock::worked() - worked)
        });
        done.store(1, Ordering::Release);
        let telling = teller.join().unwrap();
        println!(
            "bulk of 1,000,000 from table to table: {took:.2?}; CPU {telling:.2?} to read and tell, {hearing:.2?} to hear \
             and write"
        );
    });
}

#[test]
fn two_hundred_thousand_a_second_from_table_to_table() {
    let total = RATE * SECONDS;
    let times: Vec<AtomicU64> = (0..total).map(|_| AtomicU64::new(0)).collect();
    let (done, epoch) = (AtomicU64::new(0), Instant::now());
    let since = || epoch.elapsed().as_nanos() as u64;
    thread::scope(|scope| {
        let (views, met) = std::sync::mpsc::channel::<Arc<View>>();
        scope.spawn(|| {
            let view = met.into_iter().next().unwrap();
            let start = Instant::now();
            let mut n = 0;
            while n < total {
                let due = ((start.elapsed().as_secs_f64() * f64::from(RATE)) as u32).min(total);
                for n in n..due {
                    times[n as usize].store(since(), Ordering::Relaxed);
                    Director::open(&view, n);
                }
                n = due;
                thread::sleep(Duration::from_millis(1));
            }
        });
        let teller = scope.spawn(|| {
            alone(async {
                let director = Director::start(1, 1, 2, true);
                let view = director.teller.shared.view();
                let mut watch = Watch::new(&view.names.table);
                assert_eq!(director.teller.handle.bulk_taken(Duration::from_secs(20)).await, Taken::All);
                let (before, start) = (clock::worked(), Instant::now());
                views.send(view).unwrap();
                drop(views);
                director.tell(&mut watch, &done).await;
                (clock::worked() - before, start.elapsed())
            })
        });
        let (mut lags, hearing) = alone(async {
            let mut director = Director::start(1, 2, 1, false);
            let mut lags = Vec::with_capacity(total as usize);
            let before = clock::worked();
            director.take(total, |n| lags.push(since() - times[n as usize].load(Ordering::Relaxed))).await;
            (lags, clock::worked() - before)
        });
        done.store(1, Ordering::Release);
        let (telling, took) = teller.join().unwrap();
        lags.sort_unstable();
        let at = |share: f64| lags[(share * (lags.len() - 1) as f64) as usize] as f64 / 1e6;
        println!(
            "{RATE} a second from table to table for {took:.1?}: lag median {:.1} ms, 99 % {:.1} ms, most {:.1} ms; CPU of a \
             core {:.0} % to look and tell, {:.0} % to hear and write",
            at(0.5),
            at(0.99),
            at(1.0),
            percent(telling, took),
            percent(hearing, took),
        );
    });
}
