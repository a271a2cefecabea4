//! The edge: the neighbour machine joined with netlink.
//!
//! Tasks, and what cancelling each does:
//! - The runner's loop (one, from [`Runner::spawn`]) ends when its token is cancelled, its [`Handle`] is dropped or nobody
//!   receives its events any more. The kernel keeps its neighbour entries; nothing is taken back.
//! - Two netlink connections (one for requests, one for notifications), driven by a task each, which end with the loop.
//!   If one fails, both are made anew and everything is asked for again; what was reported stays until then.
//!
//! The sockets belong to the network namespace of the thread that polls the loop first: with a multi-thread runtime, the process's own.
//!
//! Events are not lost: while the receiver is slow they wait here, the newest for each address. Notifications that the kernel had to
//! drop (its socket buffer was full) are made up for by a full dump.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::proto::Connection;
use rtnetlink::sys::AsyncSocket as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::NeighbourEvent;
use super::event::{Action, Input, Route};
use super::kernel;
use super::machine::Machine;
use crate::host::links::Error;
use crate::pulse::Heart;

/// Reals, each with the interface that its configuration names.
pub type Addresses = HashMap<IpAddr, Option<String>>;

/// Requests to the kernel that are under way at once.
const REQUESTS: usize = 64;
/// Socket buffer for notifications, in bytes: a probe of 10,000 reals is told in some 20,000 of them.
const BUFFER: usize = 16 << 20;
/// Full dumps are at least this far apart, however much is lost.
const DUMPS_APART: Duration = Duration::from_millis(200);
/// Wait before netlink is tried again.
const AGAIN: Duration = Duration::from_secs(1);

