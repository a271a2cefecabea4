//! Fixtures that read as sentences: frames in, what becomes of each, and the counters that move.

use anyhow::{Context, Result, bail, ensure};
use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use lb_common::maps::{Address, Real, Service, mapped};
use lb_common::{Action, Ip, Ports, Verdict, flow_hash, scale, source_hash};
use lb_userspace::dataplane::{Counters, Desired, Sizes};

use crate::host::Host;
use crate::shape::Shape;
use crate::side::{Moved, Outcome, Side};
use crate::skip::skip;
use crate::testbed::{Testbed, lacking};

/// Sizes of the maps of most fixtures.
pub const SIZES: Sizes = Sizes { services: 64, reals: 256, slots: 1 << 21, flows: 1024 };

/// A story about one director.
pub struct Fixture {
    /// What it shows, as a sentence.
    pub name: &'static str,
    start: Desired,
    steps: Vec<Step>,
}

enum Step {
    Send(Vec<u8>, Expect),
    Apply(Box<Desired>),
    Age(i32),
    Gate(u32, bool),
    VirtualMac([u8; 6], Option<bool>),
}

impl Fixture {
    /// A story that starts with these maps.
    pub fn new(name: &'static str, start: Desired) -> Self {
        Self { name, start, steps: Vec::new() }
    }

    /// A frame comes in.
    #[must_use]
    pub fn send(mut self, frame: Vec<u8>, expect: Expect) -> Self {
        self.steps.push(Step::Send(frame, expect));
        self
    }

    /// Frames come in.
    #[must_use]
    pub fn send_all(self, frames: impl IntoIterator<Item = (Vec<u8>, Expect)>) -> Self {
        frames.into_iter().fold(self, |fixture, (frame, expect)| fixture.send(frame, expect))
    }

    /// The agent changes the maps.
    #[must_use]
    pub fn apply(mut self, desired: Desired) -> Self {
        self.steps.push(Step::Apply(Box::new(desired)));
        self
    }

    /// Time goes by.
    #[must_use]
    pub fn age(mut self, seconds: u32) -> Self {
        self.steps.push(Step::Age(seconds.cast_signed()));
        self
    }

    /// Another CPU, whose clock is ahead, saw every remembered flow.
    #[must_use]
    pub fn seen_ahead(mut self, seconds: u32) -> Self {
        self.steps.push(Step::Age(-seconds.cast_signed()));
        self
    }

    /// Closes or opens a gate.
    #[must_use]
    pub fn gate(mut self, gate: u32, closed: bool) -> Self {
        self.steps.push(Step::Gate(gate, closed));
        self
    }

    /// Says whether this director is the master of a virtual MAC; `None` forgets the MAC.
    #[must_use]
    pub fn virtual_mac(mut self, mac: [u8; 6], master: Option<bool>) -> Self {
        self.steps.push(Step::VirtualMac(mac, master));
        self
    }

    /// Plays it on one side.
    ///
    /// # Errors
    /// Where the side does anything else than the fixture says.
    pub fn play(&self, side: &mut dyn Side) -> Result<()> {
        side.forget()?;
        // Rings that the last story has left would change, not start.
        side.apply(&Desired::default())?;
        side.apply(&self.start)?;
        let mut desired = &self.start;
        let side_name = side.name();
        for (number, step) in (1..).zip(&self.steps) {
            match step {
                Step::Apply(next) => {
                    side.apply(next)?;
                    desired = next;
                }
                Step::Age(seconds) => side.age(*seconds)?,
                Step::Gate(gate, closed) => side.gate(*gate, *closed)?,
                Step::VirtualMac(mac, master) => side.virtual_mac(*mac, *master)?,
                Step::Send(frame, expect)
                    if side.is_tc() && !expect.shows_behind_the_socket_buffers(desired, frame) => {}
                Step::Send(frame, expect) => {
                    let place = || format!("{}: step {number}, {side_name} side", self.name);
                    let before = side.counts()?;
                    let outcome = side.send(frame).with_context(place)?;
                    let moved = side.counts()?.since(&before);
                    let number = side.number(expect.verdict.action());
                    expect.check(desired, frame, (&outcome, number), &moved).with_context(place)?;
                }
            }
        }
        Ok(())
    }
}

/// The host, and the kernel where that is possible; where not, that is said.
///
/// # Errors
/// The program can't be loaded.
pub fn sides(sizes: Sizes) -> Result<Vec<Box<dyn Side>>> {
    let mut sides: Vec<Box<dyn Side>> = vec![Box::new(Host::new(sizes)?)];
    match lacking() {
        Some(reason) => skip(&format!("packet tests in the kernel: {reason}")),
        None => sides.push(Box::new(Testbed::new(sizes)?)),
    }
    Ok(sides)
}

