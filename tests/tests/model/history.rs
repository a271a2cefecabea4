//! A random history of two directors, their reals and their clients, against a reference that remembers everything.
#![expect(clippy::indexing_slicing, reason = "a test may stop where its own tables are wrong")]

mod clients;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;

use fastrand::Rng;
use lb_common::header::protocol::{TCP, UDP};
use lb_common::maps::Service;
use lb_userspace::peers::Told;
use lb_userspace::peers::state::Stage;

use super::director::Director;
use super::exception::Exception;
use super::wish::{Name, Opinion, Wish};

/// A connection that the reference knows.
struct Connection {
    real: u8,
    last: u64,
    packets: u32,
    /// It was opened where every connection is remembered.
    tracked: bool,
    /// Of its client's own: it said that it ends, and goes on to listen.
    closing: bool,
    /// What may move it, from now on.
    excused: BTreeSet<Exception>,
}

/// What happened.
#[derive(Default)]
pub struct Outcome {
    pub packets: u64,
    pub settled: u64,
    pub excused: BTreeMap<Exception, u64>,
    /// A move that nothing excuses, with the events before it.
    pub fault: Option<String>,
}

struct History {
    random: Rng,
    now: u64,
    master: Director,
    backup: Director,
    /// What was told at these steps and isn't heard yet.
    told: VecDeque<(u64, Vec<Told>)>,
    /// How many tellings are on their way.
    lag: usize,
    /// What was so before this step the backup knows; nothing, since it was met.
    heard: Option<u64>,
    /// When the master last was another one than before.
    swapped: u64,
    step: u64,
    /// When each connection that was opened within the lag was.
    alive: BTreeSet<u8>,
    connections: Vec<(Name, Connection)>,
    /// Steps at which packets last changed what is remembered of whom.
    touched: BTreeMap<usize, u64>,
    next: u32,
    /// A real that starts slowly, and its next weight.
    ramp: Option<(u8, u32)>,
    quic: bool,
    /// Directors lose what they know, and hashes change.
    rough: bool,
    /// Events are kept.
    telling: bool,
    log: RefCell<Vec<String>>,
    seed: u64,
    outcome: Outcome,
}

const REALS: u8 = 12;

/// Plays one history; where it finds a fault once more, for all that led to it.
pub fn play(seed: u64, steps: u64) -> Outcome {
    let outcome = History::new(seed, false).play(steps);
    if outcome.fault.is_none() { outcome } else { History::new(seed, true).play(steps) }
}

impl History {
    fn new(seed: u64, telling: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let flags = [0, Service::BY_SOURCE, Service::TRACKED][random.usize(..3)];
        let (protocol, kind) = [(TCP, 0), (UDP, 0), (UDP, Service::QUIC)][random.usize(..3)];
        let weights: BTreeMap<u8, u32> = (1..=random.u8(1..=7)).map(|real| (real, random.u32(1..4))).collect();
        let wish = Wish {
            protocol,
            flags: flags | kind,
            ring_size: [7, 13, 31][random.usize(..3)],
            hash_seed: 0,
            weights,
            opinions: BTreeMap::new(),
        };
        // The smallest table has room for few, and the clock's bits wrap in some histories.
        let lines = [2, 64, 64][random.usize(..3)];
        let now = [1000, (1 << 18) - 400][random.usize(..2)];
        Self {
            master: Director::new(wish.clone(), lines, true, now),
            backup: Director::new(wish, lines, false, now),
            told: VecDeque::new(),
            lag: random.usize(0..3),
            step: 0,
            heard: None,
            swapped: 0,
            alive: (1..=REALS).collect(),
            connections: Vec::new(),
            touched: BTreeMap::new(),
            next: 0,
            ramp: None,
            rough: seed.is_multiple_of(4),
            quic: kind == Service::QUIC,
            telling,
            log: RefCell::default(),
            seed,
            outcome: Outcome::default(),
            random,
            now,
        }
    }

    fn play(mut self, steps: u64) -> Outcome {
        for _ in 0..steps {
            self.step();
            if let Some(fault) = &mut self.outcome.fault {
                *fault = format!("{fault}\n  {}", self.log.borrow().join("\n  "));
                break;
            }
        }
        self.outcome.settled += u64::from(self.master.unsettled() == 0);
        self.outcome
    }

    fn step(&mut self) {
        self.step += 1;
        if self.random.u32(..4) == 0 {
            self.exchange(self.lag);
        }
        if self.random.u32(..8) == 0 {
            self.go_on_slowly();
        }
        match self.random.u32(..1000) {
            0..220 => self.open(),
            220..600 => self.speak(),
            600..640 => self.end(),
            640..655 => self.open_again(),
            655..820 => self.pass(),
            820..870 => self.master.sweep(100, self.now),
            870..906 => self.configure(),
            906..910 => self.ramp = Some((self.random.u8(1..=REALS), 1)),
            910..940 => self.judge(),
            940..950 => self.die(),
            950..960 => self.come_back(),
            960..968 => self.schedule(),
            968..974 => self.flood(),
            974..980 => self.restart(),
            980..995 => self.swap(),
            995..998 => self.reboot(),
            _ if self.rough => self.hash_otherwise(),
            _ => self.speak(),
        }
    }

