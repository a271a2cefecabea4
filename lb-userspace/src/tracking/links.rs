//! Which interfaces have a link.

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;
use tracing::warn;

use super::Seen;
use crate::vrrp::thread::socket::interfaces;

/// Between two looks at least: a burst of notices is one change.
const SETTLE: Duration = Duration::from_millis(10);
/// The kernel drops notices that nobody reads in time, so they are looked at every now and then too.
const ANYWAY: Duration = Duration::from_secs(1);

/// Tells the interfaces that are up and have a link, now and at each of the kernel's notices.
pub(super) async fn watch(seen: mpsc::UnboundedSender<Seen>) {
    loop {
        if let Err(error) = follow(&seen).await {
            warn!("the interfaces that virtual routers track can't be watched: {error}; trying again");
        }
        tokio::time::sleep(ANYWAY).await;
    }
}

async fn follow(seen: &mpsc::UnboundedSender<Seen>) -> io::Result<()> {
    // Listened to before the first look, so that nothing is missed.
    let (connection, _handle, mut notices) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
    tokio::pin!(connection);
    loop {
        let all = interfaces()?;
        let running = all.into_iter().filter(|(_, interface)| interface.running).map(|(name, _)| name).collect();
        let _ = seen.send(Seen::Running(running));
        let notice = async {
            tokio::time::sleep(SETTLE).await;
            let told = tokio::time::timeout(ANYWAY, notices.next()).await;
            while let Some(Some(_)) = futures_util::FutureExt::now_or_never(notices.next()) {}
            told
        };
        tokio::select! {
            () = &mut connection => return Err(io::Error::other("the netlink connection ended")),
            told = notice => if matches!(told, Ok(None)) {
                return Err(io::Error::other("the netlink connection ended"));
            },
        }
    }
}
