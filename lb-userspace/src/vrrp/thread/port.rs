//! One family's sockets on one interface, which all of its instances share.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tracing::error;

use crate::vrrp::protocol::announcing::Pacer;
use crate::vrrp::protocol::instance::Instance;
use crate::vrrp::protocol::pace::Pace;
use crate::vrrp::thread::socket::{FrameSender, Interface, Receiver, Sender};
use crate::vrrp::wire::frame;
use crate::vrrp::wire::refusal::Refusals;

/// Packets a second read from one socket: four times what 255 masters send at 10 ms. What a flood sends
/// beyond it, the kernel drops, and the thread's real-time priority starves nobody.
const PACKETS: u32 = 100_000;
/// What arrived while the thread was kept from running may be read at once.
const BURST: Duration = Duration::from_millis(50);

/// An interface and whether it is the one for IPv6.
pub(super) type PortKey = (String, bool);

/// One family's sockets on one interface.
pub(super) struct Port {
    pub(super) interface: u32,
    pub(super) receiver: Receiver,
    pub(super) senders: HashMap<IpAddr, Sender>,
    pub(super) frames: FrameSender,
    pub(super) pacer: Pacer<usize>,
    /// Which instance has which virtual router id.
    pub(super) routers: HashMap<u8, usize>,
    /// How many packets may be read.
    pub(super) budget: Pace,
    /// What was refused before it found an instance.
    pub(super) refused: Refusals,
}

impl Port {
    pub(super) fn open(name: &str, interface: &Interface, ipv6: bool, pace: u32) -> io::Result<Self> {
        Ok(Self {
            interface: interface.index,
            receiver: Receiver::open(name, interface, ipv6)?,
            senders: HashMap::new(),
            frames: FrameSender::open(interface)?,
            pacer: Pacer::new(pace),
            routers: HashMap::new(),
            budget: Pace::new(PACKETS, BURST),
            refused: Refusals::default(),
        })
    }
}

/// Sends an instance's advert to its group or to each of its peers.
pub(super) fn advertise(instance: &mut Instance, priority: u8, port: Option<&Port>) {
    let own = instance.own();
    let Some((port, sender)) = port.and_then(|port| Some((port, port.senders.get(&own)?))) else {
        return;
    };
    // A peer's MAC is the kernel's to find out: only adverts to the group are whole frames.
    let mac = instance.settings().mac().filter(|_| instance.settings().peers.is_empty());
    let adverts = match instance.adverts(priority) {
        Ok(adverts) => adverts,
        Err(error) => {
            error!("vrrp.{}: {error}", instance.settings().name);
            return;
        }
    };
    for (to, payload) in adverts {
        let counters = instance.counters_mut();
        let framed = mac.and_then(|mac| frame::advert(mac, own, to, counters.sent.wrapping_add(1) as u16, &payload));
        let result = framed.map_or_else(|| sender.send(to, &payload), |frame| port.frames.send(&frame));
        match result {
            Ok(()) => counters.sent += 1,
            Err(error) => {
                counters.unsent += 1;
                if counters.unsent == 1 {
                    let name = &instance.settings().name;
                    error!("vrrp.{name}: an advert to {to} can't be sent: {error}");
                }
            }
        }
    }
}
