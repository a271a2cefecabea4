//! The order of the directors for each VIP.
//!
//! It is chosen place by place. Once every VIP's first k directors are known, a loss of just those k makes it go
//! to its next one, and no other loss of k directors asks for that place: so each set of k directors is one
//! question by itself. Its answer gives the VIPs that all of them are lost for, one by one, to the survivor who
//! has the least then; no other answer to that question leaves less on the fullest link.

use std::collections::BTreeMap;

/// The orders of `vips` VIPs over `directors`, each a permutation of their numbers. Directors that have equally
/// little are taken in the round, which each `variant` begins elsewhere: an early choice can spoil a later one, so
/// that one variant is better than another.
pub(super) fn orders(directors: usize, vips: usize, variant: usize) -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = (0..vips).map(|vip| vec![vip % directors.max(1)]).collect();
    for place in 1..directors {
        // The VIPs by the set of their directors so far.
        let mut questions: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (vip, order) in orders.iter().enumerate() {
            questions.entry(set(order)).or_default().push(vip);
        }
        // How often one director came right behind another at this place.
        let mut pairs = BTreeMap::new();
        for (lost, waiting) in questions {
            let mut held = held(&orders, directors, lost);
            for vip in waiting {
                let Some(order) = orders.get_mut(vip) else {
                    continue;
                };
                let before = order.get(place - 1).copied().unwrap_or(0);
                let survivors = (0..directors).filter(|director| lost >> director & 1 == 0);
                // Of equals, the one that followed this director least; then the next in the round.
                let next = survivors.min_by_key(|&director| {
                    let follows = pairs.get(&(before, director)).copied().unwrap_or(0);
                    (held.get(director).copied(), follows, (director + directors - before + variant * vip) % directors)
                });
                if let Some(next) = next {
                    order.push(next);
                    *pairs.entry((before, next)).or_insert(0_usize) += 1;
                    if let Some(count) = held.get_mut(next) {
                        *count += 1;
                    }
                }
            }
        }
    }
    orders
}

/// VIPs on each director without those of `lost`, not counting the VIPs whose next director is still open.
fn held(orders: &[Vec<usize>], directors: usize, lost: u32) -> Vec<usize> {
    let mut held = vec![0; directors];
    for order in orders {
        let holder = order.iter().find(|&director| lost >> director & 1 == 0);
        if let Some(count) = holder.and_then(|&director| held.get_mut(director)) {
            *count += 1;
        }
    }
    held
}

fn set(order: &[usize]) -> u32 {
    order.iter().fold(0, |set, director| set | 1 << director)
}
