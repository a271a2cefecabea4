//! What clients do, and what may move their connections.

use std::collections::BTreeSet;

use lb_common::Opens;
use lb_common::header::protocol::TCP;

use super::super::director::TIMEOUTS;
use super::super::exception::Exception;
use super::super::wish::Name;
use super::{Connection, History};

impl History {
    fn opener(&self) -> Opens {
        if self.master.wish.protocol == TCP || self.quic { Opens::Yes } else { Opens::Unknown }
    }

    fn follower(&self) -> Opens {
        if self.master.wish.protocol == TCP { Opens::No } else { Opens::Unknown }
    }

    pub(super) fn open(&mut self) {
        self.next += 1;
        let name = Name { client: 0x0a00_0000 + self.random.u32(..64), port: self.next as u16 };
        let real = self.send(name, self.opener());
        let refused = self.is_refused(name);
        let Some(real) = real.filter(|real| self.alive.contains(real)) else { return };
        let excused = if refused { BTreeSet::from([Exception::TableFull]) } else { BTreeSet::new() };
        self.note(format_args!(
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

    pub(super) fn speak(&mut self) {
        if let Some(index) = self.pick() {
            self.speak_on(index, self.follower());
        }
    }

    pub(super) fn open_again(&mut self) {
        if let Some(index) = self.pick()
            && self.opener() == Opens::Yes
        {
            self.connections[index].1.excused.insert(Exception::OpenerAgain);
            self.speak_on(index, Opens::Yes);
        }
    }

    /// A client's FIN; half of them have all then, the others listen and acknowledge.
    pub(super) fn end(&mut self) {
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
        let (now, swapped, udp) = (self.now, self.swapped, self.master.wish.protocol != TCP);
        let (_, held) = &mut self.connections[index];
        let idle = (now - held.last) as u32;
        // One that took over since may have been told of its last packets up to a quarter of that time before.
        let known_for = |limit: u32| if swapped >= held.last { limit - limit / 4 } else { limit } - 3;
        if idle > known_for(if udp { TIMEOUTS.udp } else { TIMEOUTS.tcp }) {
            held.excused.insert(Exception::SilentForLong);
        }
        if held.closing && idle > known_for(TIMEOUTS.closing) {
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
            let after = self.master.entry(name);
            self.note(format_args!("{} says {opens:?} to {real:?}, {before:?}, now {after:?}", name.port));
            return;
        }
        let after = (self.master.slot(name), self.master.entry(name));
        let told =
            format!("{} moves from {} to {real:?} after {idle} s, {before:?}, now {after:?}", name.port, held.real);
        match held.excused.first().copied() {
            Some(exception) => *self.outcome.excused.entry(exception).or_default() += 1,
            None => self.outcome.fault = Some(format!("history {}: {told}", self.seed)),
        }
        self.connections.swap_remove(index);
        self.note(format_args!("{told}"));
    }

    /// What nobody means: SYNs, stray ACKs, datagrams, RSTs.
    pub(super) fn flood(&mut self) {
        let opens = match self.master.wish.protocol {
            TCP => [Opens::Yes, Opens::No, Opens::Ends][self.random.usize(..3)],
            _ => Opens::Unknown,
        };
        self.note(format_args!("a flood of {opens:?}"));
        let names: Vec<Name> = self.connections.iter().map(|(name, _)| *name).collect();
        let is_remembered = |history: &Self, name: &Name| history.master.entry(*name).is_some();
        let mut lost: Vec<Name> = names.into_iter().filter(|name| is_remembered(self, name)).collect();
        for _ in 0..300 {
            let name = Name { client: 0x0b00_0000 + self.random.u32(..1 << 20), port: self.random.u16(..) };
            let _ = self.master.packet(name, opens);
        }
        self.outcome.packets += 300;
        lost.retain(|name| !is_remembered(self, name));
        self.excuse(Exception::TableFull, |name| lost.contains(&name));
    }

    fn send(&mut self, name: Name, opens: Opens) -> Option<u8> {
        self.outcome.packets += 1;
        let mut lost = self.master.tags_around(name);
        let real = self.master.packet(name, opens);
        let after = self.master.tags_around(name);
        lost.retain(|tag| !after.contains(tag));
        self.excuse_lost(&lost);
        real
    }

    /// Nothing of this connection is in a table whose lines are full: it couldn't be remembered.
    fn is_refused(&self, name: Name) -> bool {
        self.master.around(name).len() == 16 && self.master.entry(name).is_none()
    }

    pub(super) fn excuse(&mut self, exception: Exception, of: impl Fn(Name) -> bool) {
        for (_, held) in self.connections.iter_mut().filter(|(name, _)| of(*name)) {
            held.excused.insert(exception);
        }
    }

    /// Flows with these tags went out of a table for others.
    pub(super) fn excuse_lost(&mut self, tags: &[u32]) {
        if tags.is_empty() {
            return;
        }
        let master = &self.master;
        for (_, held) in self.connections.iter_mut().filter(|(name, _)| tags.contains(&master.place(*name).tag)) {
            held.excused.insert(Exception::TableFull);
        }
    }
}
