//! Who would take a packet now, by the live maps and the packet path's own functions. What those would change they change of
//! copies: no entry of a map is written.
#![expect(unsafe_code, reason = "shared words are reached by pointer; here they are copies")]

use std::cell::{RefCell, UnsafeCell};
use std::collections::HashMap;
use std::time::Duration;

use aya::maps::{Array, MapData};
use lb_common::flow::Flow;
use lb_common::maps::{Address, Director, FlowLine, FragmentEntry, Gate, Real, Service, ServiceKey};
use lb_common::{Asked, Change, Explained, Ip, Load, Opens, Ports, Word, explain, service};

use super::{Dataplane, Error, Words as _, maps};

/// A flow that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sought {
    /// The client's address.
    pub client: Address,
    /// The client's port.
    pub client_port: u16,
    /// The VIP.
    pub vip: Address,
    /// Its port.
    pub port: u16,
    /// IP's number of the protocol.
    pub protocol: u8,
}

/// What is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The service's key.
    pub service: ServiceKey,
    /// Its flags in the map.
    pub flags: u16,
    /// Its scheduler's number.
    pub scheduler: u16,
    /// Slots of its ring.
    pub ring_size: u32,
    /// Its VIP's traffic is another director's.
    pub standby: bool,
    /// Of a packet that opens a connection; of a datagram.
    pub opens: Explained,
    /// Of a packet in the midst of one.
    pub goes_on: Explained,
    /// How long the remembered flow has been silent.
    pub idle: Option<Duration>,
}

impl Told {
    /// The remembered flow that takes part in the answer.
    #[must_use]
    pub fn remembered(&self) -> Option<Flow> {
        self.goes_on.remembered
    }
}

impl Dataplane {
    /// Who would take a packet of a flow; `None` where no service has this address and port.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn which(&mut self, sought: &Sought) -> Result<Option<Told>, Error> {
        let now = self.ticks()?;
        let tables = Tables::new(self, now)?;
        let (client, vip) = (Ip::from(sought.client), Ip::from(sought.vip));
        let ports = [sought.client_port.to_be_bytes(), sought.port.to_be_bytes()].concat();
        let ports = Ports::of(ports.try_into().unwrap_or_default());
        let Some(index) = service(&tables, vip, sought.protocol, ports) else { return Ok(None) };
        let Some(service) = tables.services.get(&index).copied() else { return Ok(None) };
        let datagrams = sought.protocol == lb_common::header::protocol::UDP;
        let of = |opens| explain(&tables, Asked { client, ports, service: index, opens });
        let (first, later) = if datagrams { (Opens::Unknown, Opens::Unknown) } else { (Opens::Yes, Opens::No) };
        let Some((opens, goes_on)) = of(first).zip(of(later)) else { return Ok(None) };
        let idle = goes_on.remembered.map(|flow| self.time_of(flow.idle(tables.now)));
        let standby = service.gate != 0 && gate_is_closed(self, service.gate)?;
        let Service { key, flags, scheduler, ring_size, .. } = service;
        Ok(Some(Told { service: key, flags, scheduler, ring_size, standby, opens, goes_on, idle }))
    }

    /// The address of a real of the service with this key, by its number.
    #[must_use]
    pub fn real_of(&self, key: &ServiceKey, number: u16) -> Option<Address> {
        let service = self.applied.services.get(key)?;
        Some(self.applied.pools.get(&service.reals)?.reals.get(&number)?.address)
    }
}

fn gate_is_closed(dataplane: &Dataplane, gate: u32) -> Result<bool, Error> {
    let gates: Array<MapData, Gate> = maps::open(&dataplane.pins, "gates")?;
    gates.get(&gate, 0).map(|gate| gate.closed != 0).map_err(|error| Error::map("gates", error))
}

/// The live maps, and copies of what is reached by pointer.
#[expect(clippy::vec_box, reason = "pointers into the copies stay right when more are made")]
struct Tables<'d> {
    dataplane: &'d Dataplane,
    director: Director,
    services: HashMap<u32, Service>,
    reals: HashMap<u32, Real>,
    now: u32,
    lines: RefCell<Vec<Box<UnsafeCell<FlowLine>>>>,
    loads: RefCell<Vec<Box<UnsafeCell<[u64; 2]>>>>,
}

impl<'d> Tables<'d> {
    fn new(dataplane: &'d Dataplane, now: u32) -> Result<Self, Error> {
        let maps = &dataplane.maps;
        let director = maps.director.get(0)?;
        let (mut services, mut reals) = (HashMap::new(), HashMap::new());
        let table = director.tables.get(director.table as usize).copied().unwrap_or_default();
        for index in table.start..=table.start.saturating_add(table.mask).min(maps.services.len().saturating_sub(1)) {
            services.insert(index, maps.services.get(index)?);
        }
        for service in services.values() {
            for index in service.reals..service.reals.saturating_add(service.room).min(maps.reals.len()) {
                reals.insert(index, maps.reals.get(index)?);
            }
        }
        let (lines, loads) = (RefCell::default(), RefCell::default());
        Ok(Self { dataplane, director, services, reals, now, lines, loads })
    }
}

impl lb_common::Tables for Tables<'_> {
    fn director(&self) -> Option<&Director> {
        Some(&self.director)
    }

    fn service(&self, index: u32) -> Option<&Service> {
        self.services.get(&index)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        let slots = &self.dataplane.maps.slots;
        (index / 2 < slots.len()).then(|| slots.word(index))
    }

    fn real(&self, index: u32) -> Option<&Real> {
        self.reals.get(&index)
    }

    fn flow_line(&self, index: u32) -> Option<*mut FlowLine> {
        let copy = Box::new(UnsafeCell::new(self.dataplane.maps.flows.get(index).ok()?));
        let pointer = copy.get();
        self.lines.borrow_mut().push(copy);
        Some(pointer)
    }

    fn note_key(&self, _: u32, _: usize, _: [u64; 3]) {}

    fn fragment(&self, _: [u64; 5]) -> Option<FragmentEntry> {
        None
    }

    fn note_fragment(&self, _: [u64; 5], _: [u64; 2]) {}

    /// The next number, which stays the next.
    fn take_turn(&self, service: u32) -> Option<u64> {
        Some(self.dataplane.maps.turns.get(&service, 0).ok()?.next)
    }

    fn load(&self, counter: u32) -> Option<Load> {
        let held = self.dataplane.maps.loads.get(counter).ok()?;
        let copy = Box::new(UnsafeCell::new([held.active, held.inactive]));
        let words = copy.get().cast::<u64>();
        self.loads.borrow_mut().push(copy);
        // SAFETY: two words of a copy that lives as long as these tables, and that nobody reaches but through these.
        unsafe { Some(Load { active: Word::new(words), inactive: Word::new(words.add(1)) }) }
    }

    fn count_live(&self, _: u32, _: u16, _: Change) {}

    fn ticks(&self, _: u32) -> u32 {
        self.now
    }
}
