use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_route::link::{LinkHeader, LinkMessage};

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 40);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x40);

fn message(family: AddressFamily, state: NeighbourState, attributes: Vec<NeighbourAttribute>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = 3;
    message.header.state = state;
    message.attributes = attributes;
    message
}

fn v4(state: NeighbourState, mac: &[u8]) -> NeighbourMessage {
    let attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(V4)),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    message(AddressFamily::Inet, state, attributes)
}

#[test]
fn each_state_and_mac() {
    for (state, mac, nud, known) in [
        (NeighbourState::Reachable, &MAC[..], Nud::Usable, true),
        (NeighbourState::Stale, &MAC, Nud::Usable, true),
        (NeighbourState::Delay, &MAC, Nud::Usable, true),
        (NeighbourState::Probe, &MAC, Nud::Probe, true),
        (NeighbourState::Permanent, &MAC, Nud::Fixed, true),
        (NeighbourState::Noarp, &MAC, Nud::Fixed, true),
        (NeighbourState::Noarp, &[0; 6], Nud::Fixed, false),
        (NeighbourState::Noarp, &[0xff; 6], Nud::Fixed, false),
        (NeighbourState::Noarp, &[1, 0, 0x5e, 0, 0, 18], Nud::Fixed, false),
        (NeighbourState::Reachable, &[10, 0, 0, 1], Nud::Usable, false),
        (NeighbourState::Incomplete, &MAC, Nud::Incomplete, false),
        (NeighbourState::Failed, &MAC, Nud::Failed, false),
        (NeighbourState::None, &MAC, Nud::Failed, false),
        (NeighbourState::Other(3), &MAC, Nud::Failed, false),
    ] {
        let expected = Neighbour { address: V4.into(), ifindex: 3, nud, mac: known.then_some(MAC) };
        assert_eq!(neighbour(&v4(state, mac)), Some(expected), "{state} {mac:?}");
    }
}

#[test]
fn what_is_no_neighbour_is_passed_over() {
    let mac = NeighbourAttribute::LinkLayerAddress(MAC.to_vec());
    let bridge = message(AddressFamily::Bridge, NeighbourState::Reachable, vec![mac]);
    assert_eq!(neighbour(&bridge), None, "a bridge's forwarding entry");
    let nothing = message(AddressFamily::Inet, NeighbourState::Reachable, vec![]);
    assert_eq!(neighbour(&nothing), None, "no address");
    let mut proxy = v4(NeighbourState::Permanent, &MAC);
    proxy.header.flags = NeighbourFlags::Proxy;
    assert_eq!(neighbour(&proxy), None, "an address that this machine answers for");
}

#[test]
fn each_notification() {
    let entry = v4(NeighbourState::Stale, &MAC);
    let mut link = LinkMessage::default();
    link.header = LinkHeader { index: 7, ..LinkHeader::default() };
    let mut port = link.clone();
    port.header.interface_family = AddressFamily::Bridge;
    let mut cloned = RouteMessage::default();
    cloned.header.flags = RouteFlags::Cloned;
    assert!(matches!(input(RouteNetlinkMessage::NewNeighbour(entry.clone())), Some(Input::Neighbour(_))));
    assert_eq!(input(RouteNetlinkMessage::DelNeighbour(entry)), Some(Input::NeighbourGone(V4.into(), 3)));
    assert!(matches!(input(RouteNetlinkMessage::NewLink(link.clone())), Some(Input::Link(_))));
    assert_eq!(input(RouteNetlinkMessage::DelLink(link)), Some(Input::LinkGone(7)));
    assert_eq!(input(RouteNetlinkMessage::DelLink(port)), None);
    for message in [
        RouteNetlinkMessage::NewRoute(RouteMessage::default()),
        RouteNetlinkMessage::DelRoute(RouteMessage::default()),
        RouteNetlinkMessage::NewAddress(Default::default()),
        RouteNetlinkMessage::DelAddress(Default::default()),
    ] {
        assert_eq!(input(message), Some(Input::RoutesChanged));
    }
    assert_eq!(input(RouteNetlinkMessage::NewRoute(cloned)), None);
}

#[test]
fn each_kind_of_route() {
    let oif = RouteAttribute::Oif(3);
    let gateway = |address: IpAddr| RouteAttribute::Gateway(address.into());
    let none = |why: &str| Route::None(why.to_owned());
    let by = |gateway: &str| Route::Gateway(gateway.to_owned());
    for (kind, attributes, expected) in [
        (RouteType::Unicast, vec![oif.clone()], Route::Segment(3)),
        (RouteType::Unicast, vec![], none("its route has no interface")),
        (RouteType::Unicast, vec![oif.clone(), gateway(V4.into())], by("192.0.2.40")),
        (RouteType::Unicast, vec![gateway(V6.into()), oif.clone()], by("2001:db8::40")),
        (RouteType::Unicast, vec![oif.clone(), RouteAttribute::Via(RouteVia::Inet6(V6))], by("2001:db8::40")),
        (RouteType::Local, vec![oif.clone()], none("it is an address of this machine")),
        (RouteType::Broadcast, vec![oif.clone()], none("it is no unicast address on its segment")),
        (RouteType::Unreachable, vec![oif], none("no route to it")),
    ] {
        let mut message = RouteMessage::default();
        message.header.kind = kind;
        message.attributes = attributes;
        assert_eq!(route(&message), expected, "{message:?}");
    }
}
