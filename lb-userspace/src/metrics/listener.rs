//! The listener of `[metrics]`. An address that isn't there yet, or is taken, is waited for: nothing else depends on it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

/// An address that can't be had is tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves the pages while it lives.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    _cancel: DropGuard,
}

impl Listener {
    /// One task that listens on `address`, and one for each connection; dropping it ends them.
    #[must_use]
    pub fn spawn(address: SocketAddr, pages: Router) -> Self {
        let cancel = CancellationToken::new();
        let ended = cancel.clone();
        tokio::spawn(async move { cancel.run_until_cancelled_owned(serve(address, pages)).await });
        Self { address, _cancel: ended.drop_guard() }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(address: SocketAddr, pages: Router) {
    let mut told = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!("metrics: listening on {address}");
                if let Err(error) = axum::serve(listener, pages.clone()).await {
                    warn!("metrics: {address}: {error}");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    warn!("metrics: nothing listens on {address}: {error}; it is tried again each second");
                    told = Some(error);
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
