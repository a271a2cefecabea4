//! A random history of two directors, their reals and their clients, against a reference that remembers everything.
#![expect(clippy::indexing_slicing, reason = "a test may stop where its own tables are wrong")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use lb_common::Opens;
use lb_common::flow::Stage;
use lb_common::header::protocol::{TCP, UDP};
use lb_common::maps::Service;

use super::director::{Director, Name, Opinion, TIMEOUTS, Told, Wish};

/// Why a connection to a living real may go to another one. ARCHITECTURE.md lists them by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exception {
    SilentForLong,
    HalfClosed,
    OnePacket,
    OpenerAgain,
    TableFull,
    TakenForDead,
    WithinLag,
    OnlyOpened,
    Rebooted,
    OtherHash,
    BecameTracked,
}

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
    /// What the backup was told, with the step at which it was.
    told: VecDeque<(u64, Told)>,
    lag: u64,
    step: u64,
    /// When each connection that was opened within the lag was.
    alive: BTreeSet<u8>,
    connections: Vec<(Name, Connection)>,
    /// Steps at which packets last changed what is remembered of whom.
    touched: BTreeMap<usize, u64>,
    next: u32,
    quic: bool,
    /// Directors lose what they know, and hashes change.
    rough: bool,
    log: VecDeque<String>,
    outcome: Outcome,
}

const REALS: u8 = 12;

/// Plays one history.
pub fn play(seed: u64, steps: u64) -> Outcome {
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
    let mut history = History {
        master: Director::new(wish.clone(), lines, now),
        backup: Director::new(wish, lines, now),
        told: VecDeque::new(),
        lag: random.u64(0..4),
        step: 0,
        alive: (1..=REALS).collect(),
        connections: Vec::new(),
        touched: BTreeMap::new(),
        next: 0,
        rough: seed.is_multiple_of(4),
        quic: kind == Service::QUIC,
        log: VecDeque::new(),
        outcome: Outcome::default(),
        random,
        now,
    };
    for _ in 0..steps {
        history.step();
        if let Some(fault) = &mut history.outcome.fault {
            let events: Vec<String> = history.log.into();
            *fault = format!("history {seed}: {fault}\n  {}", events.join("\n  "));
            break;
        }
    }
    history.outcome.settled += u64::from(history.master.unsettled() == 0);
    history.outcome
}