    /// Each tells its news; the last `lag` tellings are on their way.
    fn exchange(&mut self, lag: usize) {
        // Words of one that doesn't serve change nothing on their way.
        for told in self.backup.tell(self.now) {
            self.master.hear(&told, self.now);
        }
        self.told.push_back((self.step, self.master.tell(self.now)));
        while self.told.len() > lag {
            let Some((step, told)) = self.told.pop_front() else { break };
            told.iter().for_each(|told| self.hear(told));
            self.heard = Some(step);
        }
    }

    /// The backup hears of slots, reals and connections; some may find no place in its table, or no real.
    fn hear(&mut self, told: &Told) {
        let Told::Flows(flows) = told else { return self.backup.hear(told, self.now) };
        for flow in flows {
            let IpAddr::V4(client) = flow.client.0 else { continue };
            let name = Name { client: client.to_bits(), port: flow.client.1 };
            let IpAddr::V4(real) = flow.real else { continue };
            if !self.backup.has(real.octets()[3]) {
                self.excuse(Exception::NotConfigured, |held| held == name);
            }
            let before = self.backup.tags_around(name);
            self.backup.hear(&Told::Flows(vec![*flow]), self.now);
            let (tag, after) = (self.backup.place(name).tag, self.backup.tags_around(name));
            let mut lost = before;
            lost.retain(|tag| !after.contains(tag));
            if flow.stage != Stage::Gone && !after.contains(&tag) {
                lost.push(tag);
            }
            self.excuse_lost(&lost);
        }
    }

