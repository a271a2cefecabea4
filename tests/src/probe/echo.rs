//! Who answers the probe: a real behind a director, or a host that has the VIP itself.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::Socket;

use super::Answer;
use crate::lab::{Host, Mac, capture_socket, sys};

const TICK: Duration = Duration::from_millis(20);

/// Answers the probe on a host until it is dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Answers at `port` of each of a real's addresses, its VIPs among them. The answer says through which
    /// director the datagram came.
    ///
    /// # Errors
    /// The port is taken.
    pub fn behind(host: &Host, port: u16) -> Result<Self> {
        let (frames, sockets) = host
            .within(|| {
                let addresses = host.addresses().into_iter();
                let sockets = addresses.map(|address| Ok((address, UdpSocket::bind((address, port))?)));
                let sockets = sockets.collect::<io::Result<HashMap<_, _>>>()?;
                Ok::<_, anyhow::Error>((capture_socket(&host.nic().device)?, sockets))
            })?
            .with_context(|| format!("no echo at port {port} of {}", host.name()))?;
        let (title, mac) = (host.title().to_owned(), host.mac());
        Self::start(move |stop| behind(&frames, mac, &sockets, port, &title, stop))
    }

    /// Answers at `port` of whatever IPv4 address the host has, from that address.
    ///
    /// # Errors
    /// The port is taken.
    pub fn beside(host: &Host, port: u16) -> Result<Self> {
        let bind = || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
            socket.set_read_timeout(Some(TICK))?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            Ok::<_, io::Error>(socket)
        };
        let socket = host.within(bind)?.with_context(|| format!("no echo at port {port} of {}", host.name()))?;
        let title = host.title().to_owned();
        Self::start(move |stop| beside(&socket, &title, stop))
    }

    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("echo".to_owned()).spawn({
            let stop = stop.clone();
            move || work(&stop)
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

/// The answer to the datagram of this number, as bytes.
fn write(number: [u8; 8], through: Mac, title: &str) -> Vec<u8> {
    [&number[..], &through.0, title.as_bytes()].concat()
}

/// The datagram's number and the answer to it.
pub(super) fn read(bytes: &[u8]) -> Option<(u64, Answer)> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (through, title) = rest.split_first_chunk()?;
    let host = str::from_utf8(title).ok()?.to_owned();
    Some((u64::from_be_bytes(*number), Answer { host, through: Mac(*through) }))
}

/// Reads frames, since a UDP socket doesn't tell the MAC address that a datagram came from. The sockets answer, and
/// keep the kernel from saying that nobody listens; what they receive themselves is left to overflow.
fn behind(frames: &Socket, mac: Mac, sockets: &HashMap<IpAddr, UdpSocket>, port: u16, title: &str, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(received) = sys::receive_packet(frames, &mut buffer) else {
            continue;
        };
        let question = buffer.get(..received.length).filter(|_| !received.outgoing).and_then(Question::read);
        // A switch that doesn't know where a host is floods what is for it to everybody.
        let Some(question) = question.filter(|question| question.target == mac && question.to.port() == port) else {
            continue;
        };
        if let Some(socket) = sockets.get(&question.to.ip()) {
            // A client that is gone misses nothing.
            let _ = socket.send_to(&write(question.number, question.through, title), question.from);
        }
    }
}

/// A datagram of the probe in its frame.
struct Question {
    number: [u8; 8],
    target: Mac,
    through: Mac,
    from: SocketAddr,
    to: SocketAddr,
}

impl Question {
    fn read(frame: &[u8]) -> Option<Self> {
        let [target, through] = [Mac(*frame.first_chunk()?), Mac(*frame.get(6..)?.first_chunk()?)];
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let (from, to): (IpAddr, IpAddr) = match packet.net? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Udp(udp)) = packet.transport else {
            return None;
        };
        let number = *udp.payload().first_chunk()?;
        let (from, to) = ((from, udp.source_port()).into(), (to, udp.destination_port()).into());
        Some(Self { number, target, through, from, to })
    }
}

/// The kernel's word counts: it takes datagrams only for addresses that the host has.
fn beside(socket: &UdpSocket, title: &str, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // A time-out, or the interface went: the next one may come.
        let _ = answer_one(socket, title);
    }
}

fn answer_one(socket: &UdpSocket, title: &str) -> Option<()> {
    let mut buffer = [0; 64];
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let descriptor = socket.as_raw_fd();
    let received = recvmsg::<SockaddrIn>(descriptor, &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
    let asked = received.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_addr),
        _ => None,
    })?;
    let (from, length) = (received.address, received.bytes);
    let number = *buffer.get(..length)?.first_chunk()?;
    let answer = write(number, Mac([0; 6]), title);
    let source = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: asked, ipi_addr: libc::in_addr { s_addr: 0 } };
    let parts = [IoSlice::new(&answer)];
    let control = [ControlMessage::Ipv4PacketInfo(&source)];
    sendmsg(descriptor, &parts, &control, MsgFlags::empty(), from.as_ref()).ok()?;
    Some(())
}