/// Plays fixtures on the host and, where that is possible, in the kernel.
///
/// # Errors
/// All that went wrong, fixture by fixture.
pub fn play(fixtures: &[Fixture], sizes: Sizes) -> Result<()> {
    let mut sides = sides(sizes)?;
    if lacking().is_none() {
        sides.push(Box::new(Testbed::new(sizes)?.behind_the_socket_buffers()?));
    }
    let mut failures = Vec::new();
    for fixture in fixtures {
        for side in &mut sides {
            failures.extend(fixture.play(side.as_mut()).err().map(|error| format!("{error:#}")));
        }
    }
    println!("{} fixtures on {} sides", fixtures.len(), sides.len());
    ensure!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

type Reshape = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;

/// What becomes of a frame.
pub struct Expect {
    verdict: Verdict,
    target: Target,
    connection: bool,
    bytes: Option<u64>,
    reshape: Option<Reshape>,
}

enum Target {
    Nobody,
    Real(u32),
    Ring,
}

/// It is forwarded to the real of this index, out of the interface that it came in by.
pub fn to(real: u32) -> Expect {
    Expect { verdict: Verdict::Forwarded, target: Target::Real(real), connection: false, bytes: None, reshape: None }
}

/// It is forwarded to the real that its service's ring names.
pub fn by_ring() -> Expect {
    Expect { target: Target::Ring, ..to(0) }
}

/// It is left as it is, with this verdict.
pub fn untouched(verdict: Verdict) -> Expect {
    Expect { verdict, target: Target::Nobody, ..to(0) }
}

impl Expect {
    /// It counts as a new connection.
    #[must_use]
    pub fn opening(mut self) -> Self {
        self.connection = true;
        self
    }

    /// It meets another verdict than its kind does.
    #[must_use]
    pub fn verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// It counts this many bytes, not all that follow its Ethernet header and tags.
    #[must_use]
    pub fn counting(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// More than its MAC addresses changes.
    #[must_use]
    pub fn out(mut self, reshape: impl Fn(Vec<u8>) -> Vec<u8> + 'static) -> Self {
        self.reshape = Some(Box::new(reshape));
        self
    }

    fn check(&self, desired: &Desired, frame: &[u8], (outcome, action): (&Outcome, u32), moved: &Moved) -> Result<()> {
        let real = match self.target {
            Target::Nobody => None,
            Target::Real(real) => Some(real),
            Target::Ring => Some(ring_choice(desired, frame)?),
        };
        let counts = self.counts(desired, frame, real)?;
        ensure!(*moved == counts, "counted {moved:?}, not {counts:?}");
        ensure!(outcome.action == action, "action {}, not {action}", outcome.action);
        if self.verdict.action() == Action::Abort {
            return Ok(());
        }
        let expected = self.bytes_out(desired, frame, real)?;
        ensure!(outcome.frame == expected, "bytes\n {}, not\n {}", hex(&outcome.frame), hex(&expected));
        if real.is_some() { judge(&outcome.frame) } else { Ok(()) }
    }

    /// Whether a test run of the tc program shows what becomes of the frame: it takes whole IP headers and a page at most, and doesn't tell
    /// of the tag that the kernel keeps beside the frame, nor of an interface that isn't there.
    fn shows_behind_the_socket_buffers(&self, desired: &Desired, frame: &[u8]) -> bool {
        const LENGTHS: std::ops::Range<usize> = 54..3500;
        let keeps_tags = desired.reals().all(|(_, real)| real.vlan == Real::KEEP_VLAN);
        LENGTHS.contains(&frame.len()) && keeps_tags && self.verdict != Verdict::NoDevice
    }

    fn counts(&self, desired: &Desired, frame: &[u8], real: Option<u32>) -> Result<Moved> {
        let mut moved = Moved::default();
        moved.verdicts.insert(self.verdict.name(), 1);
        // What can't be sent isn't its service's.
        if let Some(index) = real.filter(|_| self.verdict.action() != Action::Abort) {
            let service = service_of(desired, index, frame)?;
            let length = frame.len() - frame.to_vec().network();
            let bytes = self.bytes.unwrap_or(length as u64);
            let counters = Counters { connections: u64::from(self.connection), packets: 1, bytes };
            moved.services.insert(service.id, counters);
            moved.reals.insert(index, counters);
        }
        Ok(moved)
    }

    fn bytes_out(&self, desired: &Desired, frame: &[u8], real: Option<u32>) -> Result<Vec<u8>> {
        let frame = frame.to_vec();
        let Some(index) = real else {
            return Ok(frame);
        };
        let (_, real) = desired.reals().find(|(held, _)| *held == index).context("no such real")?;
        let frame = self.reshape.as_ref().map_or(frame.clone(), |reshape| reshape(frame));
        Ok(frame.addressed_to(real.mac).sent_by(real.source_mac))
    }
}

/// A strict reader's word on a frame that goes to a real: headers whole, lengths right, IPv4 checksum right.
///
/// # Errors
/// What it finds wrong.
pub fn judge(frame: &[u8]) -> Result<()> {
    let packet = SlicedPacket::from_ethernet(frame).context("etherparse refuses the frame")?;
    let tags = packet.link_exts.iter().filter(|extension| matches!(extension, LinkExtSlice::Vlan(_))).count();
    ensure!(tags <= 2, "{tags} VLAN tags");
    match &packet.net {
        Some(NetSlice::Ipv4(ipv4)) => {
            // By its bytes: etherparse's value of a header has no place for the reserved bit.
            let words = ipv4.header().slice().chunks(2);
            let sum: u32 = words.map(|word| word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))).sum();
            ensure!((sum & 0xffff) + (sum >> 16) == 0xffff, "IPv4 header checksum");
        }
        Some(NetSlice::Ipv6(_)) => {}
        _ => bail!("neither IPv4 nor IPv6"),
    }
    // A part of a packet has none.
    ensure!(packet.transport.is_some() || packet.is_ip_payload_fragmented(), "neither TCP, UDP nor ICMP");
    Ok(())
}

