//! Runners over real TCP on loopback addresses of their own, and peers that behave badly.

mod bad;
#[cfg(feature = "bench")]
mod bench;
mod good;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::peers::session::model::{Table, View, flow, member, real, service};
use crate::peers::state::{Kind, Offer, Stage};
use crate::peers::status::PeerStatus;

/// Longer than anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network of loopback addresses that no other test or process uses.
#[derive(Clone, Copy)]
struct Network(u16);

impl Network {
    fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let process = (std::process::id() % 500) as u16;
        Self(process * 128 + NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn address(self, n: u8) -> SocketAddr {
        let [high, low] = self.0.to_be_bytes();
        (IpAddr::from([127, high, low, n]), crate::config::PEERS_PORT).into()
    }

    fn config(self, n: u8, others: &[u8]) -> Peers {
        Peers {
            listen: self.address(n),
            addresses: others.iter().map(|&n| self.address(n)).collect(),
            key_file: "/".into(),
            bulk_wait: Duration::from_secs(1),
        }
    }
}

/// A director: a runner, and the plainest agent.
struct Director {
    handle: Handle,
    table: Arc<Table>,
    views: Arc<Mutex<HashMap<SocketAddr, View>>>,
    network: Network,
    _agent: JoinSet<()>,
}

impl Director {
    fn start(network: Network, n: u8, others: &[u8], key: &str) -> Self {
        let table = Arc::new(Table::default());
        let (handle, mut items) = spawn(&network.config(n, others), Key::of(key), 1, table.clone());
        let views: Arc<Mutex<HashMap<SocketAddr, View>>> = Arc::default();
        let mut agent = JoinSet::new();
        let held = views.clone();
        agent.spawn(async move {
            while let Some(item) = items.recv().await {
                let mut views = held.lock().unwrap();
                let view = views.entry(item.peer).or_default();
                item.told.into_iter().for_each(|told| view.take(told));
            }
        });
        Self { handle, table, views, network, _agent: agent }
    }

    /// Serves a service with one real and some connections.
    fn serve(&self, n: usize, clients: u16) {
        let service = service(n);
        let offer = Offer { kind: Kind::Tracked, serving: true, configured: vec![(real(service, 1), 1)] };
        self.handle.tell(Change::Service(service, offer));
        self.handle.tell(Change::Members(vec![service], vec![member(service, 1, 1)]));
        for client in 0..clients {
            self.open(n, client);
        }
    }

    fn open(&self, n: usize, client: u16) {
        let flow = flow(service(n), client, 1, Stage::Open);
        self.table.set(&flow);
        self.handle.tell(Change::Flows(vec![flow]));
    }

    /// What this one knows of another's service: reals and connections.
    fn knows(&self, of: u8, n: usize) -> Option<(usize, usize)> {
        let views = self.views.lock().unwrap();
        let view = views.get(&self.network.address(of))?;
        let seen = view.services.get(&service(n))?;
        Some((seen.members.len(), view.flows.keys().filter(|name| name.0 == service(n)).count()))
    }

    fn peer(&self, n: u8) -> PeerStatus {
        let address = self.network.address(n);
        self.handle.status().peers.into_iter().find(|peer| peer.address == address).unwrap()
    }

    fn is_live(&self, n: u8) -> bool {
        self.peer(n).state == State::Live
    }
}

/// Waits for a condition.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
}
