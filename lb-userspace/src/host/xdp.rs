//! XDP on an interface, by the kernel's word: what runs there, what its driver can, and why it refuses a program.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{Emitable as _, Parseable as _};
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

use super::netlink::{Netlink, Refusal, attribute, find};

/// A program on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The program's id.
    pub program: u32,
    /// It runs behind the kernel's socket buffers, not in the driver.
    pub generic: bool,
}

/// The program that runs on an interface.
///
/// # Errors
/// The kernel can't be asked, or there is no such interface.
pub fn attached(ifindex: u32) -> Result<Option<Attached>, Refusal> {
    let answers = Netlink::route()?.ask(libc::RTM_GETLINK, &body(ifindex, Vec::new()))?;
    let messages = answers.iter().filter_map(|answer| LinkMessage::parse(answer.as_slice()).ok());
    let parts = messages.flat_map(|message| message.attributes).find_map(|attribute| match attribute {
        LinkAttribute::Xdp(parts) => Some(parts),
        _ => None,
    });
    let parts = parts.unwrap_or_default();
    let generic = parts.iter().any(|part| matches!(part, LinkXdp::Attached(XdpAttached::SocketBuffer)));
    let program = parts.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    });
    Ok(program.filter(|id| *id != 0).map(|program| Attached { program, generic }))
}

/// Whether the driver runs XDP programs itself; `None` where the kernel doesn't tell (before Linux 6.3).
#[must_use]
pub fn is_native(ifindex: u32) -> Option<bool> {
    // linux/netdev.h
    const DEVICE_GET: u8 = 1;
    const IFINDEX: u16 = 1;
    const FEATURES: u16 = 3;
    const BASIC: u64 = 1;
    let mut netlink = Netlink::generic().ok()?;
    let answers = netlink.ask_family("netdev", DEVICE_GET, &attribute(IFINDEX, &ifindex.to_ne_bytes())).ok()?;
    let features = find(answers.first()?, FEATURES)?.first_chunk().copied().map(u64::from_ne_bytes)?;
    Some(features & BASIC != 0)
}

/// Why the driver refuses a program: a link that is refused has no words, the older way of attaching has.
#[must_use]
pub fn objection(ifindex: u32, program: BorrowedFd<'_>) -> Option<Refusal> {
    // linux/if_link.h
    const UNLESS_THERE: u32 = 1;
    const NATIVE: u32 = 1 << 2;
    let ask = |fd, flags| {
        let parts = vec![LinkXdp::Fd(fd), LinkXdp::Flags(flags)];
        let request = body(ifindex, vec![LinkAttribute::Xdp(parts)]);
        Netlink::route().map_err(Refusal::from).and_then(|mut netlink| netlink.ask(libc::RTM_SETLINK, &request))
    };
    match ask(program.as_raw_fd(), NATIVE | UNLESS_THERE) {
        Err(refusal) => Some(refusal),
        // It took it this time. Such an attachment has no link to pin, so it goes again.
        Ok(_) => ask(-1, NATIVE).err(),
    }
}

fn body(ifindex: u32, attributes: Vec<LinkAttribute>) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.attributes = attributes;
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}
