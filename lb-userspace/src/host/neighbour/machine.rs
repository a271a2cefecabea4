//! What follows from the kernel's links, routes and neighbour entries for a set of reals: events and time in,
//! requests and reports out. No socket, task or clock.
//!
//! Rules:
//! - A real's interface is the one that its configuration names, else the one of its route. A route by a gateway is no
//!   segment of this director: direct routing can't reach such a real.
//! - An entry of the kernel that has a MAC address is good (also STALE, DELAY, PROBE). It is confirmed by a probe once a [`PERIOD`],
//!   longer for many reals so that at most [`PROBES_PER_SECOND`] are sent. One that doesn't answer, at the MAC address that it
//!   had, within [`CONFIRM_WITHIN`] is asked for by a broadcast: its MAC address may have changed without a word.
//! - Without one the kernel is asked to resolve, soon again at first. The last MAC address stays good for [`ANSWER_WITHIN`]: an entry that
//!   was flushed, or that failed its unicast probes since the real has a new MAC address, is resolved by a broadcast
//!   within that time and traffic goes on.
//! - A link that is lost for less than [`FLAP`] changes nothing; the kernel, which drops its entries with the carrier, is asked
//!   again as soon as it is back.
//! - Links, routes and addresses that change have all routes looked up again, in a while that gathers what comes in a burst.
//! - Who comes [`LATE`] to a moment has slept (a stopped process, a suspended machine), and what the kernel told meanwhile is
//!   unread: everything is asked for again before a real is said to be lost.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::NeighbourEvent;
use super::egress::Links;
use super::event::{Action, Input, Neighbour, Route};
pub use super::real::{ANSWER_WITHIN, CONFIRM_WITHIN, FLAP, PERIOD};
use super::real::{Path, Real, Verdict};
use crate::host::links::{self, Link};

/// Requests for all reals together, at most. (The first ones for new reals are sent at once.)
pub const PROBES_PER_SECOND: u32 = 1000;
/// Changes of routes are gathered this long.
const GATHER: Duration = Duration::from_millis(50);
/// Look-ups of all routes are this far apart, and this much further for each real.
const LOOK_UPS_APART: Duration = Duration::from_millis(250);
const LOOK_UPS_APART_EACH: Duration = Duration::from_micros(200);
/// So late is nobody who was awake.
const LATE: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub struct Machine {
    links: Links,
    /// Whether the links are known.
    dumped: bool,
    /// It slept, and hasn't been told since how things are.
    overslept: bool,
    reals: HashMap<IpAddr, Real>,
    /// The next moment of each real that waits for one.
    queue: BTreeSet<(Instant, IpAddr)>,
    /// When all routes are looked up again.
    look_up_at: Option<Instant>,
    looked_up: Option<Instant>,
    look_ups: u64,
    random: fastrand::Rng,
}

