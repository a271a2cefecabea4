//! What is known of one real, and the way that frames to it leave this machine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::egress::{Egress, Links};
use super::event::{Action, Nud};
use super::{NeighbourEvent, Resolved};

/// Time between two probes of one real whose MAC address is known. With [`CONFIRM_WITHIN`] a second: so soon is a MAC
/// address found out that changed without an announcement.
pub const PERIOD: Duration = Duration::from_millis(750);
/// A real that hasn't answered a probe, which goes to its last MAC address, is asked for by a broadcast after this time.
/// The kernel by itself would repeat the probe, a second apart, before it broadcasts.
pub const CONFIRM_WITHIN: Duration = Duration::from_millis(250);
/// A real that has no MAC address this long after the kernel was asked is told to have none. The kernel
/// repeats a lost request after a second: two fit in.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(1250);

/// A link that was lost this long ago is lost; until then what was known of the reals behind it stays: frames that a
/// short loss costs are few, those of reals that were taken out and come back one by one are many.
pub const FLAP: Duration = Duration::from_secs(1);

/// Waits between the first requests to resolve; then it is [`RETRY`].
const RETRIES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Wait between two requests for a real that has not answered for long.
const RETRY: Duration = Duration::from_secs(5);

/// One real, as the machine keeps it.
#[derive(Debug)]
pub(super) struct Real {
    /// The interface that the configuration names.
    pub(super) interface: Option<String>,
    pub(super) path: Path,
    /// The name of the interface that the path was last told on.
    pub(super) last_egress: Option<String>,
    /// The number of the last look-up that was answered.
    pub(super) looked_up: u64,
    /// What the kernel has for the address, by interface.
    pub(super) seen: BTreeMap<u32, (Nud, Option<[u8; 6]>)>,
    /// What was told last.
    pub(super) told: Option<NeighbourEvent>,
    /// Why the kernel doesn't resolve.
    pub(super) refused: Option<String>,
    /// A probe was asked for, and its answer is looked for next.
    pub(super) confirming: bool,
    /// Requests to resolve in a row.
    pub(super) asked: u32,
    /// Since when the link is down or without carrier by which it was reached, or its route is gone with that.
    pub(super) interrupted: Option<Instant>,
    /// Since when there is no MAC address, though one was asked for.
    pub(super) missing: Option<Instant>,
    pub(super) next_ask: Option<Instant>,
    /// Its place in the machine's queue.
    pub(super) queued: Option<Instant>,
}

/// Where a real is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// Not looked up yet.
    Unknown,
    /// On the segment of the interface of this index.
    Segment(u32),
    /// Nowhere, for this reason.
    None(String),
}

/// What there is to say of a real.
pub(super) enum Verdict {
    /// Nothing yet: an answer is awaited.
    Wait,
    /// This, with its reason.
    Tell(Option<Resolved>, String),
}

impl Real {
    pub(super) fn new(interface: Option<String>) -> Self {
        Self {
            interface,
            path: Path::Unknown,
            last_egress: None,
            looked_up: 0,
            seen: BTreeMap::new(),
            told: None,
            refused: None,
            confirming: false,
            asked: 0,
            interrupted: None,
            missing: None,
            next_ask: None,
            queued: None,
        }
    }

    /// What the kernel has on the real's interface.
    pub(super) fn entry(&self) -> Option<(Nud, Option<[u8; 6]>)> {
        match self.path {
            Path::Segment(index) => self.seen.get(&index).copied(),
            Path::Unknown | Path::None(_) => None,
        }
    }

