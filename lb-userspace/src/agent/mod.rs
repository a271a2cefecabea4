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
//! - Who else has the VIPs is asked by a task ([`crate::segment::Watch`]) that ends with the controller.
//! - The API ([`crate::api::Server`]) ends with the token; its socket is removed.
//! - The [`watchdog`]'s thread ends with the process. It ends the agent in order when one of the others failed or hangs.
//! - The events' keeper ([`crate::events::Keeper`]) writes down what happened; it ends last, when all is written.
//! - The [log](crate::log) has a thread that nobody waits for.

mod changes;
mod checks;
mod controller;
mod devices;
mod guard;
mod kept;
mod noted;
mod owned;
mod routers;
mod start;
mod status;
mod watchdog;
pub(crate) mod witness;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;
use crate::dataplane::{Pins, StatsReader};
use crate::events::{Events, Keeper, Kind, Said, keeper};
use crate::pulse::Pulse;
use crate::segment::Watch;
use crate::{api, health, host};

use crate::tracking::Tracks;
use crate::tracking::notify::Notifier;
use controller::{Controller, Inputs, Ownership, Parts};
use routers::Routers;

pub use guard::{releases, watch};
pub use owned::{Owned, Released, release};
pub use start::{Misconfigured, hold, is_locked, lock, read, segments, sizes};
pub(crate) use status::{mac, plain_address, protocol_name};
pub use status::{name, status_of_maps};

/// A part of the agent failed, and it ended in order for another start.
#[derive(Debug, thiserror::Error)]
#[error("{0}: the agent ended")]
pub struct Broken(pub String);

/// The exit code of an agent that ended for [`Broken`].
pub const BROKEN: i32 = 70;

/// Runs the agent until SIGTERM or SIGINT; one that observes alone where `observe` says so.
///
/// # Errors
/// It can't start: the text says what, where, and the mend, and nothing is left behind that was not there before.
/// Or a part of it failed ([`Broken`]).
pub async fn run(path: PathBuf, observe: bool) -> Result<()> {
    // Before anything that takes time: until then these end the process.
    let (dump, ignored) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    let hangup = signal(SignalKind::hangup())?;
    let (loaded, links) = start::read(&path, observe, |_| true).await?;
    let config = Arc::new(loaded.config);
    let _lock = start::lock()?;
    start::raise_descriptor_limit();
    let (dataplane, interfaces) = start::open(&config, &links)?;
    let fresh = dataplane.adopted().services.is_empty();
    let known = health::kept::file::path();
    let records = health::kept::file::adopt(&known);
    let before = start::Before { adopted: dataplane.adopted(), records: &records };
    let model = start::adopt(config.clone(), interfaces, &links, &before, kept::read(), SystemTime::now());

    let noted = keeper::path();
    let events = keeper::adopt(&noted);
    let keeper = Keeper::spawn(events.clone(), noted);
    tell_start(&events, fresh, &config);

    let (cancel, pulse) = (CancellationToken::new(), Pulse::default());
    let (health_sender, health) = mpsc::channel(4096);
    let (neighbour_sender, neighbours) = mpsc::channel(4096);
    let (request_sender, requests) = mpsc::channel(16);
    let keeper_of_checks = health::kept::Keeper::new(known, records);
    let heart = pulse.heart("the health checks' task");
    let checks = health::Runner::spawn(health_sender, cancel.clone(), keeper_of_checks, heart);
    let follower =
        host::neighbour::Runner::spawn(neighbour_sender, cancel.clone(), pulse.heart("the neighbours' task"));
    let links = follower.links();
    let stats = StatsReader::open(&Pins::default())?;
    let heart = pulse.heart("the controller's task");
    let controller = Controller::new(path.clone(), model, dataplane, stats, checks, follower, heart);
    let mut controller = controller.asked_through(&request_sender).telling(events.clone());
    if let Err(error) = controller.start().await {
        if fresh {
            // Nothing was forwarded before, so nothing is lost by leaving no trace.
            let _ = Pins::default().remove();
        }
        return Err(error);
    }
    controller.join_peers().await?;
    let socket = api::socket();
    let listener = api::bind(&socket).with_context(|| format!("{} can't be made", socket.display()))?;
    let heart = pulse.heart("the API's task");
    let server = api::Server::spawn(socket, listener, request_sender, events.clone(), cancel.clone(), heart);
    let (entered_sender, entered) = mpsc::unbounded_channel();
    let (word_sender, words) = mpsc::unbounded_channel();
    let heart = pulse.heart("the VRRP thread");
    let heard = heart.listener();
    let named = controller.named();
    let routers = Routers::spawn(&named, controller.gates(), &Pins::default(), entered_sender, word_sender, heart)?;
    let (fault_sender, fault) = oneshot::channel();
    watchdog::spawn(pulse.clone(), routers.handle().clone(), heard, fault_sender)?;
    let tracks = Tracks::spawn(named.clone(), routers.handle().clone(), links, pulse.heart("the tracks' task"));
    let notifier = Notifier::spawn(named, entered, events.clone(), pulse.heart("the notifier's task"));
    let (claim_sender, claims) = mpsc::channel(16);
    let watch = Watch::spawn(claim_sender);
    controller.join_routers(Ownership { routers, tracks, notifier, watch });
    let inputs = Inputs {
        health,
        neighbours,
        requests,
        claims,
        words,
        hangup,
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        dump,
        ignored,
        fault,
    };
    let observes = if observe { "; it observes alone, and every frame passes" } else { "" };
    info!("{}: ready, {} services{observes}", path.display(), config.services.len());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let parts = controller.run(inputs).await;
    let Parts { checks, neighbours: follower, routers: ownership, fault, exchange, hooks } = parts;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    events.record(Said::new(Kind::Agent, "lb", STOPS).because(fault.as_deref().unwrap_or("it was told to")));
    pulse.close();
    if let Some(Ownership { routers, tracks, notifier, watch }) = ownership {
        drop((tracks, watch));
        let handed = routers.shut_down();
        let ended = match exchange {
            Some(exchange) => exchange.tell_during(handed).await,
            None => handed.await,
        };
        if ended {
            notifier.join().await;
        }
    }
    hooks.join().await;
    let goes_on = if observe { "the program goes on observing" } else { "the program goes on forwarding" };
    events.record(Said::new(Kind::Agent, "lb", STOPPED).because(goes_on));
    events.close();
    cancel.cancel();
    server.join().await;
    checks.join().await;
    follower.join().await;
    keeper.join().await;
    info!("stopped; {goes_on} (`lb detach` ends it)");
    fault.map_or(Ok(()), |fault| Err(Broken(fault).into()))
}

/// An agent's last two events.
const STOPS: &str = "stops";
const STOPPED: &str = "stopped";

/// Tells that this agent started, and how the one before it ended.
fn tell_start(events: &Events, fresh: bool, config: &Config) {
    let before = events.all().into_iter().rev().find(|event| event.said.kind == Kind::Agent);
    if before.is_some_and(|last| last.said.state != STOPPED) {
        let ended = Said::new(Kind::Agent, "lb", "the agent before this one ended without a word");
        events.record(ended.because("it was killed, or the machine went down"));
    }
    let found = match (fresh, config.observed.is_some()) {
        (true, _) => "nothing was forwarded before",
        (false, true) => "the program went on observing meanwhile",
        (false, false) => "the program went on forwarding meanwhile",
    };
    let cause = format!("version {}, {} services; {found}", env!("CARGO_PKG_VERSION"), config.services.len());
    let state = if config.observed.is_some() { "started, to observe alone" } else { "started" };
    events.record(Said::new(Kind::Agent, "lb", state).because(cause));
}