impl Machine {
    /// Without reals, and without knowledge until the first [`Input::Dump`]. The seed spreads the probes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            links: Links::default(),
            dumped: false,
            overslept: false,
            reals: HashMap::new(),
            queue: BTreeSet::new(),
            look_up_at: None,
            looked_up: None,
            look_ups: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let first = self.queue.first().map(|(deadline, _)| *deadline);
        match (first, self.look_up_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Makes these the reals, each with the interface that its configuration names. Those that stay as they were keep their state.
    pub fn set_addresses(&mut self, addresses: HashMap<IpAddr, Option<String>>, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let gone: Vec<IpAddr> = self
            .reals
            .iter()
            .filter(|(address, real)| addresses.get(*address) != Some(&real.interface))
            .map(|(address, _)| *address)
            .collect();
        for address in gone {
            if let Some(queued) = self.reals.remove(&address).and_then(|real| real.queued) {
                self.queue.remove(&(queued, address));
            }
        }
        let before = self.reals.len();
        for (address, interface) in addresses {
            self.reals.entry(address).or_insert_with(|| Real::new(interface));
        }
        if self.reals.len() > before {
            // What the kernel has for them already was passed over when it was told.
            actions.push(Action::Dump);
            self.routes_changed(now);
            self.look_up_at = Some(now);
        }
        actions
    }

    /// Takes an event in.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Dump(links, neighbours, stations) => {
                self.links.stations = stations.into_iter().collect();
                self.dump(links, neighbours, now, &mut actions);
            }
            Input::Link(link) => self.link(link, now, &mut actions),
            Input::LinkGone(index) => {
                self.links.all.remove(&index);
                self.routes_changed(now);
                self.settle_all(now, &mut actions);
            }
            Input::Neighbour(neighbour) => {
                if let Some(real) = self.reals.get_mut(&neighbour.address) {
                    real.seen.insert(neighbour.ifindex, (neighbour.nud, neighbour.mac));
                    real.refused = None;
                    self.changed(neighbour.address, now, &mut actions);
                }
            }
            Input::NeighbourGone(address, ifindex) => {
                if let Some(real) = self.reals.get_mut(&address) {
                    real.seen.remove(&ifindex);
                    self.changed(address, now, &mut actions);
                }
            }
            Input::Station(station) => {
                let mac = station.mac;
                self.links.stations.insert(station);
                self.station_changed(mac, now, &mut actions);
            }
            Input::StationGone(station) => {
                self.links.stations.remove(&station);
                self.station_changed(station.mac, now, &mut actions);
            }
            Input::RoutesChanged => self.routes_changed(now),
            Input::Route(address, number, route) => {
                self.route(address, number, route, now, &mut actions);
            }
            Input::ResolveRefused(address, ifindex, why) => {
                if let Some(real) = self.reals.get_mut(&address)
                    && real.path == Path::Segment(ifindex)
                {
                    real.refused = Some(why);
                    self.settle(address, now, &mut actions);
                }
            }
            Input::ConfirmRefused(address, ifindex) => {
                if let Some(real) = self.reals.get_mut(&address)
                    && real.path == Path::Segment(ifindex)
                {
                    actions.push(Action::Resolve(address, ifindex));
                }
            }
            Input::Tick => self.tick(now, &mut actions),
        }
        actions
    }

    fn dump(&mut self, links: Vec<Link>, neighbours: Vec<Neighbour>, now: Instant, actions: &mut Vec<Action>) {
        let links: HashMap<u32, Link> = links.into_iter().map(|link| (link.index, link)).collect();
        let again = std::mem::replace(&mut self.dumped, true);
        if again && links != self.links.all {
            self.routes_changed(now);
        }
        self.links.all = links;
        for real in self.reals.values_mut() {
            real.seen.clear();
        }
        for neighbour in neighbours {
            if let Some(real) = self.reals.get_mut(&neighbour.address) {
                real.seen.insert(neighbour.ifindex, (neighbour.nud, neighbour.mac));
            }
        }
        if std::mem::take(&mut self.overslept) {
            // Nobody can have answered who wasn't listened to.
            for real in self.reals.values_mut().filter(|real| real.missing.is_some()) {
                (real.missing, real.next_ask) = (Some(now), Some(now));
            }
        }
        self.settle_all(now, actions);
    }

    fn link(&mut self, mut link: Link, now: Instant, actions: &mut Vec<Action>) {
        let old = self.links.all.get(&link.index);
        if let Some(old) = old {
            link.addresses.clone_from(&old.addresses);
        }
        if old == Some(&link) {
            return;
        }
        self.links.all.insert(link.index, link);
        self.routes_changed(now);
        self.settle_all(now, actions);
    }

    fn station_changed(&mut self, mac: [u8; 6], now: Instant, actions: &mut Vec<Action>) {
        let behind = |real: &Real| real.entry().and_then(|(_, mac)| mac) == Some(mac);
        let reals = self.reals.iter().filter(|(_, real)| behind(real));
        let addresses: Vec<IpAddr> = reals.map(|(address, _)| *address).collect();
        addresses.into_iter().for_each(|address| self.settle(address, now, actions));
    }

    fn routes_changed(&mut self, now: Instant) {
        let count = u32::try_from(self.reals.len()).unwrap_or(u32::MAX);
        let apart = LOOK_UPS_APART + LOOK_UPS_APART_EACH.saturating_mul(count);
        let soon = now + GATHER;
        let at = self.looked_up.map_or(soon, |last| soon.max(last + apart));
        self.look_up_at = Some(self.look_up_at.map_or(at, |old| old.min(at)));
    }

    fn route(&mut self, address: IpAddr, number: u64, route: Route, now: Instant, actions: &mut Vec<Action>) {
        let Some(real) = self.reals.get_mut(&address) else {
            return;
        };
        if number <= real.looked_up || real.interface.is_some() {
            return;
        }
        real.looked_up = number;
        let path = match route {
            Route::Segment(index) => Path::Segment(index),
            Route::Gateway(gateway) => {
                Path::None(format!("not on a segment of this director: its route goes by the gateway {gateway}"))
            }
            Route::None(why) => Path::None(why),
        };
        self.set_path(address, path, now, actions);
    }

    fn set_path(&mut self, address: IpAddr, path: Path, now: Instant, actions: &mut Vec<Action>) {
        let Some(real) = self.reals.get_mut(&address) else {
            return;
        };
        if real.path != path {
            real.path = path;
            real.refused = None;
            real.asked = 0;
            real.missing = None;
            real.next_ask = None;
        }
        self.changed(address, now, actions);
    }

    /// The path by the interface that the configuration names, which needs no look-up.
    fn named_path(&self, address: IpAddr) -> Option<Path> {
        let name = self.reals.get(&address)?.interface.as_ref()?;
        Some(match links::named(self.links.all.values(), name) {
            Some(link) => Path::Segment(link.index),
            None => Path::None(format!("there is no interface {name}")),
        })
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.overslept && self.deadline().is_some_and(|due| now >= due + LATE) {
            self.overslept = true;
            actions.push(Action::Dump);
        }
        if self.look_up_at.is_some_and(|at| at <= now) {
            self.look_up_all(now, actions);
        }
        while let Some((deadline, address)) = self.queue.first().copied()
            && deadline <= now
        {
            self.queue.pop_first();
            if let Some(real) = self.reals.get_mut(&address) {
                real.queued = None;
                self.settle(address, now, actions);
            }
        }
    }

    fn look_up_all(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.look_up_at = None;
        self.looked_up = Some(now);
        self.look_ups += 1;
        let number = self.look_ups;
        for (address, real) in &self.reals {
            if real.interface.is_none() {
                actions.push(Action::LookUp(*address, number));
            }
        }
    }

    fn settle_all(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let addresses: Vec<IpAddr> = self.reals.keys().copied().collect();
        for address in addresses {
            match self.named_path(address) {
                Some(path) => self.set_path(address, path, now, actions),
                None => self.changed(address, now, actions),
            }
        }
    }

    /// The kernel's side changed for this real: a resolved one is next probed in its turn, one that lost its MAC address is asked for at once.
    fn changed(&mut self, address: IpAddr, now: Instant, actions: &mut Vec<Action>) {
        let spread = PERIOD.max(self.pace()).mul_f64(self.random.f64());
        let Some(real) = self.reals.get_mut(&address) else {
            return;
        };
        let has_mac = real.entry().is_some_and(|(_, mac)| mac.is_some());
        match (has_mac, real.missing) {
            (true, _) => {
                let first = real.next_ask.is_none() || real.missing.is_some();
                real.missing = None;
                real.refused = None;
                real.asked = 0;
                if first {
                    real.confirming = false;
                    real.next_ask = Some(now + spread);
                }
            }
            (false, None) if matches!(real.path, Path::Segment(_)) => {
                real.missing = Some(now);
                real.next_ask = Some(now);
            }
            (false, _) => {}
        }
        self.settle(address, now, actions);
    }

    /// Asks what is due, tells what is new, and queues the next moment.
    fn settle(&mut self, address: IpAddr, now: Instant, actions: &mut Vec<Action>) {
        let pace = self.pace();
        if let Some(real) = self.reals.get_mut(&address) {
            real.follow_link(&self.links, now);
        }
        let link_problem = self.reals.get(&address).map(|real| real.egress(&self.links).err());
        let (Some(real), Some(problem)) = (self.reals.get_mut(&address), link_problem) else {
            return;
        };
        match real.path {
            Path::Segment(ifindex) if problem.is_none() => {
                if real.next_ask.is_some_and(|at| at <= now) {
                    real.ask(address, ifindex, now, pace, actions);
                }
            }
            // Asked again when its link or route is there again.
            Path::Unknown | Path::None(_) | Path::Segment(_) => {
                real.next_ask = None;
                real.missing = None;
                real.asked = 0;
            }
        }
        self.tell(address, now, actions);
        self.enqueue(address, now);
    }

    fn tell(&mut self, address: IpAddr, now: Instant, actions: &mut Vec<Action>) {
        if !self.dumped {
            return;
        }
        let Some(real) = self.reals.get(&address) else {
            return;
        };
        let Verdict::Tell(state, why) = real.verdict(address, &self.links, now) else {
            return;
        };
        if state.is_none() && self.overslept {
            return;
        }
        let egress = real.egress(&self.links).ok().flatten();
        let name = egress.map(|egress| egress.name.to_owned());
        let event = NeighbourEvent { address, state, why };
        if let Some(real) = self.reals.get_mut(&address)
            && real.told.as_ref() != Some(&event)
        {
            real.last_egress = name.or(real.last_egress.take());
            real.told = Some(event.clone());
            actions.push(Action::Report(event));
        }
    }

    fn enqueue(&mut self, address: IpAddr, now: Instant) {
        let Some(real) = self.reals.get_mut(&address) else {
            return;
        };
        let next = real.next(now);
        if real.queued == next {
            return;
        }
        if let Some(old) = real.queued.take() {
            self.queue.remove(&(old, address));
        }
        if let Some(next) = next {
            real.queued = Some(next);
            self.queue.insert((next, address));
        }
    }

    /// Time between two requests for one real, at least.
    fn pace(&self) -> Duration {
        let count = u32::try_from(self.reals.len()).unwrap_or(u32::MAX);
        Duration::from_secs(1).saturating_mul(count) / PROBES_PER_SECOND
    }
}

#[cfg(test)]
mod tests;
