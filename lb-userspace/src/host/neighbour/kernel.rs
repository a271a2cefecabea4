//! The neighbour machine's words in netlink: requests that carry out its actions, notifications as its inputs.

use std::net::IpAddr;

use futures_util::{StreamExt as _, TryStreamExt as _};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::packet_core::ErrorMessage;

use super::event::{Input, Neighbour, Nud, Route};
use crate::host::links::{self, Error, Link};
use crate::host::stations::Station;

/// All links, neighbours and stations.
pub(super) async fn dump(handle: &rtnetlink::Handle) -> Result<Input, Error> {
    let links = links::dump(handle).await?;
    let neighbours = handle
        .neighbours()
        .get()
        .execute()
        .try_filter_map(async |message| Ok(neighbour(&message)))
        .try_collect()
        .await
        .map_err(|error| Error::request("listing neighbours", error))?;
    let stations = handle
        .neighbours()
        .get()
        .set_address_family(AddressFamily::Bridge)
        .execute()
        .try_filter_map(async |message| Ok(Station::from_message(&message)))
        .try_collect()
        .await;
    // A kernel without bridges has none.
    Ok(Input::Dump(links, neighbours, stations.unwrap_or_default()))
}

/// Every address that the kernel knows the MAC address of.
///
/// # Errors
/// The kernel can't be asked.
pub async fn known() -> Result<Vec<(IpAddr, [u8; 6])>, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Socket)?;
    let connection = tokio::spawn(connection);
    let listed = handle.neighbours().get().execute();
    let known = listed.try_filter_map(async |message| {
        Ok(neighbour(&message).and_then(|neighbour| Some((neighbour.address, neighbour.mac?))))
    });
    let known = known.try_collect().await.map_err(|error| Error::request("listing neighbours", error));
    connection.abort();
    known
}

/// What the machine is told of a notification.
pub(super) fn input(message: RouteNetlinkMessage) -> Option<Input> {
    match message {
        RouteNetlinkMessage::NewLink(message) => Link::from_message(&message).map(Input::Link),
        RouteNetlinkMessage::DelLink(message) => Link::from_message(&message).map(|link| Input::LinkGone(link.index)),
        RouteNetlinkMessage::NewNeighbour(message) => {
            let station = || Station::from_message(&message).map(Input::Station);
            neighbour(&message).map(Input::Neighbour).or_else(station)
        }
        RouteNetlinkMessage::DelNeighbour(message) => {
            let gone = |neighbour: Neighbour| Input::NeighbourGone(neighbour.address, neighbour.ifindex);
            let station = || Station::from_message(&message).map(Input::StationGone);
            neighbour(&message).map(gone).or_else(station)
        }
        RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message) => {
            is_forwarding(&message).then_some(Input::RoutesChanged)
        }
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => Some(Input::RoutesChanged),
        _ => None,
    }
}

/// IPv6 tells of a cloned route per destination; those follow from others.
fn is_forwarding(message: &RouteMessage) -> bool {
    !message.header.flags.contains(RouteFlags::Cloned)
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    // A bridge's forwarding entries come in the same messages.
    if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6)
        || message.header.flags.contains(NeighbourFlags::Proxy)
    {
        return None;
    }
    let nud = match message.header.state {
        NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay => Nud::Usable,
        NeighbourState::Probe => Nud::Probe,
        NeighbourState::Permanent | NeighbourState::Noarp => Nud::Fixed,
        NeighbourState::Incomplete => Nud::Incomplete,
        _ => Nud::Failed,
    };
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = unicast(bytes),
            _ => {}
        }
    }
    let has_mac = !matches!(nud, Nud::Incomplete | Nud::Failed);
    Some(Neighbour { address: address?, ifindex: message.header.ifindex, nud, mac: mac.filter(|_| has_mac) })
}

/// A MAC address that names one station: six bytes, not all zero, without the group bit.
fn unicast(bytes: &[u8]) -> Option<[u8; 6]> {
    let mac: [u8; 6] = bytes.try_into().ok()?;
    let [first, ..] = mac;
    (mac != [0; 6] && first & 1 == 0).then_some(mac)
}

