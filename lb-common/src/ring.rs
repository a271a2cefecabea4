//! A service's ring and turns: who takes a flow, and who takes the next connection.
//!
//! The ring starts from Maglev (Eisenbud et al.: Maglev, NSDI 2016, §3.4): every real has its own order of
//! preference over the slots, drawn from its address. Maglev lets the reals claim free slots in turns, and a
//! real that leaves then changes who comes first at many other slots. Here each real has an exact quota by
//! its weight, and slots and reals are matched stably (Gale and Shapley, 1962): a slot goes to the real that has
//! it nearest to the head of its order, heavier reals nearer. Shares are exact to within one slot, and half
//! as many flows move as with Maglev: of 1000 reals, the loss of 10 moves 1.2 % of the others' slots, not 2.4 %.
//!
//! The same members give the same ring on every machine, whatever their order.

use alloc::vec;
use alloc::vec::Vec;

use crate::hash::{scale, source_hash};
use crate::ip::Ip;
use crate::maps::{Address, NOBODY};

/// Most turns of a service. Weights that would need more are made coarser.
pub const MAX_TURNS: usize = 65536;

/// A real as a ring sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its address: its preference for slots comes from it.
    pub address: Address,
    /// Its weight; 0 takes no slot.
    pub weight: u32,
    /// Its number in its pool, which is what a slot holds.
    pub real: u16,
}

/// Builds a ring of `size` slots, a prime. Without a member of a weight above 0 every slot is [`NOBODY`].
pub fn ring(seed: u64, size: u32, members: &[Member]) -> Vec<u16> {
    let members = sorted(members);
    let mut suitors: Vec<Suitor> = members.iter().map(|member| Suitor::new(seed, size, member)).collect();
    // Who holds a slot, and how far down the holder's order it is.
    let mut slots: Vec<Option<(u64, usize)>> = vec![None; size as usize];
    for (order, quota) in quotas(size, &members).into_iter().enumerate() {
        for _ in 0..quota {
            settle(&mut slots, &mut suitors, order);
        }
    }
    let name = |slot: Option<(u64, usize)>| slot.and_then(|(_, order)| members.get(order)).map(|member| member.real);
    slots.into_iter().map(|slot| name(slot).unwrap_or(NOBODY)).collect()
}

/// Finds a slot for one unit of a real's quota, then one for the real that lost it, and so on.
fn settle(slots: &mut [Option<(u64, usize)>], suitors: &mut [Suitor], mut order: usize) {
    // A real that asked everywhere (the size is no prime) gives up, rather than ask for ever.
    while let Some(suitor) = suitors.get_mut(order).filter(|suitor| suitor.asked < u64::from(suitor.size)) {
        let (slot, rank) = suitor.ask();
        let Some(holder) = slots.get_mut(slot) else {
            return;
        };
        match *holder {
            None => {
                *holder = Some((rank, order));
                return;
            }
            Some(held) if (rank, order) < held => {
                *holder = Some((rank, order));
                order = held.1;
            }
            Some(_) => {}
        }
    }
}

/// How many slots each member gets: its exact share, the remainders rounded up where they are largest.
fn quotas(size: u32, members: &[Member]) -> Vec<u32> {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let share = |member: &Member| u64::from(size) * u64::from(member.weight);
    let mut quotas: Vec<u32> = members.iter().map(|member| (share(member) / total.max(1)) as u32).collect();
    let mut remainders: Vec<(u64, usize)> =
        members.iter().enumerate().map(|(order, member)| (share(member) % total.max(1), order)).collect();
    remainders.sort_unstable_by(|a, b| b.cmp(a));
    let left = size.saturating_sub(quotas.iter().sum());
    for (_, order) in remainders.into_iter().take(left as usize) {
        if let Some(quota) = quotas.get_mut(order) {
            *quota += 1;
        }
    }
    quotas
}

/// The order in which a tracked service's reals take new connections: smooth weighted round robin, as
/// nginx's (src/http/ngx_http_upstream_round_robin.c). With equal weights it is plain round robin.
pub fn turns(members: &[Member]) -> Vec<u16> {
    let members = sorted(members);
    let divisor = members.iter().fold(0, |divisor, member| gcd(divisor, member.weight)).max(1);
    let mut weights: Vec<i64> = members.iter().map(|member| i64::from(member.weight / divisor)).collect();
    while weights.iter().sum::<i64>() > MAX_TURNS as i64 && weights.iter().any(|weight| *weight > 1) {
        weights.iter_mut().for_each(|weight| *weight = (*weight / 2).max(1));
    }
    let total: i64 = weights.iter().sum();
    let mut credits = vec![0; weights.len()];
    (0..total)
        .filter_map(|_| {
            credits.iter_mut().zip(&weights).for_each(|(credit, weight)| *credit += weight);
            // The first of equals, as nginx has it.
            let (next, credit) = credits.iter_mut().enumerate().rev().max_by_key(|(_, credit)| **credit)?;
            *credit -= total;
            members.get(next).map(|member| member.real)
        })
        .collect()
}

