//! How often the flow table is looked at: seldom while little happens, and the sooner the more there is to tell. Who is told
//! late of a connection loses it when this director dies.

use std::time::Duration;

/// A table in which little happens is looked at so often.
pub(super) const LOOK: Duration = Duration::from_millis(25);
/// To walk through it takes no more than a seventh of the time then: so late is told what begins all at once.
const SELDOM: u32 = 6;
/// One in which much happens is looked at so often.
const SOON: Duration = Duration::from_millis(2);
/// To walk through it takes no more than a third of the time.
const OFTEN: u32 = 2;
/// News that one look is to find: after more of them the next look is the sooner.
const ENOUGH: u32 = 1000;
/// A look that found no more than so much took its time for the walk alone.
const FEW: u32 = 100;

/// What a walk through the table costs, and how much happens. What it takes to tell news isn't in the cost: whoever rested for that
/// would fall behind the more, the more there is.
#[derive(Debug, Default)]
pub(super) struct Pace {
    walk: Option<Duration>,
    /// Between the last two looks.
    rested: Option<Duration>,
}

impl Pace {
    /// The time to the next look, after one that found so much and took so much of a CPU's time.
    pub(super) fn rest(&mut self, count: usize, took: Duration) -> Duration {
        let walk = match self.walk {
            Some(walk) if count > FEW as usize => walk.min(took),
            _ => took,
        };
        let (least, most) = (SOON.max(walk * OFTEN), LOOK.max(walk * SELDOM));
        let rest = match u32::try_from(count) {
            Ok(count) if count <= FEW => most,
            // At the same rate it finds enough next time.
            Ok(count) => (self.rested.unwrap_or(most) * ENOUGH / count).clamp(least, most),
            Err(_) => least,
        };
        (self.walk, self.rested) = (Some(walk), Some(rest));
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_large_table_is_looked_at_less_often_and_news_do_not_count() {
        let rows = [
            (0, ms(1), LOOK),
            (0, ms(20), ms(120)),
            // Little to tell, for long: the walk is what it was.
            (ENOUGH, ms(90), ms(120)),
            (ENOUGH, ms(15), ms(90)),
            // The table is smaller by now, or larger.
            (FEW, ms(2), LOOK),
            (FEW, ms(30), ms(180)),
        ];
        let mut pace = Pace::default();
        for (count, took, expected) in rows {
            assert_eq!(pace.rest(count as usize, took), expected, "{count} in {took:?}");
        }
        assert_eq!(Pace::default().rest(ENOUGH as usize, ms(11)), ms(66), "nothing better is known");
    }

    #[test]
    fn the_more_there_is_to_tell_the_sooner_is_the_next_look() {
        let rows = [
            (0, LOOK),
            (ENOUGH / 2, LOOK),
            (2 * ENOUGH, ms(12) + ms(1) / 2),
            // Enough: as it is.
            (ENOUGH, ms(12) + ms(1) / 2),
            (ENOUGH / 2, LOOK),
            // A flood: no more than a third of a core for the walks.
            (1_000_000, ms(2)),
            (5 * ENOUGH, ms(2)),
            (u32::MAX, ms(2)),
            // It is over.
            (ENOUGH / 4, ms(8)),
            (0, LOOK),
        ];
        let mut pace = Pace::default();
        for (step, (count, expected)) in rows.into_iter().enumerate() {
            assert_eq!(pace.rest(count as usize, ms(1)), expected, "step {step}: {count}");
        }
        let mut pace = Pace::default();
        let large = [(0, ms(48)), (5000, ms(16)), (5000, ms(16)), (5000, ms(16))];
        for (count, expected) in large {
            assert_eq!(pace.rest(count, ms(8)), expected, "{count} in a table that takes 8 ms to walk through");
        }
        assert_eq!(Pace::default().rest(0, Duration::ZERO), LOOK);
        assert_eq!(Pace::default().rest(100_000, Duration::ZERO), SOON);
    }

    #[test]
    fn a_steady_rate_has_a_steady_pace() {
        // News each millisecond, walks of 1 ms, the time between looks when all has come to rest.
        for (rate, expected) in [(10, LOOK), (40, LOOK), (100, ms(9)), (200, ms(4)), (1000, ms(2))] {
            let (mut pace, mut rest) = (Pace::default(), LOOK);
            for _ in 0..20 {
                let found = rate * (rest + ms(1)).as_micros() / 1000;
                rest = pace.rest(found as usize, ms(1));
            }
            assert!(rest.abs_diff(expected) < ms(1), "{rate} news a millisecond: {rest:?}");
        }
    }
}
