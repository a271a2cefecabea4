//! One check's TCP/IP stack: smoltcp over the frames of one [`Road`]. It runs in its check's own task, whenever that polls
//! it: nothing of it lives on when the check's future is dropped.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::errno::Errno;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::AnySocket;
use smoltcp::time::Instant as At;
use smoltcp::wire::{HardwareAddress, IpCidr};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Road;
use super::tap::{Arrival, Place};
use crate::host::neighbour::Resolved;

/// Bytes of a packet at most: what every network takes that carries IPv6 (RFC 8200 §5).
const MTU: usize = 1280;
/// Rounds of one poll at most, before others have their turn.
const ROUNDS: usize = 64;

/// See the module.
pub(super) struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    wire: Wire,
    inbox: mpsc::Receiver<Arrival>,
    began: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Stack {
    /// A stack whose only socket is this, with a port of its own.
    ///
    /// # Errors
    /// As [`super::port::Port::take`], EAFNOSUPPORT where the road's ends are of two families.
    pub(super) fn new(road: &Road, is_tcp: bool, socket: impl AnySocket<'static>) -> io::Result<Self> {
        let Road { tap, hop, own, vip } = road;
        if own.is_ipv4() != vip.is_ipv4() {
            return Err(Errno::EAFNOSUPPORT.into());
        }
        let (place, inbox) = tap.join(is_tcp, *own, *vip)?;
        let mut wire = Wire { header: header(hop, *own), ifindex: hop.ifindex, place, waiting: None, failed: None };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = fastrand::u64(..);
        let mut interface = Interface::new(config, &mut wire, At::ZERO);
        let host = if own.is_ipv4() { 32 } else { 128 };
        // There is room for one, and for one route: it is the first.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new((*own).into(), host));
        });
        // A frame of the road goes to the real, whatever the gateway's address is.
        let _ = match own {
            IpAddr::V4(_) => interface.routes_mut().add_default_ipv4_route(Ipv4Addr::UNSPECIFIED).map(drop),
            IpAddr::V6(_) => interface.routes_mut().add_default_ipv6_route(Ipv6Addr::UNSPECIFIED).map(drop),
        };
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        let began = Instant::now();
        Ok(Self { interface, sockets, socket, wire, inbox, began, timer: Box::pin(sleep_until(began)) })
    }

    /// This end, and the VIP's.
    pub(super) fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.wire.place.ends.own, self.wire.place.ends.vip)
    }

    /// The socket, and what it needs for a connection.
    pub(super) fn socket<S: AnySocket<'static>>(&mut self) -> (&mut S, &mut smoltcp::iface::Context) {
        (self.sockets.get_mut(self.socket), self.interface.context())
    }

    /// Takes in what came and sends what is due; the task is woken when there is more to do.
    ///
    /// # Errors
    /// An ICMP error that came, or what kept a frame from being sent.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        for _ in 0..ROUNDS {
            let heard = match self.inbox.poll_recv(context) {
                Poll::Ready(Some(Arrival::Packet(packet))) => {
                    self.wire.waiting = Some(packet);
                    true
                }
                Poll::Ready(Some(Arrival::Unreachable(errno))) => return Err(errno.into()),
                // Never, while it has its place.
                Poll::Ready(None) => return Err(Errno::ENETDOWN.into()),
                Poll::Pending => false,
            };
            self.exchange();
            if let Some(error) = self.wire.failed.take() {
                return Err(error);
            }
            if heard {
                continue;
            }
            let now = self.now();
            let Some(due) = self.interface.poll_at(now, &self.sockets) else { return Ok(()) };
            let after = due.total_micros().saturating_sub(now.total_micros()).max(0);
            self.timer.as_mut().reset(Instant::now() + std::time::Duration::from_micros(after.unsigned_abs()));
            if self.timer.as_mut().poll(context).is_pending() {
                return Ok(());
            }
        }
        context.waker().wake_by_ref();
        Ok(())
    }

    /// One round with what waits, if anything does.
    pub(super) fn exchange(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    fn now(&self) -> At {
        At::from_micros(i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

/// The Ethernet header of all frames to a real, with its VLAN tag if it has one.
fn header(hop: &Resolved, own: IpAddr) -> Vec<u8> {
    let mut header = [hop.mac, hop.source_mac].concat();
    if let Some(vlan) = hop.vlan {
        header.extend([0x81, 0x00]);
        header.extend(vlan.to_be_bytes());
    }
    header.extend(if own.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
    header
}

/// What smoltcp takes for a device.
struct Wire {
    header: Vec<u8>,
    ifindex: u32,
    place: Place,
    waiting: Option<Vec<u8>>,
    failed: Option<io::Error>,
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: At) -> Option<(Received, Sending<'_>)> {
        let packet = self.waiting.take()?;
        Some((Received(packet), Sending(self)))
    }

    fn transmit(&mut self, _: At) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // A packet that the kernel has merged, or that came from this very machine, has no checksum of its own. The frame
        // had one.
        (capabilities.checksum.tcp, capabilities.checksum.udp) = (Checksum::Tx, Checksum::Tx);
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sending<'a>(&'a mut Wire);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let wire = self.0;
        let mut frame = wire.header.clone();
        let start = frame.len();
        frame.resize(start + length, 0);
        let written = write(frame.get_mut(start..).unwrap_or_default());
        if let Err(error) = wire.place.send(wire.ifindex, &frame) {
            wire.failed.get_or_insert(error);
        }
        written
    }
}