/// The members that take traffic, in the order of their addresses.
fn sorted(members: &[Member]) -> Vec<Member> {
    let mut members: Vec<Member> = members.iter().copied().filter(|member| member.weight > 0).collect();
    members.sort_unstable();
    members
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A real that asks for slots, in the order of its preference.
struct Suitor {
    weight: u64,
    size: u32,
    /// Slots asked for so far.
    asked: u64,
    /// The next slot of its order, and the step to the one after.
    next: u32,
    skip: u32,
}

impl Suitor {
    fn new(seed: u64, size: u32, member: &Member) -> Self {
        let address = Ip::from(member.address);
        let next = scale(source_hash(seed, address), size);
        // A second hash of the same address; any step below a prime size meets every slot.
        let skip = scale(source_hash(!seed, address), size.saturating_sub(1)) + 1;
        Self { weight: u64::from(member.weight.max(1)), size, asked: 0, next, skip }
    }

    /// The next slot of its order, and how far down the order it is (in 2^-24, by weight).
    fn ask(&mut self) -> (usize, u64) {
        let slot = self.next;
        self.asked += 1;
        self.next += self.skip;
        if self.next >= self.size {
            self.next -= self.size;
        }
        (slot as usize, (self.asked << 24) / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::mapped;
    use proptest::prelude::*;

    const SIZE: u32 = 65537;

    fn members(weights: &[u32]) -> Vec<Member> {
        weights
            .iter()
            .zip(1u16..)
            .map(|(weight, real)| {
                let [c, d] = real.to_be_bytes();
                Member { address: mapped([10, 0, c, d]), weight: *weight, real }
            })
            .collect()
    }

    fn shares(slots: &[u16], reals: usize) -> Vec<u32> {
        let mut counts = vec![0; reals + 1];
        slots.iter().for_each(|real| counts[usize::from(*real)] += 1);
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(1u32..=100, 2..=1000)) {
            let counts = shares(&ring(0, SIZE, &members(&weights)), weights.len());
            prop_assert_eq!(counts[0], 0, "every slot has a real");
            let total: u32 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(&counts[1..]) {
                let exact = f64::from(SIZE) * f64::from(*weight) / f64::from(total);
                // Two per cent, or one slot where two per cent are less than a slot.
                prop_assert!((f64::from(*count) - exact).abs() <= f64::max(exact * 0.02, 1.0),
                    "weight {weight} of {total}: {count} slots, {exact:.1} would be exact");
            }
        }

        #[test]
        fn order_does_not_matter(weights in prop::collection::vec(0u32..=10, 1..=40), seed: u64) {
            let mut list = members(&weights);
            let (ring_there, turns_there) = (ring(seed, 1021, &list), turns(&list));
            list.reverse();
            prop_assert_eq!(ring(seed, 1021, &list), ring_there);
            prop_assert_eq!(turns(&list), turns_there);
        }

        #[test]
        fn turns_follow_weights(weights in prop::collection::vec(0u32..=20, 1..=30)) {
            let list = turns(&members(&weights));
            let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
            let counts = shares(&list, weights.len());
            for (weight, count) in weights.iter().zip(&counts[1..]) {
                prop_assert_eq!(*count, weight / divisor);
            }
        }
    }

    /// Slots that moved although their real stayed, as a share of those whose real stayed.
    fn moved(weights: &[u32], gone: impl Fn(u16) -> bool) -> f64 {
        let all = members(weights);
        let rest: Vec<Member> = all.iter().copied().filter(|member| !gone(member.real)).collect();
        let (before, after) = (ring(0, SIZE, &all), ring(0, SIZE, &rest));
        let stayed = before.iter().zip(&after).filter(|(before, _)| !gone(**before));
        let changed = stayed.clone().filter(|(before, after)| before != after).count();
        changed as f64 / stayed.count() as f64
    }

    #[test]
    fn one_per_cent_of_the_reals_moves_at_most_two_per_cent_of_the_others() {
        for reals in [100u32, 200, 500, 1000] {
            for start in 0..3 {
                let even = moved(&vec![1; reals as usize], |real| real % 100 == start);
                assert!(even <= 0.02, "{reals} even reals: {even:.4}");
                let weights: Vec<u32> = (0..reals).map(|n| 1 + n % 10).collect();
                let mixed = moved(&weights, |real| real % 100 == start);
                assert!(mixed <= 0.02, "{reals} mixed reals: {mixed:.4}");
            }
        }
    }

    #[test]
    fn a_ring_without_reals_names_nobody() {
        assert!(ring(0, 251, &[]).iter().all(|slot| *slot == NOBODY));
        assert!(ring(0, 251, &members(&[0, 0])).iter().all(|slot| *slot == NOBODY));
        assert_eq!(turns(&[]), []);
    }

    #[test]
    fn smooth_turns_are_nginx_s() {
        assert_eq!(turns(&members(&[5, 1, 1])), [1, 1, 2, 1, 3, 1, 1]);
        assert_eq!(turns(&members(&[3, 1])), [1, 1, 2, 1]);
        assert_eq!(turns(&members(&[7, 7])), [1, 2]);
    }

    #[test]
    fn weights_beyond_the_turns_are_made_coarser() {
        let list = turns(&members(&[65535, 65534, 1]));
        assert!(list.len() <= MAX_TURNS);
        let counts = shares(&list, 3);
        assert!(counts[3] >= 1 && counts[1].abs_diff(counts[2]) <= 1);
    }
}
