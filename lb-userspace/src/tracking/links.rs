//! Which interfaces have a link.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::Seen;
use crate::vrrp::thread::socket::interfaces;

/// Between two looks at least: a burst of changes is one.
const SETTLE: Duration = Duration::from_millis(10);
/// A change that nobody was told of is seen after this time.
const ANYWAY: Duration = Duration::from_secs(1);

/// Tells the interfaces that are up and have a link, now and at each change of one.
pub(super) async fn watch(seen: mpsc::UnboundedSender<Seen>, mut changes: watch::Receiver<()>) {
    loop {
        match interfaces() {
            Ok(all) => {
                let running = all.into_iter().filter(|(_, interface)| interface.running).map(|(name, _)| name);
                let _ = seen.send(Seen::Running(running.collect()));
            }
            Err(error) => warn!("the interfaces that virtual routers track can't be listed: {error}; trying again"),
        }
        tokio::time::sleep(SETTLE).await;
        if let Ok(Err(_)) = tokio::time::timeout(ANYWAY, changes.changed()).await {
            // Whoever told of them has ended.
            tokio::time::sleep(ANYWAY).await;
        }
    }
}
