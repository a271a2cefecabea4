//! Round trips, and what is refused on either way.

use proptest::prelude::*;

use super::*;

fn v4() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 4]>().prop_map(IpAddr::from)
}

fn v6() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 16]>().prop_map(IpAddr::from)
}

fn v2_body() -> impl Strategy<Value = Body> {
    let authentication = prop_oneof![Just(Authentication::None), any::<[u8; 8]>().prop_map(Authentication::Password)];
    (1u8.., authentication).prop_map(|(seconds, authentication)| Body::V2 { seconds, authentication })
}

fn v3_body() -> impl Strategy<Value = Body> {
    (1u16..=4095, prop_oneof![Just(Form::Plain), Just(Form::PseudoHeader)])
        .prop_map(|(centiseconds, checksum)| Body::V3 { centiseconds, checksum })
}

/// An advert with a source and a destination of its family.
fn adverts() -> impl Strategy<Value = (Advert, IpAddr, IpAddr)> {
    let over_v4 = (prop_oneof![v2_body(), v3_body()], prop::collection::vec(v4(), 1..=255), v4(), v4());
    let over_v6 = (v3_body(), prop::collection::vec(v6(), 1..=255), v6(), v6());
    (1u8.., any::<u8>(), prop_oneof![over_v4, over_v6]).prop_map(
        |(router, priority, (body, addresses, source, destination))| {
            (Advert { router, priority, body, addresses }, source, destination)
        },
    )
}

/// Whether the two forms of the checksum can be told apart, or are so by rule.
fn as_heard(mut advert: Advert, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Advert {
    if let Body::V3 { checksum, .. } = &mut advert.body
        && checksum::with_pseudo_header(source, destination, PROTOCOL, payload) == 0
    {
        *checksum = Form::PseudoHeader;
    }
    advert
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_back((advert, source, destination) in adverts()) {
        let payload = advert.emit(source, destination).unwrap();
        let received = Received { source, destination, ttl: TTL, payload: &payload };
        let heard = Advert::parse(&received).unwrap();
        prop_assert_eq!(heard, as_heard(advert, source, destination, &payload));
    }

    #[test]
    fn what_is_parsed_is_emitted_to_the_same_bytes(
        (advert, source, destination) in adverts(),
        position in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut payload = advert.emit(source, destination).unwrap();
        *position.get_mut(&mut payload) ^= flip;
        let received = Received { source, destination, ttl: TTL, payload: &payload };
        // One changed byte is either seen or is in what a receiver ignores.
        if let Ok(heard) = Advert::parse(&received) {
            let again = heard.emit(source, destination).unwrap();
            prop_assert_eq!(again.len(), payload.len());
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        source in prop_oneof![v4(), v6()],
        destination in prop_oneof![v4(), v6()],
        ttl: u8,
    ) {
        let _ = Advert::parse(&Received { source, destination, ttl, payload: &payload });
    }

    #[test]
    fn a_message_cut_anywhere_is_refused((advert, source, destination) in adverts()) {
        let payload = advert.emit(source, destination).unwrap();
        for end in 0..payload.len() {
            let payload = &payload[..end];
            let received = Received { source, destination, ttl: TTL, payload };
            prop_assert_eq!(Advert::parse(&received), Err(Refusal::Length));
        }
    }
}

#[test]
fn what_the_wire_has_no_room_for_is_not_emitted() {
    let a4: IpAddr = "192.0.2.1".parse().unwrap();
    let a6: IpAddr = "2001:db8::1".parse().unwrap();
    let v2 = |seconds| Body::V2 { seconds, authentication: Authentication::None };
    let v3 = |centiseconds| Body::V3 { centiseconds, checksum: Form::PseudoHeader };
    let emit =
        |body, addresses, from, to| Advert { router: 1, priority: 1, body, addresses }.emit(from, to).unwrap_err();
    assert_eq!(emit(v2(1), vec![], a4, a4), Unsendable::Count(0));
    assert_eq!(emit(v2(1), vec![a4; 256], a4, a4), Unsendable::Count(256));
    assert_eq!(emit(v3(1), vec![a4], a6, a6), Unsendable::Family);
    assert_eq!(emit(v3(1), vec![a4], a4, a6), Unsendable::Family);
    assert_eq!(emit(v2(1), vec![a6], a6, a6), Unsendable::Version);
    assert_eq!(emit(v2(0), vec![a4], a4, a4), Unsendable::Interval);
    assert_eq!(emit(v3(0), vec![a4], a4, a4), Unsendable::Interval);
    assert_eq!(emit(v3(4096), vec![a4], a4, a4), Unsendable::Interval);
}
