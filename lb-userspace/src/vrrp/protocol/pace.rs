//! A rate with a burst: how many frames may go out, how many packets may be read.

use std::time::Duration;

use super::machine::Time;

/// Lets through so many a second on average, and at once as many as a burst's time is worth.
#[derive(Debug, Clone)]
pub struct Pace {
    cost: Duration,
    burst: Duration,
    /// When what was spent so far is paid for.
    paid: Time,
}

impl Pace {
    /// `rate` a second, at least one, in bursts of what `burst` is worth.
    pub fn new(rate: u32, burst: Duration) -> Self {
        Self { cost: Duration::from_secs(1) / rate.max(1), burst, paid: Time::ZERO }
    }

    /// Takes another rate from now on; what was spent stays spent.
    pub fn set_rate(&mut self, rate: u32) {
        self.cost = Duration::from_secs(1) / rate.max(1);
    }

    /// Whether one more may pass now.
    pub fn allows(&self, now: Time) -> bool {
        self.resumes() <= now
    }

    /// One has passed.
    pub fn spend(&mut self, now: Time) {
        self.paid = self.paid.max(now).saturating_add(self.cost);
    }

    /// From when one more may pass.
    pub fn resumes(&self) -> Time {
        self.paid.saturating_sub(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let mut pace = Pace::new(1000, Duration::from_millis(10));
        let start = Duration::from_secs(1);
        let mut passed = 0;
        for now in (0..1000).map(|ms| start + Duration::from_millis(ms)) {
            while pace.allows(now) {
                pace.spend(now);
                passed += 1;
            }
            assert!(pace.resumes() > now && pace.resumes() <= now + Duration::from_millis(1));
        }
        assert_eq!(passed, 11 + 999);
    }
}
