//! Fragments: the first goes as its flow goes, the others go where it went.

use lb_common::Verdict;
use lb_common::header::protocol;
use lb_common::maps::{Real, Service, mapped};
use lb_tests::fixture::{RealSpec, ServiceSpec, desired};
use lb_tests::frame::{ip4, ip6, udp4, udp6};
use lb_tests::scenario::{Fixture, to, untouched};
use lb_tests::shape::Extra::{self, Destination, Fragment, HopByHop};
use lb_tests::shape::Shape;
use lb_userspace::dataplane::Desired;

use crate::world::{
    CLIENT, CLIENT6, DNS, DNS6, TAG, TCP, UDP, VIP, VIP6, WEB, WEB6, ack, lab, question, question6, reals, service,
    syn, syn6, with_real,
};

pub(crate) fn fixtures() -> Vec<Fixture> {
    [ipv4(), ipv6(), told_apart(), remembered(), passed()].into_iter().flatten().collect()
}

fn dropped() -> lb_tests::scenario::Expect {
    untouched(Verdict::VipFragment)
}

/// A part of a datagram from this port, in a packet of this id.
fn part(port: u16, id: u8, offset: u16, more: bool) -> Vec<u8> {
    udp4(CLIENT, port, VIP, 53).with_ip_byte(5, id).fragment(offset, more)
}

fn first(port: u16, id: u8) -> Vec<u8> {
    part(port, id, 0, true)
}

/// It has no ports: what stands there is the datagram's.
fn later(id: u8) -> Vec<u8> {
    part(0xffff, id, 185, true)
}

fn last(id: u8) -> Vec<u8> {
    part(0xffff, id, 370, false)
}

fn part6(id: u8, extra: Extra) -> Vec<u8> {
    question6().with_extras(&[extra]).with_transport_byte(7, id)
}

fn ipv4() -> Vec<Fixture> {
    vec![
        Fixture::new("a datagram's fragments follow their first", lab())
            .send(first(40000, 1), to(DNS))
            .send(later(1), to(DNS))
            .send(last(1), to(DNS)),
        Fixture::new("fragments follow in any order, and more than once", lab())
            .send(first(40000, 1), to(DNS))
            .send(last(1), to(DNS))
            .send(later(1), to(DNS))
            .send(later(1), to(DNS))
            .send(part(0xffff, 1, 0x1fff, false), to(DNS)),
        Fixture::new("a fragment that comes before its first is dropped", lab())
            .send(later(1), dropped())
            .send(first(40000, 1), to(DNS))
            .send(later(1), to(DNS)),
        Fixture::new("a segment's fragments follow their first, which may open a connection", lab())
            .send(syn().fragment(0, true), to(WEB).opening())
            .send(ack().fragment(185, false), to(WEB)),
        Fixture::new("a first fragment that hasn't the whole header with the ports is dropped", lab())
            .send(syn().with_ip_byte(3, 20 + 16).fragment(0, true), dropped())
            .send(question().with_ip_byte(3, 20).fragment(0, true), dropped())
            .send(ack().fragment(2, false), dropped()),
        Fixture::new("a first fragment has options and tags", lab())
            .send(first(40000, 1).with_options(10), to(DNS))
            .send(later(1), to(DNS))
            .send(first(40000, 2).tagged(TAG, 5), to(DNS))
            .send(later(2).tagged(TAG, 5), to(DNS)),
    ]
}

