//! How an XDP program runs on an interface, by the kernel's word.

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};

use crate::dataplane::XdpMode;

use super::links::Error;

/// The mode of the program on an interface; `None` when there is none.
///
/// # Errors
/// The kernel can't be asked.
pub async fn mode(ifindex: u32) -> Result<Option<XdpMode>, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Socket)?;
    let connection = tokio::spawn(connection);
    let link = handle.link().get().match_index(ifindex).execute().try_next().await;
    connection.abort();
    let link = link.map_err(|error| Error::request("reading an interface", error))?;
    let attributes = link.map(|link| link.attributes).unwrap_or_default();
    let attached = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(parts) => parts.iter().find_map(|part| match part {
            LinkXdp::Attached(attached) => Some(*attached),
            _ => None,
        }),
        _ => None,
    });
    Ok(match attached {
        Some(XdpAttached::Driver | XdpAttached::Hardware) => Some(XdpMode::Native),
        Some(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        _ => None,
    })
}
