//! What a peer tells, held against what it may tell.

use std::collections::HashSet;
use std::net::IpAddr;

use super::{Fault, Time, Traffic};
use crate::peers::differences::{Differences, Theirs};
use crate::peers::ours::Ours;
use crate::peers::state::{Flow, Member, ServiceId, Slot, Told};
use crate::peers::wire::flow::Entry;
use crate::peers::wire::{Counts, Message, Service, Slots, flow::Records};

/// Reals of a service at most, as `limits.reals` has it.
const MOST_MEMBERS: usize = 65535;
/// Slots of a ring at most: the largest `ring_size` is a prime below it.
const MOST_SLOTS: u32 = 1 << 20;

/// The peer's own numbers, and how much it has told.
#[derive(Default)]
pub struct Incoming {
    /// Services by their numbers.
    services: Vec<Option<Named>>,
    /// The same, by their names.
    named: HashSet<ServiceId>,
    bulk: Bulk,
    /// A list of members whose end is still to come.
    members: Option<(Vec<u16>, Vec<Member>)>,
    /// Its slots mean here what they mean there.
    pub same_rings: bool,
    pub traffic: Traffic,
}

/// A service that the peer has named.
#[derive(Clone, Copy)]
struct Named {
    id: ServiceId,
    /// It serves it, as it told last: what it says of another's means nothing.
    serving: bool,
}

#[derive(Default)]
enum Bulk {
    #[default]
    Waiting,
    /// With what was told so far.
    Begun(Counts),
    Whole,
}

impl Incoming {
    /// The peer has told everything.
    pub fn is_whole(&self) -> bool {
        matches!(self.bulk, Bulk::Whole)
    }

