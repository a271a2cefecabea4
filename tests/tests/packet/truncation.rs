//! Frames that end anywhere in their headers.

use lb_common::Verdict;
use lb_tests::host::Host;
use lb_tests::scenario::{Fixture, SIZES, untouched};
use lb_tests::shape::Extra::{Destination, Fragment, HopByHop, Routing};
use lb_tests::shape::Shape;
use lb_tests::side::Side;

use crate::world::{SERVICE_TAG, TAG, ack, lab, question, question6, syn6};

/// The shortest frame that the kernel takes: an Ethernet header.
const SHORTEST: usize = 14;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// A kind of frame, an example, and the length of its headers.
fn kinds() -> Vec<(&'static str, Vec<u8>, usize)> {
    let extras = [HopByHop(0), Routing(2), Fragment(0, false), Destination(1)];
    let chain = 8 + 24 + 8 + 16;
    let kind = |name, frame: Vec<u8>, headers| (name, frame, headers);
    vec![
        kind("an IPv4 segment cut anywhere in its headers passes", ack(), 14 + 20 + TCP_HEADER),
        kind("an IPv4 datagram cut anywhere in its headers passes", question(), 14 + 20 + UDP_HEADER),
        kind("a segment with options cut anywhere passes", ack().with_options(10), 14 + 60 + TCP_HEADER),
        kind("an IPv6 segment cut anywhere in its headers passes", syn6(), 14 + 40 + TCP_HEADER),
        kind("an IPv6 datagram cut anywhere in its headers passes", question6(), 14 + 40 + UDP_HEADER),
        kind(
            "an IPv6 segment cut anywhere in its extension headers passes",
            syn6().with_extras(&extras),
            14 + 40 + chain + TCP_HEADER,
        ),
        kind("a tagged segment cut anywhere passes", ack().tagged(TAG, 5), 18 + 20 + TCP_HEADER),
        kind(
            "a datagram with two tags cut anywhere passes",
            question().tagged(TAG, 5).tagged(SERVICE_TAG, 6),
            22 + 20 + UDP_HEADER,
        ),
    ]
}

pub(crate) fn fixtures() -> Vec<Fixture> {
    let cuts = |frame: &Vec<u8>, headers| {
        let frame = frame.clone();
        (SHORTEST..headers).map(move |length| (frame.clone().cut(length), untouched(Verdict::Truncated)))
    };
    kinds()
        .into_iter()
        .map(|(name, frame, headers)| Fixture::new(name, lab()).send_all(cuts(&frame, headers)))
        .collect()
}

#[test]
fn frames_shorter_than_the_kernel_takes_are_truncated() {
    let mut host = Host::new(SIZES).unwrap();
    host.apply(&lab()).unwrap();
    for length in 0..SHORTEST {
        let frame = ack().cut(length);
        assert_eq!(host.balance(&frame).unwrap(), (Verdict::Truncated, frame));
    }
}

#[test]
fn headers_are_all_that_a_frame_needs() {
    let mut host = Host::new(SIZES).unwrap();
    host.apply(&lab()).unwrap();
    for (name, frame, headers) in kinds() {
        let (verdict, _) = host.balance(&frame.cut(headers)).unwrap();
        assert_eq!(verdict, Verdict::Forwarded, "{name}");
    }
}
