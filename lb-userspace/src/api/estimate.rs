//! What a sample of a stateless service's connections tells of all of them.

use lb_common::SAMPLE;
use serde::{Deserialize, Serialize};

use crate::dataplane::Live;

/// Connections, by those of a sample: each of these stands for [`SAMPLE`] of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// As ipvsadm's ActiveConn.
    pub active: u64,
    /// As InActConn: those whose end was seen a moment ago.
    pub inactive: u64,
    /// How far `active` may be off either way: one standard deviation. Two in three estimates are nearer than that.
    pub error: u64,
}

impl Estimate {
    /// By the connections of the sample. Who is in it is as good as drawn, so their number is off by its square root.
    #[must_use]
    pub fn of(sampled: Live) -> Self {
        let of = |count: u64| count.saturating_mul(SAMPLE);
        // Where none is in it, there may be a few all the same.
        let error = (sampled.active.max(1) as f64).sqrt() * SAMPLE as f64;
        Self { active: of(sampled.active), inactive: of(sampled.inactive), error: error.round() as u64 }
    }

    /// Of several reals together; `None` where there is no estimate of one.
    #[must_use]
    pub fn sum(reals: impl Iterator<Item = Option<Self>>) -> Option<Self> {
        let reals: Vec<Self> = reals.collect::<Option<_>>()?;
        let squares: f64 = reals.iter().map(|real| (real.error as f64).powi(2)).sum();
        let sum = |of: fn(&Self) -> u64| reals.iter().map(of).sum();
        (!reals.is_empty()).then(|| Self {
            active: sum(|real| real.active),
            inactive: sum(|real| real.inactive),
            error: squares.sqrt().round() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_how_far_it_is_off() {
        let of = |active, inactive| Estimate::of(Live { active, inactive });
        assert_eq!(of(100, 2), Estimate { active: 25_600, inactive: 512, error: 2560 });
        assert_eq!(of(0, 0), Estimate { active: 0, inactive: 0, error: 256 });
        let sum = Estimate::sum([Some(of(9, 0)), Some(of(16, 1))].into_iter());
        assert_eq!(sum, Some(Estimate { active: 6400, inactive: 256, error: 1280 }));
        assert_eq!(Estimate::sum([Some(of(9, 0)), None].into_iter()), None);
        assert_eq!(Estimate::sum(std::iter::empty()), None);
    }
}
