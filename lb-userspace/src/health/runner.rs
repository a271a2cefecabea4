//! The edge of the health checks: a machine per target, one queue of deadlines, the probes as tasks.
//!
//! Tasks, and what cancelling each does:
//! - The runner's loop (one, from [`Runner::spawn`]) ends when its token is cancelled, its [`Handle`] is dropped or
//!   nobody receives its events any more. With it go all running checks. Nothing outside this process is left behind.
//! - A check (one task while a check of a target runs, never two of one target) is aborted when its
//!   target is removed, when it overruns its timeout, and with the loop. Its connection closes; its result is never seen.
//!
//! A target at rest costs an entry in the queue, no task and no socket. At most [`Look::limit`] checks run at once, so
//! that checks can't take the descriptors that the agent needs; those due beyond it wait in order of their deadlines, which is logged
//! and counted in [`Look::delayed`].
//!
//! What is known is written down beside the checks ([`Keeper`]), by one blocking task at a time, and once more at the end.
//!
//! Events are not lost: while the receiver is slow they wait here, the newest for each target.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::history::{History, Times};
use super::kept::{Asked, Keeper, Record, Records};
use super::machine::{Kept, Machine, Now, Outcome, Step, Ticket, first_within};
use super::via::{Hops, Passage};
use super::{Event, Health, Look, Seen, Target, Vips, probe};
use crate::pulse::Heart;

/// Targets, with what is known of each.
pub type Targets = HashMap<Target, Option<Health>>;

#[derive(Debug)]
enum Command {
    Targets(Targets),
    Vips(Vips),
    Hurry(Vec<(IpAddr, bool)>),
    Look(oneshot::Sender<Look>),
}

/// Warnings about the same thing are at least this far apart.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// Starts of checks whose lateness is kept.
const LATE: usize = 1024;

/// What the rest of the agent holds of a running [`Runner`]. The checks stop when it is dropped.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    passage: Arc<Passage>,
    task: tokio::task::JoinHandle<()>,
}

impl Handle {
    /// Makes these the targets. Those that stay keep their state and their rhythm. One that asks the same as another that is gone,
    /// at another pace, takes over what that one has: state, history and what counts against it. New ones are checked at
    /// once: one that is known to be up stays so until checks speak against it, any other is decided by its first
    /// answer. Those that are gone are checked no more, and of them no further event is sent. Events sent before may still be in the channel.
    pub fn set_targets(&self, targets: Targets) {
        // Refused only by a loop that has ended: then there is nothing to check.
        let _ = self.commands.send(Command::Targets(targets));
    }

    /// Makes these the addresses that no check is sent from; for the checks that begin from then on.
    pub fn set_vips(&self, vips: Vips) {
        let _ = self.commands.send(Command::Vips(vips));
    }

    /// Asks these reals, as far as they are up, at once where that is new of one, else no later than in doubt.
    pub fn hurry(&self, reals: Vec<(IpAddr, bool)>) {
        let _ = self.commands.send(Command::Hurry(reals));
    }

    /// What it is doing; nothing comes from a loop that has ended.
    pub fn look(&self) -> oneshot::Receiver<Look> {
        let (sender, look) = oneshot::channel();
        let _ = self.commands.send(Command::Look(sender));
        look
    }

    /// Makes these the ways to the reals that are asked on VIPs.
    pub fn set_hops(&self, hops: Hops) {
        self.passage.set_hops(hops);
    }