    /// The way that frames leave by, as far as it is known; `None` while the route isn't, or what is wrong with it.
    pub(super) fn egress<'a>(&self, links: &'a Links) -> Result<Option<Egress<'a>>, String> {
        let index = match &self.path {
            Path::Unknown => return Ok(None),
            Path::None(why) => return Err(why.clone()),
            Path::Segment(index) => *index,
        };
        let link = links.all.get(&index).ok_or_else(|| {
            let name = self.last_egress.as_deref();
            format!("{} is gone", name.unwrap_or("its interface"))
        })?;
        Egress::find(links, link, self.entry().and_then(|(_, mac)| mac)).map(Some)
    }

    /// What there is to say now, given the links.
    pub(super) fn verdict(&self, address: IpAddr, links: &Links, now: Instant) -> Verdict {
        let egress = match self.egress(links) {
            Ok(Some(egress)) => egress,
            Ok(None) => return Verdict::Wait,
            Err(_) if self.interrupted.is_some_and(|since| now < since + FLAP) => return Verdict::Wait,
            Err(why) => return Verdict::Tell(None, why),
        };
        if let Some((_, Some(mac))) = self.entry() {
            let Egress { ifindex, mac: source_mac, vlan, .. } = egress;
            let by_kernel = egress.by_kernel.is_some();
            if by_kernel && self.is_sent_to(mac, links) {
                return Verdict::Wait;
            }
            let resolved = Resolved { mac, ifindex, source_mac, vlan, by_kernel };
            return Verdict::Tell(Some(resolved), egress.words());
        }
        if self.missing.is_some_and(|since| now < since + ANSWER_WITHIN) {
            return Verdict::Wait;
        }
        let why = self.refused.clone().unwrap_or_else(|| {
            let question = match address {
                IpAddr::V4(_) => "ARP requests",
                IpAddr::V6(_) => "neighbour solicitations",
            };
            format!("no answer to {question} on {}", egress.name)
        });
        Verdict::Tell(None, why)
    }

    /// Whether frames go to a MAC by a port that still runs: a bridge that forgot it learns it again from the next answer.
    fn is_sent_to(&self, mac: [u8; 6], links: &Links) -> bool {
        let told = self.told.as_ref().and_then(|told| told.state).filter(|told| told.mac == mac && !told.by_kernel);
        told.and_then(|told| links.all.get(&told.ifindex)).is_some_and(|link| link.up && link.running)
    }

    /// When there is something to do next: to ask, or to tell that nobody answered.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let verdict_at = self.missing.map(|since| since + ANSWER_WITHIN);
        let lost_at = self.interrupted.map(|since| since + FLAP);
        let later = [verdict_at, lost_at].into_iter().flatten().filter(|at| *at > now);
        later.chain(self.next_ask).min()
    }

    /// Notes since when a link is lost by which the real was reached when it was told last.
    pub(super) fn follow_link(&mut self, links: &Links, now: Instant) {
        let Some(last) = self.told.as_ref().and_then(|told| told.state) else {
            self.interrupted = None;
            return;
        };
        let segment = match self.path {
            Path::Segment(index) => Some(index),
            Path::Unknown | Path::None(_) => None,
        };
        let is_lost = |index| links.all.get(&index).is_some_and(|link| !link.up || !link.running);
        if [Some(last.ifindex), segment].into_iter().flatten().any(is_lost) {
            self.interrupted.get_or_insert(now);
        } else if self.egress(links).is_ok() {
            self.interrupted = None;
        }
    }

    /// Asks the kernel for what the real lacks, and sets when it is asked next.
    pub(super) fn ask(
        &mut self,
        address: IpAddr,
        ifindex: u32,
        now: Instant,
        pace: Duration,
        actions: &mut Vec<Action>,
    ) {
        let confirming = std::mem::take(&mut self.confirming);
        let wait = match self.entry() {
            Some((Nud::Usable, Some(_))) if !confirming => {
                actions.push(Action::Confirm(address, ifindex));
                self.confirming = true;
                CONFIRM_WITHIN
            }
            Some((Nud::Probe, Some(_))) => {
                actions.push(Action::Repeat(address, ifindex));
                PERIOD.max(pace)
            }
            Some((_, Some(_))) => PERIOD.max(pace).saturating_sub(CONFIRM_WITHIN),
            entry => {
                if entry.is_none_or(|(nud, _)| nud != Nud::Incomplete) {
                    actions.push(Action::Resolve(address, ifindex));
                } else if (self.asked as usize) < RETRIES.len() {
                    // The kernel would repeat a lost request only after a second.
                    actions.push(Action::Repeat(address, ifindex));
                }
                let retry = RETRIES.get(self.asked as usize).copied();
                self.asked = self.asked.saturating_add(1);
                retry.unwrap_or(RETRY).max(pace)
            }
        };
        self.next_ask = Some(now + wait);
    }
}