impl History {
    fn step(&mut self) {
        self.step += 1;
        self.told.push_back((self.step, self.master.tell()));
        while self.told.len() > 5 {
            self.told.pop_front();
        }
        match self.random.u32(..1000) {
            0..220 => self.open(),
            220..600 => self.speak(),
            600..640 => self.end(),
            640..655 => self.open_again(),
            655..820 => self.pass(),
            820..870 => self.master.sweep(100, self.now),
            870..910 => self.configure(),
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

    fn note(&mut self, event: String) {
        if self.log.len() >= 400 {
            self.log.pop_front();
        }
        self.log.push_back(format!("{} s: {event}", self.now));
    }

    fn opener(&self) -> Opens {
        if self.master.wish.protocol == TCP || self.quic { Opens::Yes } else { Opens::Unknown }
    }

    fn follower(&self) -> Opens {
        if self.master.wish.protocol == TCP { Opens::No } else { Opens::Unknown }
    }

    fn send(&mut self, name: Name, opens: Opens) -> Option<u8> {
        self.outcome.packets += 1;
        let before: BTreeSet<u32> = self.master.around(name).iter().map(|flow| flow.tag).collect();
        let real = self.master.packet(name, opens);
        let after: BTreeSet<u32> = self.master.around(name).iter().map(|flow| flow.tag).collect();
        for gone in before.difference(&after) {
            let master = &self.master;
            for (_, held) in self.connections.iter_mut().filter(|(held, _)| master.place(*held).tag == *gone) {
                held.excused.insert(Exception::TableFull);
            }
        }
        real
    }

    /// Nothing of this connection is in a table whose lines are full: it couldn't be remembered.
    fn is_refused(&self, name: Name) -> bool {
        self.master.around(name).len() == 16 && self.master.entry(name).is_none()
    }

    fn open(&mut self) {
        self.next += 1;
        let name = Name { client: 0x0a00_0000 + self.random.u32(..64), port: self.next as u16 };
        let real = self.send(name, self.opener());
        let refused = self.is_refused(name);
        let Some(real) = real.filter(|real| self.alive.contains(real)) else { return };
        let excused = if refused { BTreeSet::from([Exception::TableFull]) } else { BTreeSet::new() };
        self.note(format!(
            "{} opens to {real}, {:?}, {:?}",
            self.next,
            self.master.slot(name),
            self.master.entry(name)
        ));
        let connection =
            Connection { real, last: self.now, packets: 1, tracked: self.master.is_tracked(), closing: false, excused };
        self.connections.push((name, connection));
        self.touched.insert(usize::from(name.port), self.step);
        // Most clients go on at once.
        if self.random.u32(..4) > 0 {
            self.speak_on(self.connections.len() - 1, self.follower());
        }
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.connections.len();
        (count > 0).then(|| count - 1 - self.random.usize(..count.min(40)))
    }

    fn speak(&mut self) {
        if let Some(index) = self.pick() {
            self.speak_on(index, self.follower());
        }
    }

    fn open_again(&mut self) {
        if let Some(index) = self.pick()
            && self.opener() == Opens::Yes
        {
            self.connections[index].1.excused.insert(Exception::OpenerAgain);
            self.speak_on(index, Opens::Yes);
        }
    }

    /// A client's FIN; half of them have all then, the others listen and acknowledge.
    fn end(&mut self) {
        let Some(index) = self.pick() else { return };
        if self.random.bool() || self.master.wish.protocol != TCP {
            self.connections.swap_remove(index);
            return;
        }
        self.connections[index].1.closing = true;
        self.speak_on(index, Opens::Ends);
    }

    fn speak_on(&mut self, index: usize, opens: Opens) {
        let name = self.connections[index].0;
        let before = (self.master.slot(name), self.master.entry(name));
        let real = self.send(name, opens);
        let refused = self.is_refused(name);
        let tracked = self.master.is_tracked();
        let (now, udp) = (self.now, self.master.wish.protocol != TCP);
        let (_, held) = &mut self.connections[index];
        let idle = (now - held.last) as u32;
        if idle > if udp { TIMEOUTS.udp - 2 } else { TIMEOUTS.tcp - 2 } {
            held.excused.insert(Exception::SilentForLong);
        }
        if held.closing && idle >= TIMEOUTS.closing - 1 {
            held.excused.insert(Exception::HalfClosed);
        }
        if (tracked || held.tracked) && held.packets == 1 && idle >= TIMEOUTS.opening - 1 {
            held.excused.insert(Exception::OnePacket);
        }
        if real == Some(held.real) {
            if refused && (tracked || self.master.is_moving(name)) {
                held.excused.insert(Exception::TableFull);
            }
            held.last = now;
            held.packets += 1;
            self.touched.insert(usize::from(name.port), self.step);
            let event =
                format!("{} says {opens:?} to {real:?}, {before:?}, now {:?}", name.port, self.master.entry(name));
            self.note(event);
            return;
        }
        let told = format!(
            "{} moves from {} to {real:?} after {idle} s, packet {}, {before:?}, now {:?} {:?}",
            name.port,
            held.real,
            held.packets,
            self.master.slot(name),
            self.master.entry(name)
        );
        match held.excused.first().copied() {
            Some(exception) => *self.outcome.excused.entry(exception).or_default() += 1,
            None => self.outcome.fault = Some(told.clone()),
        }
        self.connections.swap_remove(index);
        self.note(told);
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
        self.note(format!("{seconds} s pass"));
        // In parts, so that packets and changes come between; whole where much time passes, as it would be.
        let lines = if seconds > 5 { u32::MAX / 2 } else { 200 };
        for _ in 0..1 + u32::from(seconds > 5) {
            self.master.sweep(lines, self.now);
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
            self.note(format!(
                "real {real}: {}",
                if leaves { "removed".to_owned() } else { format!("weight {weight}") }
            ));
            self.master.configure(change, self.now);
        }
        if which != 1 {
            change(&mut self.backup.wish);
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
            return;
        }
        self.note(format!("real {real} is thought to be {opinion:?}"));
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
        self.note(format!("real {real} dies"));
        self.connections.retain(|(_, held)| held.real != real);
        self.backup.wish.opinions.insert(real, Opinion::Down);
        self.master.wish.opinions.insert(real, Opinion::Down);
        // New connections meet it until that is noticed.
        if self.random.bool() {
            self.open();
        }
        self.master.apply(self.now);
    }

    fn come_back(&mut self) {
        let real = self.random.u8(1..=REALS);
        if self.alive.insert(real) {
            self.note(format!("real {real} is back"));
            self.backup.wish.opinions.insert(real, Opinion::Up);
            self.master.wish.opinions.insert(real, Opinion::Up);
            self.master.apply(self.now);
        }
    }

    /// From a ring to turns or back: both go by the flow's hash.
    fn schedule(&mut self) {
        let flags = self.master.wish.flags;
        if flags & Service::BY_SOURCE != 0 {
            return;
        }
        self.note("a ring and turns change places".to_owned());
        self.connections.iter_mut().for_each(|(_, held)| held.tracked = true);
        if flags & Service::TRACKED == 0 && self.master.wish.protocol != TCP {
            self.connections.iter_mut().for_each(|(_, held)| held.excused.extend([Exception::BecameTracked]));
        }
        self.backup.wish.flags = flags ^ Service::TRACKED;
        self.master.configure(|wish| wish.flags = flags ^ Service::TRACKED, self.now);
    }

    /// What nobody means: SYNs, stray ACKs, datagrams, RSTs.
    fn flood(&mut self) {
        let opens = match self.master.wish.protocol {
            TCP => [Opens::Yes, Opens::No, Opens::Ends][self.random.usize(..3)],
            _ => Opens::Unknown,
        };
        self.note(format!("a flood of {opens:?}"));
        for _ in 0..300 {
            let name = Name { client: 0x0b00_0000 + self.random.u32(..1 << 20), port: self.random.u16(..) };
            let _ = self.send(name, opens);
        }
    }

    fn restart(&mut self) {
        self.note("the agent restarts".to_owned());
        self.master.restart(self.now);
    }

    /// The backup takes over: in order, with all that the master knows, or with what it was told before.
    fn swap(&mut self) {
        let orderly = self.random.bool();
        let lag = if orderly { 0 } else { self.lag };
        let told = if orderly {
            self.master.tell()
        } else {
            let at = self.step.saturating_sub(lag);
            match self.told.iter().rev().find(|(step, _)| *step <= at) {
                Some((_, told)) => told.clone(),
                None => return,
            }
        };
        self.note(format!("the other director takes over, {lag} steps behind"));
        for (name, held) in &mut self.connections {
            let touched = self.touched.get(&usize::from(name.port)).copied().unwrap_or_default();
            if !orderly && touched + lag >= self.step {
                held.excused.insert(Exception::WithinLag);
            }
            let opening = self.master.entry(*name).is_some_and(|flow| flow.stage == Stage::Opening);
            if opening || held.packets == 1 {
                held.excused.insert(Exception::OnlyOpened);
            }
        }
        self.backup.take_over(told, self.now);
        std::mem::swap(&mut self.master, &mut self.backup);
        self.excuse_dead();
        self.told.clear();
    }

    /// A director reboots. With another one beside it that serves meanwhile it has everything from there when it is back.
    fn reboot(&mut self) {
        if !self.rough || self.random.u32(..4) > 0 {
            self.swap();
            return;
        }
        self.note("the only director reboots".to_owned());
        for (_, held) in &mut self.connections {
            held.excused.insert(Exception::Rebooted);
        }
        self.master = Director::new(self.master.wish.clone(), self.master.lines(), self.now);
        self.told.clear();
    }

    fn hash_otherwise(&mut self) {
        let (size, seed) = ([7, 13, 31][self.random.usize(..3)], self.random.u64(..3));
        self.note(format!("rings of {size} slots, seed {seed}"));
        for (_, held) in &mut self.connections {
            held.excused.insert(Exception::OtherHash);
        }
        let change = |wish: &mut Wish| (wish.ring_size, wish.hash_seed) = (size, seed);
        change(&mut self.backup.wish);
        self.master.configure(change, self.now);
        self.told.clear();
    }
}