    /// Waits for the loop's end, after the token was cancelled.
    pub async fn join(self) {
        let Self { commands, task, .. } = self;
        drop(commands);
        if let Err(error) = task.await {
            warn!("the health checks' task failed: {error}");
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Runner {
    slots: HashMap<Id, Slot>,
    ids: HashMap<Arc<Target>, Id>,
    next_id: u64,
    vips: Arc<Vips>,
    passage: Arc<Passage>,
    /// The deadline of each machine that is not in `ready`.
    queue: BTreeSet<(Instant, Id)>,
    /// Due, but the limit was reached.
    ready: VecDeque<Id>,
    /// Have an event to send.
    outbox: VecDeque<Id>,
    checks: JoinSet<(Id, Ticket, Outcome)>,
    /// How late the last checks started.
    late: Times<LATE>,
    keeper: Keeper,
    limit: usize,
    delayed: u64,
    warned_limit: Option<Instant>,
    warned_void: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Id(u64);

#[derive(Debug)]
struct Slot {
    target: Arc<Target>,
    /// Of its checks.
    memory: Arc<probe::Memory>,
    machine: Machine,
    queued: Option<Instant>,
    running: Option<AbortHandle>,
    /// When the last check started.
    began: Instant,
    history: History,
    /// What was known before the agent started, until a check has said something.
    before: Option<Kept>,
    event: Option<Health>,
}

impl Runner {
    /// Starts the loop, with as many checks at once as the process's descriptors allow.
    #[must_use]
    pub fn spawn(events: mpsc::Sender<Event>, cancel: CancellationToken, keeper: Keeper, heart: Heart) -> Handle {
        Self::spawn_with_limit(events, cancel, limit_of_descriptors(), keeper, heart)
    }

    /// Starts the loop with at most `limit` checks at once (at least one).
    #[must_use]
    pub fn spawn_with_limit(
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
        limit: usize,
        keeper: Keeper,
        heart: Heart,
    ) -> Handle {
        let limit = limit.max(1);
        let (sender, commands) = mpsc::unbounded_channel();
        let passage = Arc::<Passage>::default();
        let runner = Self {
            slots: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            vips: Arc::default(),
            passage: Arc::clone(&passage),
            queue: BTreeSet::new(),
            ready: VecDeque::new(),
            outbox: VecDeque::new(),
            checks: JoinSet::new(),
            late: Times::default(),
            keeper,
            limit,
            delayed: 0,
            warned_limit: None,
            warned_void: None,
        };
        let task = tokio::spawn(heart.during(runner.run(commands, events, cancel)));
        Handle { commands: sender, passage, task }
    }

    async fn run(
        mut self,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) {
        self.check(commands, events, cancel).await;
        let all = self.records();
        // Those that run end here.
        drop(self.checks);
        self.keeper.finish(all).await;
    }

    async fn check(
        &mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) {
        loop {
            let wake = self.queue.first().map(|(deadline, _)| *deadline);
            let wake = wake.into_iter().chain(self.keeper.deadline()).min();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = events.closed() => return,
                command = commands.recv() => match command {
                    Some(Command::Targets(targets)) => self.set_targets(targets),
                    Some(Command::Vips(vips)) => self.vips = Arc::new(vips),
                    Some(Command::Hurry(reals)) => self.hurry(&reals),
                    // Whoever asked may have gone.
                    Some(Command::Look(answer)) => { let _ = answer.send(self.look()); }
                    None => return,
                },
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(event) = self.next_event() {
                            permit.send(event);
                        }
                    }
                    Err(_) => return,
                },
                Some(ended) = self.checks.join_next(), if !self.checks.is_empty() => self.ended(ended),
                () = self.keeper.written() => {}
                () = sleep_until(wake) => self.tick(),
            }
            self.start_ready();
            self.keep();
        }
    }

    fn hurry(&mut self, reals: &[(IpAddr, bool)]) {
        let now = Instant::now();
        let reals: HashMap<IpAddr, bool> = reals.iter().copied().collect();
        let suspect = self.slots.iter_mut().filter(|(_, slot)| slot.queued.is_some() && slot.running.is_none());
        let mut hurried = Vec::new();
        for (id, slot) in suspect {
            if let Some(new) = reals.get(&slot.target.address) {
                slot.machine.hurry(now, *new);
                hurried.push(*id);
            }
        }
        hurried.into_iter().for_each(|id| self.enqueue(id));
    }

    /// Writes down what is known, if that is due.
    fn keep(&mut self) {
        let now = now();
        let slots = &self.slots;
        self.keeper.tick(now.monotonic, || slots.values().filter_map(|slot| slot.record(now)).collect());
    }

    fn records(&self) -> Vec<(Asked, Record)> {
        let now = now();
        self.slots.values().filter_map(|slot| slot.record(now)).collect()
    }

    fn set_targets(&mut self, targets: Targets) {
        let gone = self.ids.iter().filter(|(target, _)| !targets.contains_key(target.as_ref()));
        let mut heirless: HashMap<IpAddr, Vec<Id>> = HashMap::new();
        for (target, id) in gone {
            heirless.entry(target.address).or_default().push(*id);
        }
        let now = Instant::now();
        let mut new = Vec::new();
        for (target, known) in targets {
            if self.ids.contains_key(&target) {
                continue;
            }
            match self.take_same(heirless.get_mut(&target.address), &target) {
                Some(id) => self.inherit(id, target, known.as_ref(), now),
                None => new.push((target, known)),
            }
        }
        for id in heirless.into_values().flatten() {
            self.remove(id);
        }
        let within = first_within(new.len());
        for (target, known) in new {
            self.add(target, known, within);
        }
        // What is left of it is nobody's.
        self.keeper.before = Records::default();
    }

    /// One of these that asks the same as the target, which it is taken out for.
    fn take_same(&self, from: Option<&mut Vec<Id>>, target: &Target) -> Option<Id> {
        let from = from?;
        let asks = |id: &Id| self.slots.get(id).is_some_and(|slot| slot.target.asks_the_same(target));
        let position = from.iter().position(asks)?;
        Some(from.swap_remove(position))
    }

    /// What was one target is this one from now on, of which `known` is known elsewhere.
    fn inherit(&mut self, id: Id, target: Target, known: Option<&Health>, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        self.ids.remove(slot.target.as_ref());
        slot.machine.set_pace(&target.check, now, fastrand::u64(..));
        slot.target = Arc::new(target);
        self.ids.insert(Arc::clone(&slot.target), id);
        // News that was on its way under the old name is nobody's any more.
        let news = Some(slot.machine.health()).filter(|held| slot.machine.is_reported() && Some(*held) != known);
        let news = news.cloned();
        if news.is_none() {
            slot.event = None;
        }
        self.report(id, news);
        self.enqueue(id);
    }

    /// A new target, of which `known` is known elsewhere. Where that is what was written down, it goes on from there.
    fn add(&mut self, target: Target, known: Option<Health>, within: Duration) {
        let (id, now, random) = (Id(self.next_id), now(), fastrand::u64(..));
        self.next_id += 1;
        let (before, history) = match self.keeper.before.take(&target) {
            Some(Record { kept, history }) => (Some(kept), history),
            None => (None, History::default()),
        };
        let goes_on = |kept: &&Kept| known.as_ref() == Some(&kept.health) && kept.counts(&target.check, now.wall);
        let (machine, before) = match before.as_ref().filter(goes_on) {
            Some(kept) => (Machine::resume(&target.check, kept, within, now, random), None),
            None => {
                let known = known.filter(|known| matches!(known, Health::Up { .. }));
                let mut machine = Machine::new(&target.check, known, within, now.monotonic, random);
                machine.remember_weight(before.as_ref().and_then(|kept| kept.weight));
                (machine, before)
            }
        };
        let target = Arc::new(target);
        self.ids.insert(Arc::clone(&target), id);
        let (memory, began) = (Arc::default(), now.monotonic);
        let slot = Slot { target, memory, machine, queued: None, running: None, began, history, before, event: None };
        self.slots.insert(id, slot);
        self.enqueue(id);
    }

    /// Leaves its id in `ready` and `outbox`, where it is passed over.
    fn remove(&mut self, id: Id) {
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        self.ids.remove(slot.target.as_ref());
        if let Some(deadline) = slot.queued {
            self.queue.remove(&(deadline, id));
        }
        if let Some(check) = slot.running {
            check.abort();
        }
    }

    /// Puts a target in the queue at its machine's deadline.
    fn enqueue(&mut self, id: Id) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if let Some(old) = slot.queued.take() {
            self.queue.remove(&(old, id));
        }
        let deadline = slot.machine.deadline();
        slot.queued = Some(deadline);
        self.queue.insert((deadline, id));
    }