fn ipv6() -> Vec<Fixture> {
    let behind = |extras: &[Extra]| question6().with_extras(extras);
    vec![
        Fixture::new("an IPv6 datagram's fragments follow their first", lab())
            .send(part6(1, Fragment(181, true)), dropped())
            .send(part6(1, Fragment(0, true)), to(DNS6))
            .send(part6(1, Fragment(362, false)), to(DNS6))
            .send(part6(1, Fragment(181, true)), to(DNS6))
            .send(part6(2, Fragment(181, true)), dropped()),
        Fixture::new("an IPv6 segment's fragments follow their first, which may open a connection", lab())
            .send(syn6().with_extras(&[Fragment(0, true)]), to(WEB6).opening())
            .send(syn6().with_extras(&[Fragment(181, false)]), to(WEB6)),
        Fixture::new("a fragment header behind hop-by-hop options", lab())
            .send(behind(&[HopByHop(0), Fragment(0, true)]), to(DNS6))
            .send(behind(&[HopByHop(0), Fragment(181, false)]), to(DNS6)),
        Fixture::new("destination options behind the fragment header belong to the first fragment", lab())
            .send(behind(&[Fragment(181, false), Destination(0)]), dropped())
            .send(behind(&[Fragment(0, true), Destination(2)]), to(DNS6))
            .send(behind(&[Fragment(181, false), Destination(0)]), to(DNS6)),
        Fixture::new("a first fragment in which the headers don't end is dropped", lab())
            .send(behind(&[Fragment(0, true), Destination(0)]).with_ip_byte(5, 16), dropped())
            .send(behind(&[Fragment(0, true), Destination(31)]).with_ip_byte(5, 16).cut(14 + 40 + 16), dropped())
            .send(syn6().with_extras(&[Fragment(0, true)]).with_ip_byte(5, 24), dropped()),
    ]
}

/// Two reals whose sessions take turns.
fn pair(flags: u16) -> Desired {
    let to = |address| ServiceSpec { flags, ..service(address, 53, UDP, &reals([40, 41])) };
    desired(&[to(mapped(VIP)), to(VIP6)])
}

fn told_apart() -> Vec<Fixture> {
    let sessions = || pair(Service::TRACKED);
    let questions = || pair(Service::TRACKED | Service::QUERY);
    let from = |client, offset, more| udp4([10, 0, 0, client], 2000, VIP, 53).with_ip_byte(5, 9).fragment(offset, more);
    vec![
        Fixture::new("fragments of two packets are told apart by their id", sessions())
            .send(first(2000, 1), to(1).opening())
            .send(first(2001, 2), to(2).opening())
            .send(later(2), to(2))
            .send(later(1), to(1))
            .send(last(2), to(2))
            .send(last(1), to(1)),
        Fixture::new("fragments of two packets are told apart by their clients", sessions())
            .send(from(1, 0, true), to(1).opening())
            .send(from(2, 0, true), to(2).opening())
            .send(from(1, 185, false), to(1))
            .send(from(2, 185, false), to(2))
            .send(from(3, 185, false), dropped()),
        Fixture::new("fragments of two packets are told apart by their protocol", lab())
            .send(question().with_ip_byte(5, 1).fragment(0, true), to(DNS))
            .send(ack().with_ip_byte(5, 1).fragment(185, true), dropped())
            .send(ack().with_ip_byte(5, 1).fragment(0, true), to(WEB))
            .send(ack().with_ip_byte(5, 1).fragment(185, true), to(WEB))
            .send(question().with_ip_byte(5, 1).fragment(185, true), to(DNS)),
        Fixture::new("a first fragment that comes twice changes nothing", sessions())
            .send(first(2000, 1), to(1).opening())
            .send(first(2000, 1), to(1))
            .send(later(1), to(1)),
        Fixture::new("a question's first fragment that comes twice takes one turn", questions())
            .send(first(2000, 1), to(1).opening())
            .send(first(2000, 1), to(1))
            .send(later(1), to(1))
            .send(first(2000, 2), to(2).opening())
            .send(later(2), to(2))
            .send(later(1), to(1)),
        Fixture::new("an id that is used again is another packet's", sessions())
            .send(first(2000, 1), to(1).opening())
            .send(first(2001, 1), to(2).opening())
            .send(later(1), to(2)),
    ]
}

