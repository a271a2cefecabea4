//! Which VIPs this host has on behalf of the virtual routers: one owner an address over all of them. Without a socket
//! or a clock; the kernel's own list is held against it by the caller.
//!
//! - An address that was there before is nobody's here, and is never taken off.
//! - A change of settings moves an address from owner to owner. Only what nobody wants after it is taken off, so that
//!   no reload takes a VIP away for a moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ipnet::IpNet;

use super::machine::Time;

/// An address where it is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placed {
    /// The index of the interface, or of the macvlan.
    pub ifindex: u32,
    /// The VIP with its prefix length there.
    pub address: IpNet,
}

/// The addresses that were put on this host's interfaces, and for whom: by the number of the virtual router.
#[derive(Debug, Default)]
pub struct Holdings(BTreeMap<Placed, Option<usize>>);

impl Holdings {
    /// What an agent before this one has put there; nobody's until it is claimed.
    pub fn inherit(placed: impl IntoIterator<Item = Placed>) -> Self {
        Self(placed.into_iter().map(|placed| (placed, None)).collect())
    }

    /// Whether this was put there by us.
    pub fn contains(&self, placed: &Placed) -> bool {
        self.0.contains_key(placed)
    }

    /// It was put there for this owner, or is this owner's from now on.
    pub fn claim(&mut self, placed: Placed, owner: usize) {
        self.0.insert(placed, Some(owner));
    }

    /// What this owner has and `keeps` doesn't name is nobody's any more.
    pub fn disown(&mut self, owner: usize, keeps: &BTreeSet<Placed>) {
        for (placed, held) in &mut self.0 {
            if *held == Some(owner) && !keeps.contains(placed) {
                *held = None;
            }
        }
    }

    /// What is nobody's, to be taken off.
    pub fn orphans(&self) -> Vec<Placed> {
        self.0.iter().filter(|(_, owner)| owner.is_none()).map(|(&placed, _)| placed).collect()
    }

    /// It is not there any more.
    pub fn forget(&mut self, placed: &Placed) {
        self.0.remove(placed);
    }

    /// Everything that was put there.
    pub fn all(&self) -> impl Iterator<Item = Placed> {
        self.0.keys().copied()
    }
}

/// How often a lost address is put back before that is given up.
const LIMIT: usize = 5;
/// The time in which these losses count.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a router takes no part whose addresses are taken away again and again.
pub const BAR: Duration = Duration::from_secs(30);

/// When a virtual router's addresses were lost lately.
#[derive(Debug, Default)]
pub struct Losses(VecDeque<Time>);

impl Losses {
    /// Counts a loss. Whether the addresses are worth being put back once more.
    pub fn count(&mut self, now: Time) -> bool {
        self.0.retain(|&at| now.saturating_sub(at) < WINDOW);
        self.0.push_back(now);
        let goes_on = self.0.len() <= LIMIT;
        if !goes_on {
            self.0.clear();
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(last: u8) -> Placed {
        Placed { ifindex: 2, address: format!("192.0.2.{last}/24").parse().unwrap() }
    }

    #[test]
    fn addresses_that_swap_owners_stay() {
        let mut holdings = Holdings::default();
        holdings.claim(vip(1), 51);
        holdings.claim(vip(2), 52);
        for (owner, wants) in [(51, vip(2)), (52, vip(1))] {
            holdings.claim(wants, owner);
            holdings.disown(owner, &BTreeSet::from([wants]));
        }
        assert_eq!(holdings.orphans(), []);
        // Who ends takes nothing along that another has claimed.
        holdings.claim(vip(1), 51);
        holdings.disown(52, &BTreeSet::new());
        assert_eq!(holdings.orphans(), []);
        holdings.disown(51, &BTreeSet::from([vip(1)]));
        assert_eq!(holdings.orphans(), [vip(2)]);
    }

    #[test]
    fn what_is_inherited_goes_unless_it_is_claimed() {
        let mut holdings = Holdings::inherit([vip(1), vip(2)]);
        holdings.claim(vip(1), 0);
        assert_eq!(holdings.orphans(), [vip(2)]);
        holdings.forget(&vip(2));
        assert_eq!(holdings.all().collect::<Vec<_>>(), [vip(1)]);
        assert!(!holdings.contains(&vip(2)));
    }

    #[test]
    fn a_fight_ends_and_a_loss_now_and_then_does_not() {
        let mut losses = Losses::default();
        let seconds = Duration::from_secs;
        assert!((0..100).all(|count| losses.count(seconds(count * 3))));
        let mut losses = Losses::default();
        let counted: Vec<bool> = (0..6).map(|count| losses.count(seconds(count))).collect();
        assert_eq!(counted, [true, true, true, true, true, false]);
    }
}
