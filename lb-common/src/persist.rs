//! Persistence: a client's new connections go where its last ones went, to all services of a group.
//!
//! What IPVS calls a template (`ip_vs_sched_persist` in net/netfilter/ipvs/ip_vs_core.c) is an entry of the flow table like a
//! connection's: of the client's network, of no port, of the group. It is asked for connections alone that the table doesn't
//! know, so a packet of a known one costs nothing more. Each connection that begins renews it, and so does the agent's sweep as
//! long as one of them lives (`dataplane/sweep`): it ends so long after the last of them did.

use crate::environment::{Environment, Tables};
use crate::flow::{self, Flow, Place, Stage};
use crate::hash::{Hash, flow_hash};
use crate::ip::{Ip, Ports};
use crate::maps::{FlowKey, NOBODY, Service};
use crate::parse::Opens;
use crate::recall::{Query, lives};

/// The protocol in a template's hash, which no packet has: protocol 0 is an IPv6 header that is read past.
const NO_PROTOCOL: u8 = 0;

/// The client's network, and the hash of its template.
#[inline(always)]
pub fn template(seed: u64, service: &Service, client: Ip) -> (Ip, Hash) {
    let prefix = u64::from(service.persistence_prefix());
    // An address's words have its first byte lowest.
    let (start, end) = (ones(prefix.min(64)).swap_bytes(), ones(prefix.saturating_sub(64)).swap_bytes());
    let network = Ip { start: client.start & start, end: client.end & end };
    // What is remembered is a number of one pool's.
    let seed = seed ^ u64::from(service.reals) << 32;
    (network, flow_hash(seed, network, Ip::from(service.key.address), Ports(service.group), NO_PROTOCOL))
}

/// So many ones from the top, at most 64.
#[inline(always)]
fn ones(bits: u64) -> u64 {
    if bits == 0 { 0 } else { u64::MAX << ((64 - bits) & 63) }
}

/// The ports of a template's key: those of the connection, without the client's. No client has port 0 (RFC 6335 §6).
#[inline(always)]
pub const fn ports(connection: Ports) -> Ports {
    Ports(connection.0 & 0xffff_0000)
}

/// Who takes a connection that the flow table doesn't know: the real that has the client, or whom the scheduler chooses, who has
/// the client from then on.
#[inline(always)]
pub(crate) fn choose<E: Environment>(environment: &E, words: [u64; 5]) -> u16 {
    let (tables, index) = (environment.tables(), Query::service(words));
    if tables.service(index).is_none_or(|service| service.flags & Service::PERSISTENT == 0) {
        return tables.choose(index);
    }
    match environment.persist(asked(words)) {
        Query::UNCHOSEN => environment.persist(asked(Query::chosen(words, tables.choose(index)))),
        number => number,
    }
}

/// What is asked of [`persist`]: a query's words without its hash, which is another's.
#[inline(always)]
pub(crate) fn asked([_, start, end, ports_and_service, slot_and_opens]: [u64; 5]) -> [u64; 4] {
    [start, end, ports_and_service, slot_and_opens]
}

/// The number of the real that has the client of this connection, by the last words of a [`Query`]. Where none has it, or one that takes no new
/// connections, that is the query's choice, and has it from now on.
#[inline(always)]
pub fn persist<T: Tables>(tables: &T, [start, end, ports_and_service, slot_and_opens]: [u64; 4]) -> u16 {
    let Query { client, ports: connection, service: index, choice, .. } =
        Query::of([0, start, end, ports_and_service, slot_and_opens]);
    let (Some(director), Some(service)) = (tables.director(), tables.service(index)) else { return choice };
    let (network, hash) = template(director.hash_seed, service, client);
    let place = Place::of(hash, director.flow_lines);
    let (Some(first), Some(second)) = (tables.flow_line(place.lines[0]), tables.flow_line(place.lines[1])) else {
        return choice;
    };
    let now = tables.ticks(director.tick_shift);
    let mut found = flow::find(first, place.tag, false);
    if !found.is_there() {
        found = flow::find(second, place.tag, true);
    }
    if found.is_there() && found.idle(now) <= service.persistence_ticks() && takes_new(tables, service, found.real()) {
        // The second connection makes it worth more than those that come once.
        found.see(Opens::Unknown, now);
        return found.real();
    }
    if choice == Query::UNCHOSEN || choice == NOBODY {
        return choice;
    }
    let flow = Flow { tag: place.tag, seen: now, stage: Stage::Opening, real: choice };
    if found.is_there() {
        found.replace(flow);
    } else if let Some(at) = flow::insert(first, second, flow, &director.timeouts) {
        let line = if at.second { place.lines[1] } else { place.lines[0] };
        tables.note_key(line, at.way, FlowKey::words(network, ports(connection), service.id));
    }
    choice
}

/// Whether a real takes new connections.
#[inline(always)]
fn takes_new<T: Tables>(tables: &T, service: &Service, number: u16) -> bool {
    lives(tables, service, number)
        && tables.real(service.reals.wrapping_add(u32::from(number))).is_some_and(|real| real.weight != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::mapped;

    fn service(prefix: u32) -> Service {
        Service { persistence: Service::persistent(300, prefix), group: 7, ..Service::FREE }
    }

    #[test]
    fn a_network_is_the_address_s_first_bits() {
        let v4 = |a, b, c, d| Ip::from(mapped([a, b, c, d]));
        let cases = [
            (128, v4(10, 1, 2, 3)),
            (120, v4(10, 1, 2, 0)),
            (119, v4(10, 1, 2, 0)),
            (112, v4(10, 1, 0, 0)),
            (97, v4(0, 0, 0, 0)),
            (96, v4(0, 0, 0, 0)),
        ];
        for (prefix, network) in cases {
            assert_eq!(template(1, &service(prefix), v4(10, 1, 2, 3)).0, network, "{prefix}");
        }
        let v6 = [0xfd, 1, 2, 3, 4, 5, 6, 0xff, 8, 9, 10, 11, 12, 13, 14, 15];
        for prefix in 0..=128_u32 {
            let mut expected = v6;
            for (index, byte) in expected.iter_mut().enumerate() {
                let bits = prefix.saturating_sub(index as u32 * 8).min(8);
                *byte &= (0xff00_u32 >> bits) as u8;
            }
            assert_eq!(template(1, &service(prefix), Ip::from(v6)).0.address(), expected, "{prefix}");
        }
    }

    #[test]
    fn a_template_is_its_network_s_and_group_s() {
        let of = |service: Service, client: [u8; 4]| template(1, &service, Ip::from(mapped(client))).1;
        let held = of(service(120), [10, 1, 2, 3]);
        assert_eq!(held, of(service(120), [10, 1, 2, 200]));
        assert_ne!(held, of(service(120), [10, 1, 3, 3]));
        assert_ne!(held, of(Service { group: 8, ..service(120) }, [10, 1, 2, 3]));
    }

    #[test]
    fn prefix_and_time_share_a_word() {
        for (ticks, prefix) in [(0, 0), (86_400, 128), ((1 << 24) - 1, 128)] {
            let service = Service { persistence: Service::persistent(ticks, prefix), ..Service::FREE };
            assert_eq!((service.persistence_ticks(), service.persistence_prefix()), (ticks, prefix));
        }
    }
}
