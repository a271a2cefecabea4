//! What the fuzz target `vrrp_advert` does with one input. The inputs it has kept are replayed as a test.

use std::net::IpAddr;
use std::time::Duration;

use super::protocol::instance::Instance;
use super::protocol::machine::{Event, OWNER, Time};
use super::protocol::settings::Settings;
use super::wire::packet::{Advert, Received, Version};

/// Reads an input as a packet, parses it, writes what was parsed again, and hands it to an instance of its
/// version in each way that an instance can be configured.
///
/// An input is: 4 or 6 for the family, the TTL, source, destination, payload.
///
/// # Panics
/// When a promise of the codec or of the machine is broken.
#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
pub fn exercise(input: &[u8]) {
    let Some(received) = read(input) else {
        return;
    };
    let parsed = Advert::parse(&received);
    if let Ok(advert) = &parsed {
        let written = advert.emit(received.source, received.destination);
        let again = written.as_ref().map(|payload| Advert::parse(&Received { payload, ..received }));
        if again != Ok(parsed.clone()) {
            panic!("{advert:?} was written as {written:?} and read again as {again:?}");
        }
    }
    for mut instance in instances(received.source.is_ipv6()) {
        let deadline = instance.machine().deadline();
        let mut actions = Vec::new();
        let verdict = instance.receive(Duration::from_millis(1), &received, &mut actions);
        let moved = instance.machine().deadline() != deadline || !actions.is_empty();
        if verdict.is_err() && moved || verdict.is_ok() && parsed.is_err() {
            panic!("{verdict:?} for {parsed:?}, moved: {moved}");
        }
    }
}

/// An input that [`exercise`] reads as this packet.
pub fn input(received: &Received<'_>) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut input = vec![if received.source.is_ipv4() { 4 } else { 6 }, received.ttl];
    input.extend(octets(received.source));
    input.extend(octets(received.destination));
    input.extend(received.payload);
    input
}

fn read(input: &[u8]) -> Option<Received<'_>> {
    let (&[family, ttl], rest) = input.split_first_chunk::<2>()?;
    let (source, destination, payload) = if family == 6 {
        let (&source, rest) = rest.split_first_chunk::<16>()?;
        let (&destination, payload) = rest.split_first_chunk::<16>()?;
        (IpAddr::from(source), IpAddr::from(destination), payload)
    } else {
        let (&source, rest) = rest.split_first_chunk::<4>()?;
        let (&destination, payload) = rest.split_first_chunk::<4>()?;
        (IpAddr::from(source), IpAddr::from(destination), payload)
    };
    Some(Received { source, destination, ttl, payload })
}

fn instances(ipv6: bool) -> impl Iterator<Item = Instance> {
    let configured = move |version| {
        let address = if ipv6 { "fd77::100/64" } else { "10.77.0.100/24" };
        let addresses = address.parse().into_iter().collect();
        let mut settings = Settings::new("fuzz", "eth0", 51, version, addresses);
        if version == Version::V2 {
            settings.password = Some("s3cret77".into());
        }
        let own = if ipv6 { IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]) } else { [10, 77, 0, 12].into() };
        Instance::new(settings, own, Time::ZERO).ok()
    };
    let started = |(mut instance, is_master): (Instance, bool)| {
        let priority = instance.machine().priority();
        for event in [
            Event::Priority(if is_master { OWNER } else { priority }),
            Event::Start { holds_addresses: false },
            Event::Priority(priority),
        ] {
            instance.handle(Time::ZERO, event, &mut Vec::new());
        }
        instance
    };
    [(Version::V2, true), (Version::V2, false), (Version::V3, true), (Version::V3, false)]
        .into_iter()
        .filter_map(move |(version, is_master)| Some((configured(version)?, is_master)))
        .map(started)
}
