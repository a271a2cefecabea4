//! The task that asks.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::machine::Machine;
use super::wire::{self, Mac, Says};
use super::{Claim, Vips};
use crate::host::neighbour;
use crate::vrrp::thread::socket::{FrameSender, Interface, interfaces};

/// Longer frames are no answers.
const LONGEST: usize = 256;
/// Wait after the kernel said of a socket that something is wrong.
const AGAIN: Duration = Duration::from_millis(100);

/// The running task; it ends with this.
#[derive(Debug)]
pub struct Watch {
    vips: watch::Sender<Vips>,
    _task: JoinSet<()>,
}

impl Watch {
    /// Starts it, without VIPs. Each change of who claims one is told with all that are claimed then.
    pub fn spawn(claims: mpsc::Sender<Vec<Claim>>) -> Self {
        let (vips, followed) = watch::channel(Vips::new());
        let mut task = JoinSet::new();
        task.spawn(run(followed, claims));
        Self { vips, _task: task }
    }

    /// Has these asked for, and no others.
    pub fn follow(&self, vips: Vips) {
        self.vips.send_if_modified(|held| {
            let changes = *held != vips;
            *held = vips;
            changes
        });
    }
}

/// Asks once more than once for all of these, and waits so long for answers: who answered for which, but for this host.
///
/// # Errors
/// No packet socket: EPERM without CAP_NET_RAW, or what else the system says.
pub async fn ask(places: &Vips, patience: Duration) -> io::Result<BTreeSet<(IpAddr, Mac)>> {
    let mut ears = Ears::open()?;
    let all: Vec<IpAddr> = places.keys().copied().collect();
    let mut answers = BTreeSet::new();
    for _ in 0..2 {
        ears.ask(&all, places)?;
        let until = tokio::time::Instant::now() + patience / 2;
        while let Ok(says) = tokio::time::timeout_at(until, ears.hear()).await {
            if says.is_answer && places.contains_key(&says.address) && answers.len() < 4 * all.len() {
                answers.insert((says.address, says.mac));
            }
        }
    }
    Ok(answers)
}

async fn run(mut followed: watch::Receiver<Vips>, claims: mpsc::Sender<Vec<Claim>>) {
    let epoch = Instant::now();
    // A director that is a backup hears nothing of its segment's answers.
    let mut ears: Option<Ears> = None;
    let mut machine = Machine::default();
    let mut told = Vec::new();
    loop {
        let deadline = machine.deadline().map(|after| tokio::time::Instant::from_std(epoch + after));
        tokio::select! {
            changed = followed.changed() => {
                if changed.is_err() {
                    return;
                }
                let vips = followed.borrow_and_update().clone();
                machine.follow(&vips, epoch.elapsed());
                ears = match (vips.is_empty(), ears.take()) {
                    (true, _) => None,
                    (false, Some(ears)) => Some(ears),
                    (false, None) => Ears::open().map_err(|error| {
                        warn!("nobody is asked who else has the VIPs: no packet socket: {error}");
                    }).ok(),
                };
            }
            says = hear(&mut ears) => machine.heard(says, epoch.elapsed()),
            () = sleep_until(deadline) => {
                let asked = machine.ask(epoch.elapsed());
                if let Some(ears) = &mut ears {
                    let vips = followed.borrow().clone();
                    if let Err(error) = ears.ask(&asked, &vips) {
                        debug!("who else has the VIPs: {error}");
                    }
                }
            }
        }
        let mut found: Vec<Claim> = machine.claims().collect();
        if !same(&found, &told) {
            name(&mut found).await;
            told.clone_from(&found);
            if claims.send(found).await.is_err() {
                return;
            }
        }
    }
}

fn same(found: &[Claim], told: &[Claim]) -> bool {
    found.len() == told.len() && found.iter().zip(told).all(|(a, b)| (a.vip, a.mac) == (b.vip, b.mac))
}