fn remembered() -> Vec<Fixture> {
    let dead = with_real(lab(), DNS, |real| real.flags = Real::IN_USE);
    let alone = || service(mapped(VIP), 53, UDP, &reals([41]));
    vec![
        Fixture::new("a first fragment is remembered for half a minute", lab())
            .send(first(40000, 1), to(DNS))
            .send(part6(1, Fragment(0, true)), to(DNS6))
            .age(25)
            .send(later(1), to(DNS))
            .send(part6(1, Fragment(181, true)), to(DNS6))
            .age(10)
            .send(later(1), dropped())
            .send(part6(1, Fragment(181, true)), dropped()),
        Fixture::new("a first fragment that another CPU saw later than now is remembered", lab())
            .send(first(40000, 1), to(DNS))
            .seen_ahead(2)
            .send(later(1), to(DNS)),
        Fixture::new("the fragments of a real that died are dropped", lab())
            .send(first(40000, 1), to(DNS))
            .apply(dead)
            .send(later(1), untouched(Verdict::NoReal)),
        Fixture::new("a service that gets other reals takes no fragments of before", desired(&[alone()]))
            .send(first(40000, 1), to(1))
            .send(later(1), to(1))
            .apply(desired(&[service(mapped(VIP), 80, TCP, &reals([60])), alone()]))
            .send(later(1), dropped()),
    ]
}

/// What isn't forwarded isn't in part.
fn passed() -> Vec<Fixture> {
    let other = || untouched(Verdict::Fragment);
    let web_alone = || desired(&[service(mapped(VIP), 80, TCP, &reals([40]))]);
    let ping = |offset, more| ip4(CLIENT, VIP, protocol::ICMP, &[8, 0, 0, 0, 0, 0, 0, 0]).fragment(offset, more);
    let ping6 = ip6(CLIENT6, VIP6, protocol::ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 0]);
    let to_host = |offset, more| udp4(CLIENT, 40000, [172, 28, 128, 2], 53).fragment(offset, more);
    let mut host6 = VIP6;
    host6[15] = 0xd3;
    let to_host6 = |extra| udp6(CLIENT6, 40000, host6, 53).with_extras(&[extra]);
    let to_port = |offset, more| udp4(CLIENT, 40000, VIP, 5353).fragment(offset, more);
    let mut gated = lab();
    gated.services.values_mut().for_each(|service| service.gate = 7);
    let down = desired(&[service(mapped(VIP), 53, UDP, &[RealSpec { usable: false, ..RealSpec::new(41) }])]);
    let sent_on = |frame: Vec<u8>| frame.sent_by(RealSpec::new(41).mac);
    vec![
        Fixture::new("fragments for another address pass", lab())
            .send(to_host(0, true), other())
            .send(to_host(185, false), other())
            .send(to_host6(Fragment(0, true)), other())
            .send(to_host6(Fragment(181, false)), other()),
        Fixture::new("fragments of a ping of the VIP pass: its director answers", lab())
            .send(ping(0, true), other())
            .send(ping(185, false), other())
            .send(ping6.clone().with_extras(&[Fragment(0, true)]), other())
            .send(ping6.with_extras(&[Fragment(181, false)]), other()),
        Fixture::new("fragments of a protocol that the VIP has no service of pass", web_alone())
            .send(question().fragment(0, true), other())
            .send(question().fragment(185, false), other())
            .send(ack().fragment(185, false), dropped()),
        Fixture::new("a VIP's fragments pass when its last service goes", web_alone())
            .send(ack().fragment(185, false), dropped())
            .apply(desired(&[]))
            .send(ack().fragment(185, false), other()),
        Fixture::new("all of a datagram for a port of nobody's passes", lab())
            .send(to_port(185, false), dropped())
            .send(to_port(0, true), untouched(Verdict::NotService))
            .send(to_port(185, false), untouched(Verdict::NotService)),
        Fixture::new("a backup whose gate is closed leaves the VIP's fragments alone", gated)
            .gate(7, true)
            .send(first(40000, 1), untouched(Verdict::Standby))
            .send(later(1), untouched(Verdict::Standby))
            .gate(7, false)
            .send(later(1), dropped())
            .send(first(40000, 1), to(DNS))
            .send(later(1), to(DNS)),
        Fixture::new("fragments that another director sent on go no further", lab())
            .send(sent_on(first(40000, 1)), untouched(Verdict::Returned))
            .send(sent_on(later(1)), untouched(Verdict::Returned)),
        Fixture::new("without a usable real all of a datagram is for the director's own stack", down)
            .send(first(40000, 1), untouched(Verdict::Refused))
            .send(later(1), untouched(Verdict::Refused)),
    ]
}
