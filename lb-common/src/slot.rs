//! A slot of a ring: who takes the flows that hash to it, now and before.
//!
//! A flow that nothing remembers belongs to the slot's *base*; a new one goes to its *current* real. While both are the
//! same the slot is settled, and its flows cost no memory. So no change of a slot moves a flow: those from before stay
//! with the base, those from after it are remembered.
//!
//! | state | word | a packet whose flow is remembered | one whose flow isn't |
//! |---|---|---|---|
//! | settled | base = current | the table isn't asked (but for [a sample](crate::is_sampled)) | current |
//! | moving | base = another real | its real | opens a connection: current, remembered; else base, remembered |
//! | exceptions | base = nobody | its real | current, not remembered |

/// A slot's word: two numbers of reals, which change together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Slot {
    /// Who takes new connections; 0 for nobody.
    pub current: u16,
    /// Who has the flows that nobody has remembered; 0 where all such flows are `current`'s, but remembered ones may not be.
    pub base: u16,
}

/// What the flow table has to do with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Every flow is the current real's.
    Settled,
    /// Flows from before the last change are the base's.
    Moving,
    /// Only remembered flows may be another real's.
    Exceptions,
}

impl Slot {
    /// A slot whose flows all are this real's.
    #[inline(always)]
    pub const fn settled(real: u16) -> Self {
        Self { current: real, base: real }
    }

    /// From its word in the map.
    #[inline(always)]
    pub const fn of(word: u32) -> Self {
        Self { current: word as u16, base: (word >> 16) as u16 }
    }

    /// Its word in the map: the current real in the low half.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        (self.base as u32) << 16 | self.current as u32
    }

    /// Whether no flow of it can be another real's.
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        self.base == self.current && self.base != 0
    }

    /// Its state.
    #[inline(always)]
    pub const fn state(self) -> State {
        if self.base == 0 {
            State::Exceptions
        } else if self.base == self.current {
            State::Settled
        } else {
            State::Moving
        }
    }

    /// The slot after `next` became the real that new connections go to. `lives` tells whether a real's flows can go on;
    /// `remembered`, whether the table may hold flows of a settled slot (where every connection is remembered).
    ///
    /// The rule: who has the unremembered flows keeps them, unless that real is dead or is `next` itself.
    #[must_use]
    pub fn change(self, next: u16, lives: impl Fn(u16) -> bool, remembered: bool) -> Self {
        let state = self.state();
        if next == self.current && state != State::Moving {
            return self;
        }
        let base = match state {
            State::Moving => self.base,
            State::Settled | State::Exceptions => self.current,
        };
        if next == self.current && lives(base) {
            return self;
        }
        if base == next || !lives(base) {
            // Nobody has unremembered flows but `next`, in whose hands they are or end.
            let clean = state == State::Settled && !remembered && next != 0;
            return if clean { Self::settled(next) } else { Self { current: next, base: 0 } };
        }
        Self { current: next, base }
    }

    /// The slot after its base has given up: whoever was silent for so long is no connection any more.
    #[must_use]
    pub const fn give_up_base(self) -> Self {
        match self.state() {
            State::Moving => Self { current: self.current, base: 0 },
            State::Settled | State::Exceptions => self,
        }
    }

    /// The slot after a sweep has found no remembered flow of it that is another real's than the current one's.
    #[must_use]
    pub const fn settle(self) -> Self {
        match self.state() {
            State::Exceptions => Self::settled(self.current),
            State::Settled | State::Moving => self,
        }
    }

    /// Whose a flow is that nothing remembers, and that this packet doesn't open.
    #[inline(always)]
    pub const fn owner(self) -> u16 {
        if self.base == 0 { self.current } else { self.base }
    }

    /// Whether its word names this real.
    pub const fn names(self, real: u16) -> bool {
        self.current == real || self.base == real
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: u16 = 9;

    fn lives(real: u16) -> bool {
        real != DEAD && real != 0
    }

    #[test]
    fn each_state_follows_the_rule_of_change() {
        let slot = |current, base| Slot { current, base };
        // before, next, after, after where the table may remember flows of a settled slot
        let rows = [
            (slot(1, 1), 1, slot(1, 1), slot(1, 1)),
            (slot(1, 1), 2, slot(2, 1), slot(2, 1)),
            (slot(9, 9), 2, slot(2, 2), slot(2, 0)),
            (slot(2, 1), 3, slot(3, 1), slot(3, 1)),
            (slot(2, 1), 1, slot(1, 0), slot(1, 0)),
            (slot(2, 1), 2, slot(2, 1), slot(2, 1)),
            (slot(2, 9), 3, slot(3, 0), slot(3, 0)),
            (slot(2, 9), 2, slot(2, 0), slot(2, 0)),
            (slot(1, 0), 1, slot(1, 0), slot(1, 0)),
            (slot(1, 0), 2, slot(2, 1), slot(2, 1)),
            (slot(9, 0), 2, slot(2, 0), slot(2, 0)),
            // Nobody is left, and somebody comes.
            (slot(1, 1), 0, slot(0, 1), slot(0, 1)),
            (slot(9, 9), 0, slot(0, 0), slot(0, 0)),
            (slot(0, 0), 1, slot(1, 0), slot(1, 0)),
            (slot(0, 1), 1, slot(1, 0), slot(1, 0)),
            (slot(0, 1), 2, slot(2, 1), slot(2, 1)),
        ];
        for (before, next, after, remembering) in rows {
            assert_eq!(before.change(next, lives, false), after, "{before:?} to {next}");
            assert_eq!(before.change(next, lives, true), remembering, "{before:?} to {next}, remembering");
        }
    }

    #[test]
    fn a_slot_settles_by_its_exceptions() {
        let moving = Slot { current: 2, base: 1 };
        assert_eq!(moving.settle(), moving, "the base may have flows");
        assert_eq!(moving.give_up_base(), Slot { current: 2, base: 0 });
        assert_eq!(moving.give_up_base().settle(), Slot::settled(2));
        assert_eq!(Slot::settled(2).give_up_base(), Slot::settled(2));
        assert_eq!(Slot::default().settle(), Slot::default(), "without a real nothing is settled");
    }

    #[test]
    fn words_hold_both() {
        let slot = Slot { current: 0x1234, base: 0xfedc };
        assert_eq!(slot.word(), 0xfedc_1234);
        assert_eq!(Slot::of(slot.word()), slot);
        assert_eq!((slot.owner(), Slot { current: 3, base: 0 }.owner()), (0xfedc, 3));
    }
}