/// The real that the ring of a frame's service names, with etherparse as the reader.
///
/// # Errors
/// No service takes the frame, or it isn't one that etherparse reads.
pub fn ring_choice(desired: &Desired, frame: &[u8]) -> Result<u32> {
    let read = Read::of(frame)?;
    let service = read.service(desired)?;
    let client = Ip::from(read.client);
    let hash = if service.flags & Service::BY_SOURCE != 0 {
        source_hash(desired.hash_seed, client)
    } else {
        flow_hash(desired.hash_seed, client, Ip::from(read.vip), Ports::of(read.ports), read.protocol)
    };
    let ring = desired.rings.get(&service.ring).context("no ring")?;
    let number = ring.targets().get(scale(hash, service.ring_size) as usize).copied().context("no slot")?;
    Ok(service.reals + u32::from(number))
}

/// What etherparse reads of a frame: whose flow it is of.
struct Read {
    client: Address,
    vip: Address,
    protocol: u8,
    ports: [u8; 4],
}

impl Read {
    fn of(frame: &[u8]) -> Result<Self> {
        let packet = SlicedPacket::from_ethernet(frame).context("etherparse refuses the frame")?;
        let (client, vip): (Address, Address) = match &packet.net {
            Some(NetSlice::Ipv4(ipv4)) => (mapped(ipv4.header().source()), mapped(ipv4.header().destination())),
            Some(NetSlice::Ipv6(ipv6)) => (ipv6.header().source(), ipv6.header().destination()),
            _ => bail!("neither IPv4 nor IPv6"),
        };
        let (protocol, from, to) = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => (6, tcp.source_port(), tcp.destination_port()),
            Some(TransportSlice::Udp(udp)) => (17, udp.source_port(), udp.destination_port()),
            _ => bail!("neither TCP nor UDP"),
        };
        let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
        Ok(Self { client, vip, protocol, ports: [a, b, c, d] })
    }

    fn service<'d>(&self, desired: &'d Desired) -> Result<&'d Service> {
        let [_, _, c, d] = self.ports;
        let matching = |port: [u8; 2]| {
            let mut services = desired.services.values();
            services
                .find(|Service { key, .. }| (key.address, key.protocol, key.port) == (self.vip, self.protocol, port))
        };
        matching([c, d]).or_else(|| matching([0, 0])).context("no service")
    }
}

/// The service that a frame to the real of this index is of. Where several share the real the frame must say it.
fn service_of<'d>(desired: &'d Desired, index: u32, frame: &[u8]) -> Result<&'d Service> {
    let mut services =
        desired.services.values().filter(|held| (held.reals + 1..held.reals + held.room).contains(&index));
    let first = services.next().context("no service of this real")?;
    if services.next().is_none() { Ok(first) } else { Read::of(frame)?.service(desired) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
