//! Who is about to displace a master that lives asks it first for what it hasn't told yet; and every director asks now and then, to
//! know how far it is behind.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::debug;

use super::Exchange;
use crate::agent::controller::{Controller, Ownership};
use crate::peers::Change;

/// Who asks for news waits so long for a look at most, and not for less: it can't make anybody look all the time.
pub(super) const ASKED: Duration = Duration::from_millis(5);

impl Exchange {
    /// A peer has answered, or is gone. The virtual routers that need not wait any more.
    fn answered(&mut self, peer: SocketAddr, number: Option<u64>) -> Vec<String> {
        for (_, waits) in self.asking.values_mut().filter(|(asked, _)| number.is_none_or(|number| number == *asked)) {
            waits.remove(&peer);
        }
        self.asking.extract_if(.., |_, (_, waits)| waits.is_empty()).map(|(router, _)| router).collect()
    }
}

impl Controller {
    /// A virtual router is about to take its VIPs from a master that lives: its connections are to be known before.
    pub(in crate::agent::controller) fn ask_peers(&mut self, router: String) {
        if let Some(exchange) = &mut self.exchange {
            let (number, waits) = (fastrand::u64(..), exchange.teller.handle.live());
            if !waits.is_empty() {
                exchange.teller.handle.tell(Change::Ask(number));
                exchange.asking.insert(router, (number, waits));
                return;
            }
        }
        self.let_displace(router);
    }

    /// Time has passed: how far is this director behind?
    pub(in crate::agent::controller) fn measure_lag(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        if let Some(number) = exchange.lag.due(Instant::now(), fastrand::u64(..)) {
            exchange.teller.handle.tell(Change::Ask(number));
        }
    }

    /// A peer asks for what it wasn't told yet.
    pub(super) fn asked(&mut self, peer: SocketAddr, number: u64) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.asked.insert(peer, (Instant::now(), number));
        exchange.next_look = exchange.next_look.min(Instant::now() + ASKED);
    }

    pub(super) fn answered(&mut self, peer: SocketAddr, number: Option<u64>) {
        let Some(exchange) = &mut self.exchange else { return };
        if let Some(number) = number {
            exchange.lag.answered(peer, number, Instant::now());
        }
        for router in exchange.answered(peer, number) {
            self.let_displace(router);
        }
    }

    fn let_displace(&self, router: String) {
        let Some(Ownership { routers, .. }) = &self.routers else { return };
        if let Err(error) = routers.handle().answered(router) {
            debug!("peers: nobody hears their answer: {error}");
        }
    }
}