/// Looks the route to an address up, as the kernel would for a packet of its own.
pub(super) async fn look_up(handle: &rtnetlink::Handle, address: IpAddr) -> Result<Route, Error> {
    let mut question = RouteMessage::default();
    (question.header.address_family, question.header.destination_prefix_length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question.attributes.push(RouteAttribute::Destination(address.into()));
    let answer = std::pin::pin!(handle.route().get(question).execute()).next().await;
    match answer {
        Some(Ok(message)) => Ok(route(&message)),
        Some(Err(rtnetlink::Error::NetlinkError(error))) => Ok(Route::None(refusal(&error))),
        Some(Err(error)) => Err(Error::request("looking up a route", error)),
        None => Err(Error::request("looking up a route", rtnetlink::Error::RequestFailed)),
    }
}

fn refusal(error: &ErrorMessage) -> String {
    match Errno::from_raw(error.raw_code().saturating_neg()) {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => "no route to it".to_owned(),
        Errno::EACCES => "its route prohibits it".to_owned(),
        Errno::EINVAL => "its route drops it (blackhole)".to_owned(),
        other => format!("its route can't be looked up: {}", other.desc()),
    }
}

fn route(message: &RouteMessage) -> Route {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local | RouteType::Anycast => {
            return Route::None("it is an address of this machine".to_owned());
        }
        RouteType::Broadcast | RouteType::Multicast => {
            return Route::None("it is no unicast address on its segment".to_owned());
        }
        _ => return Route::None("no route to it".to_owned()),
    }
    let mut interface = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(gateway) => return Route::Gateway(gateway_text(gateway)),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => {
                return Route::Gateway(gateway.to_string());
            }
            RouteAttribute::Via(_) => return Route::Gateway("of another family".to_owned()),
            _ => {}
        }
    }
    interface.map_or_else(|| Route::None("its route has no interface".to_owned()), Route::Segment)
}

fn gateway_text(gateway: &RouteAddress) -> String {
    match gateway {
        RouteAddress::Inet(v4) => v4.to_string(),
        RouteAddress::Inet6(v6) => v6.to_string(),
        _ => "of another family".to_owned(),
    }
}

/// Has the kernel resolve an address, as if it had a packet for it (`NTF_USE`).
pub(super) async fn resolve(handle: &rtnetlink::Handle, address: IpAddr, ifindex: u32) -> Result<(), String> {
    handle
        .neighbours()
        .add(ifindex, address)
        // Not the permanent one that it is by default.
        .state(NeighbourState::None)
        .flags(NeighbourFlags::Use)
        .replace()
        .execute()
        .await
        .map_err(|error| match Errno::from_raw(errno(&error)) {
            Errno::ENOBUFS => {
                let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
                format!("the kernel's neighbour table is full: raise the sysctl net.{family}.neigh.default.gc_thresh3")
            }
            Errno::EPERM => "resolving it needs the capability CAP_NET_ADMIN".to_owned(),
            Errno::UnknownErrno => format!("the kernel does not resolve it: {error}"),
            other => format!("the kernel does not resolve it: {}", other.desc()),
        })
}

/// Has the kernel repeat its request for an entry that it is resolving. `NTF_USE` alone does nothing for such a one, so its state
/// is taken back first; the packets that wait for it stay (as they would not if it were deleted or failed).
pub(super) async fn repeat(handle: &rtnetlink::Handle, address: IpAddr, ifindex: u32) -> Result<(), String> {
    // Refused if the entry is gone; then it is made anew.
    let _ = handle.neighbours().add(ifindex, address).state(NeighbourState::None).replace().execute().await;
    resolve(handle, address, ifindex).await
}

/// Has the kernel probe an entry that has a MAC address (`NUD_PROBE`: unicast requests, and FAILED without an answer).
pub(super) async fn confirm(handle: &rtnetlink::Handle, address: IpAddr, ifindex: u32) -> Result<(), rtnetlink::Error> {
    handle.neighbours().add(ifindex, address).state(NeighbourState::Probe).replace().execute().await
}

fn errno(error: &rtnetlink::Error) -> i32 {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.raw_code().saturating_neg(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