/// Adds the addresses that the kernel knows of.
async fn name(claims: &mut [Claim]) {
    if claims.is_empty() {
        return;
    }
    let known = neighbour::known().await.unwrap_or_default();
    for claim in claims {
        claim.addresses = known.iter().filter(|(_, mac)| *mac == claim.mac).map(|(address, _)| *address).collect();
        claim.addresses.sort();
        claim.addresses.dedup();
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What another station says.
async fn hear(ears: &mut Option<Ears>) -> Says {
    match ears {
        Some(ears) => ears.hear().await,
        None => std::future::pending().await,
    }
}

/// Packet sockets that hear ARP and neighbour advertisements.
struct Ears {
    arp: UdpSocket,
    discovery: UdpSocket,
    /// This host's MAC addresses, when it asked last.
    own: HashSet<Mac>,
}

impl Ears {
    fn open() -> io::Result<Self> {
        let open = |kind: i32, filter: &[SockFilter]| {
            let protocol = Protocol::from(i32::from((kind as u16).to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(protocol))?;
            socket.attach_filter(filter)?;
            // It is read by the same call as one of UDP's.
            UdpSocket::from_std(socket.into())
        };
        let arp = open(libc::ETH_P_ARP, &filter(&[]))?;
        let advertisements = filter(&[(20, wire::ICMPV6), (54, wire::ADVERTISEMENT)]);
        Ok(Self { arp, discovery: open(libc::ETH_P_IPV6, &advertisements)?, own: HashSet::new() })
    }

    /// Asks for VIPs, each on its interface. One that isn't there, or is down, is asked another time.
    fn ask(&mut self, asked: &[IpAddr], vips: &Vips) -> io::Result<()> {
        let interfaces = interfaces()?;
        self.own = interfaces.values().map(|interface| interface.mac).collect();
        for vip in asked {
            let Some(interface) = vips.get(vip).and_then(|name| interfaces.get(name)) else { continue };
            let Some(frame) = own(interface, *vip, vips).and_then(|own| wire::question(*vip, interface.mac, own))
            else {
                continue;
            };
            if let Err(error) = FrameSender::open(interface).and_then(|sender| sender.send(&frame)) {
                debug!("who else has {vip}: {error}");
            }
        }
        Ok(())
    }

    async fn hear(&mut self) -> Says {
        let (mut first, mut second) = ([0; LONGEST], [0; LONGEST]);
        loop {
            let read = tokio::select! {
                read = self.arp.recv(&mut first) => read.map(|length| first.get(..length)),
                read = self.discovery.recv(&mut second) => read.map(|length| second.get(..length)),
            };
            match read {
                Ok(frame) => {
                    if let Some(says) = frame.and_then(wire::heard).filter(|says| !self.own.contains(&says.mac)) {
                        return says;
                    }
                }
                Err(error) => {
                    debug!("who else has the VIPs: {error}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

/// The address that this director asks from: one of its own on the interface, else nobody's (RFC 5227 §2.1.1).
fn own(interface: &Interface, vip: IpAddr, vips: &Vips) -> Option<IpAddr> {
    let mut own = interface.addresses.iter().filter(|own| own.is_ipv4() == vip.is_ipv4() && !vips.contains_key(own));
    own.next().copied().or_else(|| vip.is_ipv4().then_some(Ipv4Addr::UNSPECIFIED.into()))
}

/// Takes frames that have these bytes at these offsets (linux/filter.h).
fn filter(bytes: &[(u32, u8)]) -> Vec<SockFilter> {
    const LOAD_BYTE: u16 = 0x30;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = SockFilter::new;
    let mut left = bytes.len() as u8;
    let mut steps = Vec::new();
    for (offset, value) in bytes {
        left -= 1;
        steps.push(step(LOAD_BYTE, 0, 0, *offset));
        steps.push(step(IF_EQUAL, 0, 2 * left + 1, u32::from(*value)));
    }
    steps.extend([step(RETURN, 0, 0, u32::MAX), step(RETURN, 0, 0, 0)]);
    steps
}