    /// Takes one message, and adds what it told.
    pub fn take(
        &mut self,
        now: Time,
        message: Message,
        ours: &Ours,
        differences: &mut Differences,
        told: &mut Vec<Told>,
    ) -> Result<(), Fault> {
        match (&self.bulk, &message) {
            (Bulk::Waiting, Message::Begin) => {
                self.bulk = Bulk::Begun(Counts::default());
                return Ok(());
            }
            (Bulk::Waiting, _) => return Err(Fault::Lie("something before its bulk")),
            (_, Message::Begin) => return Err(Fault::Lie("a second bulk")),
            _ => {}
        }
        match message {
            Message::Services(services) => self.offers(now, &services, ours, differences, told),
            Message::Gone(number) => {
                let service = self.services.get_mut(usize::from(number)).and_then(Option::take);
                let service = service.ok_or(Fault::Lie("the end of a service that it never named"))?.id;
                self.named.remove(&service);
                differences.learn(now, service, None, ours);
                told.push(Told::Gone(service));
                Ok(())
            }
            Message::Members { services, more, members } => self.list(services, more, members, told),
            Message::Slots(slots) => self.words(&slots, told),
            Message::Flows(records) => self.flows(&records, told),
            Message::End(counts) => {
                match self.bulk {
                    Bulk::Begun(own) if own == counts && self.members.is_none() => {}
                    _ => return Err(Fault::Lie("other numbers than it told")),
                }
                self.bulk = Bulk::Whole;
                differences.whole(now, ours);
                told.push(Told::Whole);
                Ok(())
            }
            Message::Ask(number) => {
                told.push(Told::Asked(number));
                Ok(())
            }
            Message::Answer(number) => {
                told.push(Told::Answered(number));
                Ok(())
            }
            Message::Begin | Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    fn offers(
        &mut self,
        now: Time,
        services: &[Service],
        ours: &Ours,
        differences: &mut Differences,
        told: &mut Vec<Told>,
    ) -> Result<(), Fault> {
        self.count(|counts| counts.services += services.len() as u64);
        for offer in services {
            let service = offer.id().ok_or(Fault::Lie("a service of an unknown protocol"))?;
            let place = usize::from(offer.number);
            if place >= self.services.len() {
                self.services.resize(place + 1, None);
            }
            let Some(held) = self.services.get_mut(place) else { continue };
            match held {
                Some(held) if held.id != service => return Err(Fault::Lie("a number for two services")),
                Some(_) => {}
                None if !self.named.insert(service) => return Err(Fault::Lie("two numbers for a service")),
                None => {}
            }
            *held = Some(Named { id: service, serving: offer.serving });
            differences.learn(now, service, Some(Theirs { kind: offer.kind, digest: offer.digest }), ours);
            told.push(Told::Service { service, kind: offer.kind, serving: offer.serving });
        }
        Ok(())
    }

    fn list(&mut self, numbers: Vec<u16>, more: bool, part: Vec<Member>, told: &mut Vec<Told>) -> Result<(), Fault> {
        let services = self.services(&numbers, part.iter().map(|member| &member.real))?;
        let members = match self.members.take() {
            None => part,
            Some((begun, mut members)) if begun == numbers => {
                members.extend(part);
                members
            }
            Some(_) => return Err(Fault::Lie("a list of reals without its end")),
        };
        if members.len() > MOST_MEMBERS {
            return Err(Fault::Lie("more than 65535 reals"));
        }
        if more {
            self.members = Some((numbers, members));
            return Ok(());
        }
        self.count(|counts| counts.members += 1);
        told.push(Told::Members(services, members));
        Ok(())
    }

    fn words(&mut self, slots: &Slots, told: &mut Vec<Told>) -> Result<(), Fault> {
        let services = self.services(&slots.services, slots.reals.iter())?;
        if slots.ring_size == 0 || slots.ring_size > MOST_SLOTS {
            return Err(Fault::Lie("a ring of a size that there isn't"));
        }
        self.count(|counts| counts.slots += slots.words.len() as u64);
        let real = |place: u16| -> Result<Option<IpAddr>, Fault> {
            match usize::from(place).checked_sub(1) {
                None => Ok(None),
                Some(place) => {
                    slots.reals.get(place).copied().map(Some).ok_or(Fault::Lie("a real that it never named"))
                }
            }
        };
        let word = |&(slot, current, base): &(u32, u16, u16)| {
            if slot >= slots.ring_size {
                return Err(Fault::Lie("a slot beyond its ring"));
            }
            Ok(Slot { slot, current: real(current)?, base: real(base)? })
        };
        let words = slots.words.iter().map(word).collect::<Result<_, Fault>>()?;
        if self.same_rings {
            let (ring_size, whole) = (slots.ring_size, slots.whole);
            told.push(Told::Slots { services, ring_size, whole, slots: words });
        }
        Ok(())
    }

    fn flows(&mut self, records: &Records, told: &mut Vec<Told>) -> Result<(), Fault> {
        let mut flows = Vec::with_capacity(records.len());
        for record in records.iter() {
            let Entry { service, client, port, real, stage, age } =
                record.ok_or(Fault::Lie("a connection of an unknown stage"))?;
            let service = self.service(service)?;
            if client.0.is_ipv4() != service.vip.is_ipv4() {
                return Err(Fault::Lie("a client of another family than its VIP"));
            }
            if service.port.is_some_and(|own| own != port) {
                return Err(Fault::Lie("a connection to a port that its service hasn't"));
            }
            flows.push(Flow { service, client, port, real, stage, age });
        }
        self.count(|counts| counts.flows += flows.len() as u64);
        self.traffic.flows += flows.len() as u64;
        told.push(Told::Flows(flows));
        Ok(())
    }

    /// Services that the peer serves, of the family of these reals.
    fn services<'a>(
        &self,
        numbers: &[u16],
        mut reals: impl Iterator<Item = &'a IpAddr> + Clone,
    ) -> Result<Vec<ServiceId>, Fault> {
        if numbers.is_empty() || !numbers.is_sorted_by(|one, next| one < next) {
            return Err(Fault::Lie("a list of no services, or of some twice"));
        }
        let services: Vec<_> = numbers.iter().map(|number| self.service(*number)).collect::<Result<_, _>>()?;
        let (mut has_four, mut has_six) = (false, false);
        for service in &services {
            has_four |= service.vip.is_ipv4();
            has_six |= service.vip.is_ipv6();
        }
        if reals.any(|real| if real.is_ipv4() { has_six } else { has_four }) {
            return Err(Fault::Lie("a real of another family than its VIP"));
        }
        Ok(services)
    }

    /// A service that the peer serves.
    fn service(&self, number: u16) -> Result<ServiceId, Fault> {
        match self.services.get(usize::from(number)).copied().flatten() {
            None => Err(Fault::Lie("something of a service that it never named")),
            Some(named) if !named.serving => Err(Fault::Lie("something of a service that it doesn't serve")),
            Some(named) => Ok(named.id),
        }
    }

    fn count(&mut self, add: impl FnOnce(&mut Counts)) {
        if let Bulk::Begun(counts) = &mut self.bulk {
            add(counts);
        }
    }
}
