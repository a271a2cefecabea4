//! A table of services, in which each is found at one of two places.

use lb_common::Ip;
use lb_common::maps::{Service, ServiceKey};

/// Seeds that are tried before a table counts as full. At half its size nearly every seed does.
const SEEDS: u64 = 64;
/// Services that are moved for one more, before another seed is tried.
const MOVES: usize = 500;

/// Places each service in a table of `size` entries, a power of two; `None` where it is too full. Returns the seed and the
/// entries.
pub fn place<'a>(services: impl Iterator<Item = &'a Service> + Clone, size: u32) -> Option<(u64, Vec<Service>)> {
    (0..SEEDS).find_map(|seed| place_by(services.clone(), size, seed).map(|entries| (seed, entries)))
}

/// Cuckoo hashing (Pagh and Rodler, 2004): who finds both places taken takes the first, and its holder moves to its other.
fn place_by<'a>(services: impl Iterator<Item = &'a Service>, size: u32, seed: u64) -> Option<Vec<Service>> {
    let mask = size.checked_sub(1).filter(|_| size.is_power_of_two())?;
    let mut entries = vec![Service::FREE; size as usize];
    let places =
        |key: &ServiceKey| ServiceKey::places(seed, Ip::from(key.address), key.tail(), mask).map(|at| at as usize);
    for service in services {
        let (mut homeless, mut from) = (*service, None);
        let mut moves = 0;
        loop {
            let [one, other] = places(&homeless.key);
            let is_free = |at: usize| entries.get(at).is_some_and(|entry: &Service| entry.key.protocol == 0);
            let free = [one, other].into_iter().find(|at| is_free(*at));
            let at = free.unwrap_or(if from == Some(one) { other } else { one });
            homeless = std::mem::replace(entries.get_mut(at)?, homeless);
            if free.is_some() {
                break;
            }
            (from, moves) = (Some(at), moves + 1);
            if moves > MOVES {
                return None;
            }
        }
    }
    Some(entries)
}

/// Entries of a table that takes so many services.
pub fn size_for(services: u32) -> u32 {
    services.saturating_mul(2).next_power_of_two().max(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(count: u16) -> Vec<Service> {
        let key = |n: u16| ServiceKey {
            address: lb_common::maps::mapped([10, 0, 0, (n % 7) as u8]),
            port: n.to_be_bytes(),
            protocol: 6,
            reserved: 0,
        };
        (0..count).map(|n| Service { key: key(n), id: u32::from(n), ..Service::FREE }).collect()
    }

    #[test]
    fn each_service_is_at_one_of_its_two_places() {
        for count in [0, 1, 5, 64, 1000, 4096] {
            let services = services(count);
            let size = size_for(u32::from(count));
            let (seed, entries) = place(services.iter(), size).expect("room");
            for service in &services {
                let places = ServiceKey::places(seed, Ip::from(service.key.address), service.key.tail(), size - 1);
                assert!(places.iter().any(|at| entries[*at as usize] == *service), "{}", service.id);
            }
            assert_eq!(entries.iter().filter(|entry| entry.key.protocol != 0).count(), usize::from(count));
        }
    }

    #[test]
    fn a_table_that_is_too_small_is_refused() {
        assert!(place(services(9).iter(), 8).is_none());
        assert!(place(services(1).iter(), 6).is_none(), "no power of two");
    }
}
