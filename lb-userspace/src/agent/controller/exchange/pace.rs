//! How often the flow table is looked at.

use std::time::Duration;

/// The table is looked at so often.
pub(super) const LOOK: Duration = Duration::from_millis(25);
/// To walk through it takes no more than a tenth of the time.
const SHARE: u32 = 10;
/// A look that found no more than so much took its time for the walk alone.
const FEW: usize = 100;

/// What a walk through the table costs. What there is to tell isn't in it: whoever rested for that would fall behind the more,
/// the more there is.
#[derive(Debug, Default)]
pub(super) struct Pace {
    walk: Option<Duration>,
}

impl Pace {
    /// The time to the next look, after one that found so much and took so much of a CPU's time.
    pub(super) fn rest(&mut self, count: usize, took: Duration) -> Duration {
        let walk = match self.walk {
            Some(walk) if count > FEW => walk.min(took),
            _ => took,
        };
        self.walk = Some(walk);
        LOOK.max(walk * SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_table_is_looked_at_less_often_and_news_do_not_count() {
        let ms = Duration::from_millis;
        let rows = [
            (0, ms(1), LOOK),
            (0, ms(20), ms(200)),
            // Much to tell: the walk is what it was.
            (50_000, ms(90), ms(200)),
            (50_000, ms(15), ms(150)),
            // The table is smaller by now, or larger.
            (FEW, ms(2), LOOK),
            (FEW, ms(30), ms(300)),
        ];
        let mut pace = Pace::default();
        for (count, took, expected) in rows {
            assert_eq!(pace.rest(count, took), expected, "{count} in {took:?}");
        }
        assert_eq!(Pace::default().rest(50_000, ms(11)), ms(110), "nothing better is known");
    }
}