const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// What the rest of the agent holds of a running [`Runner`]. It stops when this is dropped.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Addresses>,
    links: watch::Receiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Handle {
    /// Makes these the reals whose MAC addresses are kept. For each new one an event follows, at the latest after
    /// about a second and a half; for those that stay with the same interface only when something changes; for those that are gone
    /// none (one that was sent before may still be in the channel).
    pub fn set_addresses(&self, addresses: Addresses) {
        // Refused only by a loop that has ended.
        let _ = self.commands.send(addresses);
    }

    /// Changes whenever an interface came, went or changed; also when nothing did that matters.
    #[must_use]
    pub fn links(&self) -> watch::Receiver<()> {
        self.links.clone()
    }

    /// Waits for the loop's end, after the token was cancelled.
    pub async fn join(self) {
        let Self { commands, task, .. } = self;
        drop(commands);
        if let Err(error) = task.await {
            warn!("the neighbours' task failed: {error}");
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Runner {
    machine: Machine,
    /// To be carried out.
    actions: VecDeque<Action>,
    /// Of the socket for notifications, in bytes.
    buffer: usize,
    dump_wanted: bool,
    outbox: VecDeque<IpAddr>,
    events: HashMap<IpAddr, NeighbourEvent>,
    /// Of the interfaces: who else follows them needs no netlink socket for it.
    links: watch::Sender<()>,
}

/// Why a netlink session ended.
enum End {
    /// For good.
    Stop,
    Failed(Error),
}

type Answer = Result<Option<Input>, Error>;
type Notifications =
    futures_util::stream::BoxStream<'static, (NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr)>;

impl Runner {
    /// Starts the loop on the current runtime.
    #[must_use]
    pub fn spawn(events: mpsc::Sender<NeighbourEvent>, cancel: CancellationToken, heart: Heart) -> Handle {
        Self::spawn_with_buffer(events, cancel, BUFFER, heart)
    }

    fn spawn_with_buffer(
        events: mpsc::Sender<NeighbourEvent>,
        cancel: CancellationToken,
        buffer: usize,
        heart: Heart,
    ) -> Handle {
        let (sender, commands) = mpsc::unbounded_channel();
        let (changed, links) = watch::channel(());
        let runner = Self {
            machine: Machine::new(fastrand::u64(..)),
            actions: VecDeque::new(),
            buffer,
            dump_wanted: false,
            outbox: VecDeque::new(),
            events: HashMap::new(),
            links: changed,
        };
        Handle { commands: sender, links, task: tokio::spawn(heart.during(runner.run(commands, events, cancel))) }
    }

    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Addresses>,
        events: mpsc::Sender<NeighbourEvent>,
        cancel: CancellationToken,
    ) {
        loop {
            match self.session(&mut commands, &events, &cancel).await {
                End::Stop => return,
                End::Failed(error) => warn!("{error}; trying again in {AGAIN:?}"),
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Works over one pair of connections until one fails.
    async fn session(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Addresses>,
        events: &mpsc::Sender<NeighbourEvent>,
        cancel: &CancellationToken,
    ) -> End {
        let mut connections = JoinSet::new();
        let (handle, mut notifications) = match connect(&mut connections, self.buffer) {
            Ok(connected) => connected,
            Err(error) => return End::Failed(Error::Socket(error)),
        };
        let mut requests: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
        let mut dumping = false;
        let mut dump_from = Instant::now();
        self.dump_wanted = true;
        self.feed(Some(Input::RoutesChanged));
        loop {
            if self.dump_wanted && !dumping && dump_from <= Instant::now() {
                self.dump_wanted = false;
                dumping = true;
                dump_from = Instant::now() + DUMPS_APART;
                let handle = handle.clone();
                requests.push(async move { kernel::dump(&handle).await.map(Some) }.boxed());
            }
            while requests.len() < REQUESTS
                && let Some(action) = self.actions.pop_front()
            {
                if let Some(request) = request(&handle, action) {
                    requests.push(request);
                }
            }
            let deadline = self.machine.deadline();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return End::Stop,
                () = events.closed() => return End::Stop,
                command = commands.recv() => match command {
                    Some(addresses) => {
                        self.events.retain(|address, _| addresses.contains_key(address));
                        let actions = self.machine.set_addresses(addresses, Instant::now());
                        self.take(actions);
                    }
                    None => return End::Stop,
                },
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(event) = self.next_event() {
                        permit.send(event);
                    },
                    Err(_) => return End::Stop,
                },
                Some(answer) = requests.next(), if !requests.is_empty() => match answer {
                    Ok(input) => {
                        dumping &= !matches!(input, Some(Input::Dump(..)));
                        self.feed(input);
                    }
                    Err(error) => return End::Failed(error),
                },
                // Not while a dump is under way: what is told meanwhile is newer than the dump.
                notification = notifications.next(), if !dumping => match notification {
                    Some((message, _)) => self.notified(message),
                    None => return End::Failed(ended()),
                },
                Some(_) = connections.join_next() => return End::Failed(ended()),
                () = sleep_until(Some(dump_from)), if self.dump_wanted && !dumping => {}
                () = sleep_until(deadline) => self.feed(Some(Input::Tick)),
            }
        }
    }

    fn notified(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        match message.payload {
            NetlinkPayload::InnerMessage(message) => self.feed(kernel::input(message)),
            NetlinkPayload::Overrun(_) => {
                debug!("netlink notifications were lost: asking for everything again");
                self.dump_wanted = true;
                self.feed(Some(Input::RoutesChanged));
            }
            _ => {}
        }
    }

    fn feed(&mut self, input: Option<Input>) {
        if let Some(input) = input {
            if matches!(input, Input::Link(_) | Input::LinkGone(_) | Input::Dump(..)) {
                self.links.send_replace(());
            }
            let actions = self.machine.handle(input, Instant::now());
            self.take(actions);
        }
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Dump => self.dump_wanted = true,
                Action::Report(event) => {
                    let address = event.address;
                    if self.events.insert(address, event).is_none() {
                        self.outbox.push_back(address);
                    }
                }
                other => self.actions.push_back(other),
            }
        }
    }

    fn next_event(&mut self) -> Option<NeighbourEvent> {
        while let Some(address) = self.outbox.pop_front() {
            if let Some(event) = self.events.remove(&address) {
                return Some(event);
            }
        }
        None
    }
}

/// Opens both connections; the notifications' is first, so that no change falls between the dump and them.
fn connect(connections: &mut JoinSet<()>, buffer: usize) -> io::Result<(rtnetlink::Handle, Notifications)> {
    let (mut connection, _, notifications) = rtnetlink::new_multicast_connection(&GROUPS)?;
    set_buffer(&mut connection, buffer);
    connections.spawn(connection);
    let (connection, handle, _) = rtnetlink::new_connection()?;
    connections.spawn(connection);
    Ok((handle, notifications.boxed()))
}

/// Without the privilege to exceed the system's limit, the limit; what overflows then is made up for by dumps.
fn set_buffer(connection: &mut Connection<RouteNetlinkMessage>, buffer: usize) {
    let socket = connection.socket_mut().socket_mut();
    if setsockopt(socket, sockopt::RcvBufForce, &buffer).is_err()
        && let Err(error) = setsockopt(socket, sockopt::RcvBuf, &buffer)
    {
        debug!("the netlink socket keeps its default buffer: {error}");
    }
}

/// The request that carries an action out; its answer is what the machine is told next.
fn request(handle: &rtnetlink::Handle, action: Action) -> Option<BoxFuture<'static, Answer>> {
    let handle = handle.clone();
    Some(match action {
        Action::LookUp(address, number) => async move {
            let route: Route = kernel::look_up(&handle, address).await?;
            Ok(Some(Input::Route(address, number, route)))
        }
        .boxed(),
        Action::Resolve(address, ifindex) => async move {
            let refused = kernel::resolve(&handle, address, ifindex).await.err();
            Ok(refused.map(|why| Input::ResolveRefused(address, ifindex, why)))
        }
        .boxed(),
        Action::Repeat(address, ifindex) => async move {
            let refused = kernel::repeat(&handle, address, ifindex).await.err();
            Ok(refused.map(|why| Input::ResolveRefused(address, ifindex, why)))
        }
        .boxed(),
        Action::Confirm(address, ifindex) => async move {
            let refused = kernel::confirm(&handle, address, ifindex).await.err();
            Ok(refused.map(|_| Input::ConfirmRefused(address, ifindex)))
        }
        .boxed(),
        // Both were taken out before.
        Action::Dump | Action::Report(_) => return None,
    })
}

fn ended() -> Error {
    Error::Request { what: "listening for changes", why: io::Error::other("the netlink connection ended") }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
