//! One configured virtual router: what it takes from the wire, its state machine and its counters. Still
//! without a socket or a clock.

use std::net::IpAddr;

use super::machine::{Action, Event, Heard, Machine, State, Time};
use super::settings::{self, Settings};
use super::status::{Counters, Mismatch, Refused, Status};
use crate::vrrp::wire::accept::Acceptance;
use crate::vrrp::wire::packet::{Advert, Body, GROUP_V4, GROUP_V6, Received, Unsendable};
use crate::vrrp::wire::refusal::Refusal;

/// A virtual router at work.
#[derive(Debug)]
pub struct Instance {
    settings: Settings,
    template: Advert,
    acceptance: Acceptance,
    machine: Machine,
    counters: Counters,
    own: IpAddr,
}

impl Instance {
    /// An instance in [`State::Initialize`] that sends from `own`.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: Settings, own: IpAddr, now: Time) -> Result<Self, settings::Error> {
        Ok(Self {
            template: settings.advert(settings.priority)?,
            acceptance: settings.acceptance()?,
            machine: Machine::new(settings.machine(own), now),
            counters: Counters::default(),
            own,
            settings,
        })
    }

    /// Takes changed settings or another own address without leaving its state. Another version, interface,
    /// router id or family needs a new instance.
    ///
    /// # Errors
    /// What is wrong with the settings; the instance is as it was.
    pub fn reconfigure(&mut self, settings: Settings, own: IpAddr) -> Result<(), settings::Error> {
        self.template = settings.advert(settings.priority)?;
        self.acceptance = settings.acceptance()?;
        self.machine.reconfigure(settings.machine(own));
        self.own = own;
        self.settings = settings;
        Ok(())
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its state machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The address that it sends from.
    pub fn own(&self) -> IpAddr {
        self.own
    }

    /// Its VIPs in their order on the wire.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.template.addresses
    }

    /// Its counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Its counters, for whoever sends its adverts.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Takes a packet from the wire. A refused one is counted and changes nothing else.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn receive(&mut self, now: Time, received: &Received<'_>, actions: &mut Vec<Action>) -> Result<(), Refusal> {
        let advert = self.acceptance.accept(received, self.own).inspect_err(|&refusal| {
            self.counters.refused.count(refusal);
            self.counters.last_refused = Some(Refused { source: received.source, reason: refusal });
        })?;
        self.counters.received += 1;
        if let Body::V3 { checksum, .. } = advert.body
            && received.source.is_ipv4()
        {
            self.counters.count_form(received.source, checksum);
        }
        self.counters.mismatch = None;
        if !self.acceptance.has_same_addresses(&advert) {
            self.counters.mismatched += 1;
            self.counters.mismatch = Some(Mismatch { source: received.source, addresses: advert.addresses.clone() });
        }
        let heard = Heard { source: received.source, priority: advert.priority, interval: advert.interval() };
        self.handle(now, Event::Advert(heard), actions);
        Ok(())
    }

    /// Hands an event to the state machine.
    pub fn handle(&mut self, now: Time, event: Event, actions: &mut Vec<Action>) {
        let before = self.machine.state();
        self.machine.handle(now, event, actions);
        if self.machine.state() == State::Master && before != State::Master {
            self.counters.elections += 1;
        }
    }

    /// See [`Machine::defer_preemption`].
    pub fn defer_preemption(&mut self, now: Time, until: Option<Time>) {
        self.machine.defer_preemption(now, until);
    }

    /// The adverts of this priority: where each one goes and its bytes.
    ///
    /// # Errors
    /// When the own address or a peer is of another family than the VIPs.
    pub fn adverts(&mut self, priority: u8) -> Result<Vec<(IpAddr, Vec<u8>)>, Unsendable> {
        self.template.priority = priority;
        let group = match self.own {
            IpAddr::V4(_) => GROUP_V4.into(),
            IpAddr::V6(_) => GROUP_V6.into(),
        };
        let destinations = match &self.settings.peers[..] {
            [] => std::slice::from_ref(&group),
            peers => peers,
        };
        destinations.iter().map(|&to| Ok((to, self.template.emit(self.own, to)?))).collect()
    }

    /// What is to be seen of it.
    pub fn status(&self, now: Time) -> Status {
        Status {
            addresses: self.template.addresses.clone(),
            state: self.machine.state(),
            cause: self.machine.cause(),
            age: now.saturating_sub(self.machine.since()),
            master: self.machine.master(),
            priority: self.machine.priority(),
            yielded: self.machine.yielded(),
            counters: self.counters.clone(),
            ..Status::waiting(&self.settings)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::vrrp::protocol::machine::OWNER;
    use crate::vrrp::wire::checksum::Form;
    use crate::vrrp::wire::packet::{Authentication, TTL, Version};

    const OWN: [u8; 4] = [10, 77, 0, 12];

    fn instance(version: Version, state: State) -> Instance {
        let addresses = vec!["10.77.0.100/24".parse().unwrap()];
        let mut settings = Settings::new("web", "eth0", 51, version, addresses);
        if version == Version::V2 {
            settings.password = Some("s3cret77".into());
        }
        let mut instance = Instance::new(settings, OWN.into(), Time::ZERO).unwrap();
        let start = Event::Start { holds_addresses: false };
        // The owner alone is master at once.
        let master = [Event::Priority(OWNER), start, Event::Priority(100)];
        let events: &[Event] = match state {
            State::Initialize => &[],
            State::Backup => &[start],
            State::Master => &master,
            State::Releasing => &[&master[..], &[Event::Release]].concat(),
        };
        for &event in events {
            instance.handle(Time::ZERO, event, &mut Vec::new());
        }
        assert_eq!(instance.machine().state(), state);
        instance
    }

    /// Packets that are wrong in one thing.
    fn wrong(version: Version) -> impl Strategy<Value = (Vec<u8>, u8, IpAddr)> {
        (2u8..9, any::<u8>(), any::<prop::sample::Index>(), 1u8..).prop_map(move |(what, priority, position, flip)| {
            let mut advert = instance(version, State::Backup).template;
            advert.priority = priority;
            let (mut source, mut ttl) = (IpAddr::from([10, 77, 0, 9]), TTL);
            match (what, &mut advert.body) {
                (2, _) => advert.router = 52,
                (3, _) => ttl = 254,
                (4, _) => source = OWN.into(),
                (5, Body::V2 { authentication, .. }) => *authentication = Authentication::None,
                (6, Body::V2 { authentication, .. }) => {
                    *authentication = Authentication::Password(*b"stranger");
                }
                (7, Body::V2 { seconds, .. }) => *seconds = 2,
                (8, _) => {}
                (_, Body::V3 { .. } | Body::V2 { .. }) => advert.router = 1,
            }
            let mut payload = advert.emit(source, GROUP_V4.into()).unwrap();
            if what == 8 {
                *position.get_mut(&mut payload) ^= flip;
            }
            (payload, ttl, source)
        })
    }

    proptest! {
        #[test]
        fn no_refused_packet_moves_any_timer(
            (version, packets) in prop_oneof![Just(Version::V2), Just(Version::V3)]
                .prop_flat_map(|version| (Just(version), prop::collection::vec(wrong(version), 1..20))),
            state in prop_oneof![Just(State::Initialize), Just(State::Backup), Just(State::Master), Just(State::Releasing)],
        ) {
            let mut instance = instance(version, state);
            let deadline = instance.machine().deadline();
            let mut actions = Vec::new();
            for (index, (payload, ttl, source)) in packets.iter().enumerate() {
                let now = Duration::from_millis(index as u64);
                let received = Received { source: *source, destination: GROUP_V4.into(), ttl: *ttl, payload };
                // A flipped reserved bit of version 3 is rightly ignored.
                prop_assume!(instance.receive(now, &received, &mut actions).is_err());
            }
            prop_assert_eq!(instance.machine().state(), state);
            prop_assert_eq!(instance.machine().deadline(), deadline);
            prop_assert!(actions.is_empty());
            prop_assert_eq!(instance.counters.refused.total(), packets.len() as u64);
            prop_assert_eq!(instance.counters.received, 0);
        }
    }

    #[test]
    fn an_advert_with_other_addresses_keeps_a_backup_quiet_and_is_told() {
        let mut hearer = instance(Version::V3, State::Backup);
        let source: IpAddr = [10, 77, 0, 9].into();
        let others: Vec<IpAddr> = vec![[10, 77, 0, 100].into(), [10, 77, 0, 101].into()];
        let mut hear = |addresses: &[IpAddr]| {
            let mut advert = instance(Version::V3, State::Backup).template;
            (advert.priority, advert.addresses) = (200, addresses.to_vec());
            let payload = advert.emit(source, GROUP_V4.into()).unwrap();
            let received = Received { source, destination: GROUP_V4.into(), ttl: TTL, payload: &payload };
            hearer.receive(Duration::from_secs(1), &received, &mut Vec::new()).unwrap();
            (hearer.machine().master(), hearer.counters().mismatched, hearer.counters().mismatch.clone())
        };
        assert_eq!(hear(&others), (Some(source), 1, Some(Mismatch { source, addresses: others.clone() })));
        assert_eq!(hear(&others[..1]), (Some(source), 1, None));
    }

    #[test]
    fn two_instances_understand_each_other_by_multicast_and_by_unicast() {
        for peers in [vec![], vec![IpAddr::from([10, 77, 0, 12])]] {
            let mut sender = instance(Version::V3, State::Master);
            let settings = Settings { peers: peers.clone(), ..sender.settings.clone() };
            let from: IpAddr = [10, 77, 0, 11].into();
            sender.reconfigure(settings, from).unwrap();
            let mut hearer = instance(Version::V3, State::Backup);
            for (destination, payload) in sender.adverts(200).unwrap() {
                let expected = peers.first().copied().unwrap_or(GROUP_V4.into());
                assert_eq!(destination, expected);
                let received = Received { source: from, destination, ttl: TTL, payload: &payload };
                hearer.receive(Time::ZERO, &received, &mut Vec::new()).unwrap();
            }
            let status = hearer.status(Duration::from_secs(1));
            assert_eq!((status.master, status.counters.received), (Some(from), 1));
            assert_eq!(status.counters.with_pseudo_header, 1);
            assert_eq!(status.counters.forms[&from], Form::PseudoHeader);
        }
    }
}
