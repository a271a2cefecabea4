//! What the exchange costs: `cargo xtask bench exchange`. Each director has a thread of its own; its CPU time is told
//! beside the clock's.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicU64;
use std::thread;

use nix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::*;
use crate::peers::state::{Flow, ServiceId};

const MILLION: u32 = 1_000_000;

/// A connection for each number.
fn numbered(service: ServiceId, n: u32) -> Flow {
    let address = match service.vip {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n)),
        IpAddr::V6(_) => Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(n)).into(),
    };
    Flow { client: (address, 40_000), age: n % 900, ..flow(service, 1, (n % 8) as u8, Stage::Open) }
}

fn number(flow: &Flow) -> u32 {
    match flow.client.0 {
        IpAddr::V4(address) => u32::from(address) - 0x0a00_0000,
        IpAddr::V6(address) => u128::from(address) as u32,
    }
}

/// A table of so many connections.
struct Numbered(ServiceId, u32);

impl Flows for Numbered {
    fn read(&self, part: u64, flows: &mut Vec<Flow>) -> Option<u64> {
        let from = part as u32 * 2048;
        let to = (from + 2048).min(self.1);
        flows.extend((from..to).map(|n| numbered(self.0, n)));
        (to < self.1).then_some(part + 1)
    }
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn alone<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn offer(service: ServiceId) -> Change {
    Change::Service(service, Offer { kind: Kind::Tracked, serving: true, configured: vec![] })
}

fn bulk(network: Network, service: ServiceId) {
    let (done, finished) = oneshot::channel::<()>();
    let sender = thread::spawn(move || {
        alone(async {
            let table = Arc::new(Numbered(service, MILLION));
            let (handle, _items) = spawn(&network.config(1, &[2]), Key::of("k"), 1, table);
            handle.tell(offer(service));
            let _ = finished.await;
            cpu()
        })
    });
    let (took, own) = alone(async {
        let (_handle, mut items) = spawn(&network.config(2, &[1]), Key::of("k"), 1, Arc::new(Table::default()));
        let mut start = Instant::now();
        let mut seen = vec![false; MILLION as usize];
        loop {
            for told in items.recv().await.unwrap().told {
                match told {
                    Told::Begin => start = Instant::now(),
                    Told::Flows(flows) => flows.iter().for_each(|flow| seen[number(flow) as usize] = true),
                    Told::Whole => {
                        assert!(seen.iter().all(|seen| *seen));
                        return (start.elapsed(), cpu());
                    }
                    _ => {}
                }
            }
        }
    });
    done.send(()).unwrap();
    let other = sender.join().unwrap();
    println!("bulk of 1,000,000 of {service}: {took:.2?}; CPU {other:.2?} to tell, {own:.2?} to hear");
    assert!(took < Duration::from_secs(3));
}

/// Every millisecond as many as came in it, for this long.
fn deltas(network: Network, service: ServiceId, rate: u32, seconds: u32) {
    let total = rate * seconds;
    let times: Arc<Vec<AtomicU64>> = Arc::new((0..total).map(|_| AtomicU64::new(0)).collect());
    let epoch = Instant::now();
    let (done, finished) = oneshot::channel::<()>();
    let told = times.clone();
    let sender = thread::spawn(move || {
        alone(async {
            let (handle, _items) = spawn(&network.config(1, &[2]), Key::of("k"), 1, Arc::new(Numbered(service, 0)));
            handle.tell(offer(service));
            assert_eq!(handle.bulk_taken(PATIENCE).await, Taken::All);
            let (before, start) = (cpu(), Instant::now());
            let mut ticks = interval(Duration::from_millis(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut n = 0;
            while n < total {
                ticks.tick().await;
                let due = ((start.elapsed().as_secs_f64() * f64::from(rate)) as u32).min(total);
                let now = epoch.elapsed().as_nanos() as u64;
                let flows: Vec<Flow> = (n..due).map(|n| numbered(service, n)).collect();
                (n..due).for_each(|n| told[n as usize].store(now, Ordering::Relaxed));
                n = due;
                handle.tell(Change::Flows(flows));
            }
            let _ = finished.await;
            (cpu() - before, start.elapsed())
        })
    });
    let (mut lags, own) = alone(async {
        let (_handle, mut items) = spawn(&network.config(2, &[1]), Key::of("k"), 1, Arc::new(Table::default()));
        let mut lags = Vec::with_capacity(total as usize);
        let before = cpu();
        while lags.len() < total as usize {
            for told in items.recv().await.unwrap().told {
                if let Told::Flows(flows) = told {
                    let now = epoch.elapsed().as_nanos() as u64;
                    let lag = |flow| now - times[number(flow) as usize].load(Ordering::Relaxed);
                    lags.extend(flows.iter().map(lag));
                }
            }
        }
        (lags, cpu() - before)
    });
    done.send(()).unwrap();
    let (other, took) = sender.join().unwrap();
    lags.sort_unstable();
    let at = |share: f64| lags[(share * (lags.len() - 1) as f64) as usize] as f64 / 1e6;
    println!(
        "{rate} a second of {service} for {took:.1?}: lag median {:.1} ms, 99 % {:.1} ms, most {:.1} ms; \
         CPU of a core {:.0} % to tell (with its making), {:.0} % to hear",
        at(0.5),
        at(0.99),
        at(1.0),
        other.as_secs_f64() / took.as_secs_f64() * 100.0,
        own.as_secs_f64() / took.as_secs_f64() * 100.0,
    );
    assert!(at(1.0) < 50.0);
}

#[test]
fn a_million_in_bulk() {
    for n in [0, 1] {
        bulk(Network::new(), service(n));
    }
}

#[test]
fn two_hundred_thousand_a_second() {
    for n in [0, 1] {
        deltas(Network::new(), service(n), 200_000, 10);
    }
}
