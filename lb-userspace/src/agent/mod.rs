//! The agent: events are folded into a model, the model into desired maps, and the difference is written.
//!
//! Tasks, and what cancelling each does:
//! - The controller ([`controller`]) ends at SIGTERM or SIGINT, and ends the others. The maps, the pinned links and
//!   the VIPs stay: the program goes on forwarding.
//! - The health checks ([`crate::health::Runner`]) and the neighbour table ([`crate::host::neighbour::Runner`]) end
//!   with the cancellation token; their last word stays in the maps.
//! - VRRP ([`routers`]) has a thread of its own. At the agent's end it hands every VIP over; one that nobody takes
//!   stays, and is adopted by the next agent.
//! - What they track ([`crate::tracking`]) is watched until the controller ends. Notify scripts ([`crate::tracking::notify`]) end after the VRRP
//!   thread: they are told of its last changes.
//! - The API ([`crate::api::Server`]) ends with the token; its socket is removed.

mod controller;
mod guard;
mod owned;
mod routers;
mod start;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::WhenAgentDies;
use crate::dataplane::{Pins, StatsReader};
use crate::{api, health, host};

use crate::tracking::Tracks;
use crate::tracking::notify::Notifier;
use controller::{Controller, Inputs, Ownership};
use routers::Routers;

pub use guard::watch;
pub use owned::{Owned, release};
pub use start::{is_locked, lock, read, sizes};
pub use status::{name, status_of_maps};

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// It can't start: the text says what, where, and the mend, and nothing is left behind that was not there before.
pub async fn run(path: PathBuf) -> Result<()> {
    let (loaded, links) = start::read(&path).await?;
    let config = Arc::new(loaded.config);
    let _lock = start::lock()?;
    start::raise_descriptor_limit();
    let (dataplane, interfaces) = start::open(&config, &links)?;
    let fresh = dataplane.adopted().services.is_empty();
    let model = start::adopt(config.clone(), interfaces, dataplane.adopted(), SystemTime::now());

    let cancel = CancellationToken::new();
    let (health_sender, health) = mpsc::channel(4096);
    let (neighbour_sender, neighbours) = mpsc::channel(4096);
    let (request_sender, requests) = mpsc::channel(16);
    let checks = health::Runner::spawn(health_sender, cancel.clone());
    let follower = host::neighbour::Runner::spawn(neighbour_sender, cancel.clone());
    let stats = StatsReader::open(&Pins::default())?;
    let mut controller = Controller::new(path.clone(), model, dataplane, stats, checks, follower);
    if let Err(error) = controller.start() {
        if fresh {
            // Nothing was forwarded before, so nothing is lost by leaving no trace.
            let _ = Pins::default().remove();
        }
        return Err(error);
    }
    let socket = api::socket();
    let listener = api::bind(&socket).with_context(|| format!("{} can't be made", socket.display()))?;
    let server = api::Server::spawn(socket, listener, request_sender, cancel.clone());
    let (entered_sender, entered) = mpsc::unbounded_channel();
    let routers = Routers::spawn(&config, controller.gates(), &Pins::default(), entered_sender)?;
    let tracks = Tracks::spawn(config.clone(), routers.handle().clone());
    let notifier = Notifier::spawn(config.clone(), entered);
    controller.join_routers(Ownership { routers, tracks, notifier });
    let inputs = Inputs {
        health,
        neighbours,
        requests,
        hangup: signal(SignalKind::hangup())?,
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    if let WhenAgentDies::Release { after } = config.director.when_agent_dies {
        guard::spawn(after)?;
    }
    info!("{}: ready, {} services", path.display(), config.services.len());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let (checks, follower, ownership) = controller.run(inputs).await;
    if let Some(Ownership { routers, tracks, notifier }) = ownership {
        drop(tracks);
        routers.shut_down().await;
        notifier.join().await;
    }
    cancel.cancel();
    server.join().await;
    checks.join().await;
    follower.join().await;
    info!("stopped; the program goes on forwarding (`lb detach` ends it)");
    Ok(())
}