    /// Takes what is due out of the queue: starts go to `ready`, overrun checks are stopped.
    fn tick(&mut self) {
        let now = now();
        while let Some((deadline, id)) = self.queue.first().copied() {
            if deadline > now.monotonic {
                return;
            }
            self.queue.pop_first();
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            slot.queued = None;
            if slot.running.is_none() {
                if self.checks.len() + self.ready.len() >= self.limit {
                    self.delayed += 1;
                }
                self.ready.push_back(id);
                continue;
            }
            match slot.machine.tick(now, fastrand::u64(..)) {
                Step::GiveUp(_, outcome, report) => {
                    slot.before = None;
                    slot.history.note(now.wall, now.monotonic.duration_since(slot.began), &outcome);
                    if let Some(check) = slot.running.take() {
                        check.abort();
                    }
                    self.report(id, report);
                }
                Step::Start(_) | Step::Wait => {}
            }
            self.enqueue(id);
        }
    }

    fn start_ready(&mut self) {
        while self.checks.len() < self.limit {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            self.start(id);
        }
        self.tell_waiting();
    }

    fn start(&mut self, id: Id) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let (due, now) = (slot.machine.next_start(), now());
        if let Step::Start(ticket) = slot.machine.tick(now, fastrand::u64(..)) {
            self.late.note(now.monotonic.duration_since(due));
            slot.began = now.monotonic;
            let (target, vips) = (Arc::clone(&slot.target), Arc::clone(&self.vips));
            let (passage, memory) = (Arc::clone(&self.passage), Arc::clone(&slot.memory));
            let check = async move { (id, ticket, probe::run_by(&target, &vips, &passage, &memory).await) };
            slot.running = Some(self.checks.spawn(check));
        }
        self.enqueue(id);
    }

    fn tell_waiting(&mut self) {
        let waiting = self.ready.len();
        if waiting == 0 {
            return;
        }
        let now = Instant::now();
        if due_again(&mut self.warned_limit, now) {
            warn!(
                "{waiting} health checks wait, since {} are running: raise LimitNOFILE, or lengthen intervals or shorten timeouts",
                self.limit
            );
        }
    }

    fn ended(&mut self, ended: Result<(Id, Ticket, Outcome), tokio::task::JoinError>) {
        let (id, ticket, outcome) = match ended {
            Ok(result) => result,
            // Aborted: nobody waits for it. (One that panicked is given up by its machine.)
            Err(error) => {
                if error.is_panic() {
                    warn!("a health check's task failed: {error}");
                }
                return;
            }
        };
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if let Outcome::Void(why) = &outcome {
            debug!(target = ?slot.target, "a check says nothing: {why}");
            if due_again(&mut self.warned_void, Instant::now()) {
                let address = slot.target.address;
                warn!("health checks can't be made, {address}'s and maybe others: {why}");
            }
        }
        let now = now();
        if !matches!(outcome, Outcome::Void(_)) {
            slot.before = None;
        }
        slot.history.note(now.wall, now.monotonic.duration_since(slot.began), &outcome);
        let report = slot.machine.finish(ticket, outcome, now);
        slot.running = None;
        self.report(id, report);
        self.enqueue(id);
    }

    fn look(&self) -> Look {
        let now = Instant::now();
        let seen = |slot: &Slot| Seen {
            target: Arc::clone(&slot.target),
            health: slot.machine.health().clone(),
            phase: slot.machine.phase(now),
            next: slot.machine.next_start(),
            running: slot.running.is_some(),
            history: slot.history.clone(),
            before: slot.before.clone(),
        };
        Look {
            checks: self.slots.values().map(seen).collect(),
            limit: self.limit,
            running: self.checks.len(),
            waiting: self.ready.len(),
            delayed: self.delayed,
            late: self.late.percentile(99),
        }
    }

    fn report(&mut self, id: Id, health: Option<Health>) {
        let (Some(health), Some(slot)) = (health, self.slots.get_mut(&id)) else {
            return;
        };
        if slot.event.replace(health).is_none() {
            self.outbox.push_back(id);
        }
        self.keeper.hurry(Instant::now());
    }

    fn next_event(&mut self) -> Option<Event> {
        while let Some(id) = self.outbox.pop_front() {
            if let Some(slot) = self.slots.get_mut(&id)
                && let Some(health) = slot.event.take()
            {
                let (target, weight) = (slot.target.as_ref().clone(), slot.machine.weight());
                return Some(Event { target, health, weight });
            }
        }
        None
    }
}

impl Slot {
    /// What is known, or was before the agent started.
    fn record(&self, now: Now) -> Option<(Asked, Record)> {
        let kept = self.machine.kept(now).or_else(|| self.before.clone())?;
        Some((Asked::of(&self.target), Record { kept, history: self.history.clone() }))
    }
}

fn now() -> Now {
    Now { monotonic: Instant::now(), wall: SystemTime::now() }
}

/// Whether a warning is due again, in which case it is marked as given.
fn due_again(last: &mut Option<Instant>, now: Instant) -> bool {
    let due = last.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
    if due {
        *last = Some(now);
    }
    due
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Half of the descriptors that this process may open; the rest is for maps, netlink and the API.
fn limit_of_descriptors() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    usize::try_from(soft / 2).unwrap_or(usize::MAX).clamp(16, 10_000)
}

#[cfg(test)]
mod tests;
