//! Frames, built from sentences.

use etherparse::{IpNumber, PacketBuilder};
use lb_common::header::protocol;

const ETHERNET: usize = 14;

/// MAC of the director's interface in the packet tests.
pub const DIRECTOR: [u8; 6] = [0x02, 0xd0, 0, 0, 0, 1];
/// MAC of the client (or its router).
pub const CLIENT: [u8; 6] = [0x02, 0xc0, 0, 0, 0, 1];

/// What a TCP segment says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// SYN.
    Syn,
    /// SYN and ACK.
    SynAck,
    /// ACK, with data.
    Ack,
    /// FIN and ACK.
    Fin,
    /// RST.
    Rst,
}

/// A TCP frame over IPv4 from the client to the director.
pub fn tcp4(client: [u8; 4], client_port: u16, vip: [u8; 4], port: u16, segment: Segment) -> Vec<u8> {
    finish(tcp(PacketBuilder::ethernet2(CLIENT, DIRECTOR).ipv4(client, vip, 64), client_port, port, segment))
}

/// A TCP frame over IPv6 from the client to the director.
pub fn tcp6(client: [u8; 16], client_port: u16, vip: [u8; 16], port: u16, segment: Segment) -> Vec<u8> {
    finish(tcp(PacketBuilder::ethernet2(CLIENT, DIRECTOR).ipv6(client, vip, 64), client_port, port, segment))
}

/// A UDP frame over IPv4 from the client to the director.
pub fn udp4(client: [u8; 4], client_port: u16, vip: [u8; 4], port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(CLIENT, DIRECTOR).ipv4(client, vip, 64).udp(client_port, port);
    let mut frame = Vec::new();
    // Writing to memory fails only for a payload beyond what IP can carry.
    let _ = builder.write(&mut frame, b"question");
    frame
}

/// A UDP frame over IPv6 from the client to the director.
pub fn udp6(client: [u8; 16], client_port: u16, vip: [u8; 16], port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(CLIENT, DIRECTOR).ipv6(client, vip, 64).udp(client_port, port);
    let mut frame = Vec::new();
    let _ = builder.write(&mut frame, b"question");
    frame
}

/// A frame over IPv4 of any other protocol.
pub fn ip4(client: [u8; 4], vip: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let _ =
        PacketBuilder::ethernet2(CLIENT, DIRECTOR).ipv4(client, vip, 64).write(&mut frame, IpNumber(protocol), payload);
    frame
}

/// A frame over IPv6 of any other protocol.
pub fn ip6(client: [u8; 16], vip: [u8; 16], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let _ =
        PacketBuilder::ethernet2(CLIENT, DIRECTOR).ipv6(client, vip, 64).write(&mut frame, IpNumber(protocol), payload);
    frame
}

/// An ICMP error (RFC 792) of this type that a router sends to a host about a packet that it sent: `sent` is its frame.
pub fn error4(router: [u8; 4], host: [u8; 4], kind: u8, sent: &[u8]) -> Vec<u8> {
    ip4(router, host, protocol::ICMP, &error(kind, sent))
}

/// The same over IPv6 (RFC 4443).
pub fn error6(router: [u8; 16], host: [u8; 16], kind: u8, sent: &[u8]) -> Vec<u8> {
    ip6(router, host, protocol::ICMPV6, &error(kind, sent))
}

/// With code 0, 1280 where a too-big's MTU is, and a checksum that nobody on the way looks at.
fn error(kind: u8, sent: &[u8]) -> Vec<u8> {
    let packet = sent.get(ETHERNET..).unwrap_or_default();
    [&[kind, 0, 0, 0, 0, 0, 5, 0], packet].concat()
}

fn tcp(
    builder: etherparse::PacketBuilderStep<etherparse::IpHeaders>,
    client_port: u16,
    port: u16,
    segment: Segment,
) -> (etherparse::PacketBuilderStep<etherparse::TcpHeader>, &'static [u8]) {
    let tcp = builder.tcp(client_port, port, 1000, 65535);
    match segment {
        Segment::Syn => (tcp.syn(), b""),
        Segment::SynAck => (tcp.syn().ack(1), b""),
        Segment::Ack => (tcp.ack(1), b"data"),
        Segment::Fin => (tcp.fin().ack(1), b""),
        Segment::Rst => (tcp.rst(), b""),
    }
}

fn finish((builder, payload): (etherparse::PacketBuilderStep<etherparse::TcpHeader>, &[u8])) -> Vec<u8> {
    let mut frame = Vec::new();
    let _ = builder.write(&mut frame, payload);
    frame
}