    /// Keeps an event for whoever reads of a fault.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        if self.telling {
            self.log.borrow_mut().push(format!("{} s: {event}", self.now));
        }
    }

    fn pass(&mut self) {
        let seconds = match self.random.u32(..100) {
            0..70 => self.random.u64(0..3),
            70..95 => self.random.u64(3..70),
            95..99 => self.random.u64(70..400),
            _ => self.random.u64(400..1000),
        };
        self.now += seconds;
        self.master.at(self.now);
        self.backup.at(self.now);
        self.note(format_args!("{seconds} s pass"));
        // In parts, so that packets and changes come between; whole where much time passes, as it would be.
        let lines = if seconds > 5 { u32::MAX / 2 } else { 200 };
        for _ in 0..1 + u32::from(seconds > 5) {
            self.master.sweep(lines, self.now);
            self.backup.sweep(lines, self.now);
        }
    }

    /// A reload, which may reach one director alone.
    fn configure(&mut self) {
        let (real, weight) = (self.random.u8(1..=REALS), self.random.u32(..4));
        let leaves = self.random.u32(..3) == 0;
        let change = |wish: &mut Wish| {
            if leaves && wish.weights.len() > 1 {
                wish.weights.remove(&real);
            } else {
                wish.weights.insert(real, weight);
            }
        };
        let which = self.random.u32(..4);
        if which != 0 {
            self.note(format_args!("real {real}: {}", if leaves { "removed" } else { "weight" }));
            self.master.configure(change, self.now);
        }
        if which != 1 {
            self.backup.configure(change, self.now);
        }
    }

    /// A real that starts slowly has a tenth more, on directors that go by clocks of their own.
    fn go_on_slowly(&mut self) {
        let Some((real, weight)) = self.ramp else { return };
        self.ramp = (weight < 10).then_some((real, weight + 1));
        let change = |wish: &mut Wish| {
            wish.weights.insert(real, weight);
        };
        let which = self.random.u32(..4);
        if which != 0 {
            self.note(format_args!("real {real} starts slowly: {weight}"));
            self.master.configure(change, self.now);
        }
        if which != 1 {
            self.backup.configure(change, self.now);
        }
    }

    /// A director changes its opinion of a real that lives.
    fn judge(&mut self) {
        let real = self.random.u8(1..=REALS);
        if !self.alive.contains(&real) {
            return;
        }
        let opinion =
            [Opinion::Up, Opinion::Up, Opinion::Quiesced, Opinion::Quiesced, Opinion::Down][self.random.usize(..5)];
        if self.random.u32(..3) == 0 {
            self.backup.wish.opinions.insert(real, opinion);
            self.backup.apply(self.now);
            return;
        }
        self.note(format_args!("real {real} is thought to be {opinion:?}"));
        self.master.wish.opinions.insert(real, opinion);
        self.excuse_dead();
        self.master.apply(self.now);
    }

    /// Connections of reals that the master gives up go to others.
    fn excuse_dead(&mut self) {
        for (_, held) in &mut self.connections {
            if self.master.wish.opinion(held.real) == Opinion::Down {
                held.excused.insert(Exception::TakenForDead);
            }
        }
    }

    fn die(&mut self) {
        let real = self.random.u8(1..=REALS);
        if self.alive.len() < 3 || !self.alive.remove(&real) {
            return;
        }
        self.note(format_args!("real {real} dies"));
        self.connections.retain(|(_, held)| held.real != real);
        self.backup.wish.opinions.insert(real, Opinion::Down);
        self.master.wish.opinions.insert(real, Opinion::Down);
        // New connections meet it until that is noticed.
        if self.random.bool() {
            self.open();
        }
        self.master.apply(self.now);
        self.backup.apply(self.now);
    }

    fn come_back(&mut self) {
        let real = self.random.u8(1..=REALS);
        if self.alive.insert(real) {
            self.note(format_args!("real {real} is back"));
            self.backup.wish.opinions.insert(real, Opinion::Up);
            self.master.wish.opinions.insert(real, Opinion::Up);
            self.master.apply(self.now);
            self.backup.apply(self.now);
        }
    }

    /// From a ring to turns or back: both go by the flow's hash.
    fn schedule(&mut self) {
        let flags = self.master.wish.flags;
        if flags & Service::BY_SOURCE != 0 {
            return;
        }
        let flags = flags ^ Service::TRACKED;
        let which = self.random.u32(..5);
        self.note(format_args!("flags {flags} for {}", ["the other one", "this one", "both"][which.min(2) as usize]));
        if which != 1 {
            self.backup.configure(|wish| wish.flags = flags, self.now);
        }
        if which != 0 {
            self.follow_scheduler(flags);
            self.master.configure(|wish| wish.flags = flags, self.now);
        }
    }

    /// What serves has another scheduler from now on.
    fn follow_scheduler(&mut self, flags: u16) {
        self.connections.iter_mut().for_each(|(_, held)| held.tracked = true);
        if flags & Service::TRACKED != 0 && self.master.wish.protocol != TCP {
            self.excuse(Exception::BecameTracked, |_| true);
        }
    }

    fn restart(&mut self) {
        self.note(format_args!("the agent restarts"));
        self.master.restart(self.now);
        self.backup.told.start_anew();
        self.heard = None;
    }

    /// The backup takes over: in order, with all that the master knows, or when it died, with what it was told before. Then
    /// that one starts with empty maps.
    fn swap(&mut self) {
        let orderly = self.random.bool();
        self.note(format_args!(
            "the other director takes over, {}",
            if orderly { "in order" } else { "without warning" }
        ));
        for (name, held) in &mut self.connections {
            let touched = self.touched.get(&usize::from(name.port)).copied().unwrap_or_default();
            if !orderly && self.heard.is_none_or(|heard| touched >= heard) {
                held.excused.insert(Exception::WithinLag);
            }
            if held.packets == 1 {
                held.excused.insert(Exception::OnlyOpened);
            }
        }
        if orderly {
            self.exchange(0);
            self.master.serve(false, self.now);
            // The successor hears of that before or after it begins to serve.
            if self.random.bool() {
                let told = self.master.tell(self.now);
                told.iter().for_each(|told| self.hear(told));
            }
        } else {
            self.master = Director::new(self.master.wish.clone(), self.master.lines(), false, self.now);
        }
        self.heard = None;
        self.told.clear();
        if self.backup.is_tracked() != self.master.is_tracked() {
            self.follow_scheduler(self.backup.wish.flags);
        }
        self.backup.serve(true, self.now);
        std::mem::swap(&mut self.master, &mut self.backup);
        self.swapped = self.now;
        self.excuse_dead();
        for (_, held) in self.connections.iter_mut().filter(|(_, held)| !self.master.has(held.real)) {
            held.excused.insert(Exception::NotConfigured);
        }
    }

    /// A director reboots, and nobody is beside it.
    fn reboot(&mut self) {
        if !self.rough || self.random.u32(..4) > 0 {
            self.swap();
            return;
        }
        self.note(format_args!("the only director reboots"));
        self.excuse(Exception::Rebooted, |_| true);
        self.master = Director::new(self.master.wish.clone(), self.master.lines(), true, self.now);
        self.backup = Director::new(self.backup.wish.clone(), self.master.lines(), false, self.now);
        self.heard = None;
        self.told.clear();
    }

    fn hash_otherwise(&mut self) {
        let (size, seed) = ([7, 13, 31][self.random.usize(..3)], self.random.u64(..3));
        self.note(format_args!("rings of {size} slots, seed {seed}"));
        for (_, held) in &mut self.connections {
            held.excused.insert(Exception::OtherHash);
        }
        let change = |wish: &mut Wish| (wish.ring_size, wish.hash_seed) = (size, seed);
        self.backup.configure(change, self.now);
        self.master.configure(change, self.now);
    }
}
