//! How many VIPs several active directors need, so that no link is overloaded in peace and after every loss
//! that is to be survived, and which director stands by for which VIP. Pure: numbers in, a [`Plan`] out.
//!
//! Clients are spread over the VIPs evenly (by DNS, or by their configuration), so each VIP brings an equal share
//! of the traffic. A VIP is held by the first director of its order that is alive: the order is the priorities of
//! one virtual router. A director that is lost passes its VIPs on whole; with few VIPs some survivor gets too many
//! of them, with more they spread.

mod order;
mod rate;
mod report;
mod sections;

use std::fmt;

pub use rate::{Rate, RateError};
pub use report::Report;
pub use sections::{File, Sections, SectionsError};

/// Directors at most: their letters and loads fit a terminal's line.
pub const MAX_DIRECTORS: usize = 12;

/// VIPs at most: each is a virtual router, and an interface has 255 ids.
pub const MAX_VIPS: usize = 255;

/// Ways to choose among equals that are tried.
const VARIANTS: usize = MAX_DIRECTORS;

/// What is to be carried, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Directors, all active; 2 to [`MAX_DIRECTORS`].
    pub directors: usize,
    /// How many of them may be lost at once; less than all.
    pub survive: usize,
    /// All clients' traffic together.
    pub traffic: Rate,
    /// What one director's link carries in one direction. Direct routing receives each byte once and sends it
    /// once, so this is the traffic that a director can bear.
    pub link: Rate,
    /// Percent of a link that stay free, 0 to 90: clients don't spread as evenly as numbers do.
    pub headroom: u8,
}

/// Why there is no plan, with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The number of directors is out of range.
    #[error("{0} directors can't be planned: give 2 to {MAX_DIRECTORS}")]
    Directors(usize),
    /// Nobody would be left.
    #[error("of {directors} directors, {survive} can't be lost: give --survive 0 to {}", directors - 1)]
    Survive {
        /// Directors.
        directors: usize,
        /// How many were to be lost.
        survive: usize,
    },
    /// The headroom is out of range.
    #[error("a headroom of {0} % is out of range: give 0 to 90")]
    Headroom(u8),
    /// The number of VIPs is out of range.
    #[error("{0} VIPs can't be planned: give 1 to {MAX_VIPS}")]
    Vips(usize),
    /// Even if it were spread evenly, the survivors' links can't bear it.
    #[error(
        "it can't be done: {} over {left} director{} is {} on each link,\nbut {}.\n\
         {}",
        demand.traffic, plural(*left), demand.traffic.share(1, *left), Limit(demand), mend(demand)
    )]
    TooMuch {
        /// What was asked.
        demand: Demand,
        /// The directors that are left.
        left: usize,
    },
    /// The links could bear it, but no number of VIPs spreads it evenly enough.
    #[error(
        "it can't be done: the best spread, with {vips} VIPs, leaves {} on a link,\nbut {}.\n\
         {}",
        demand.traffic.share(*worst, *vips), Limit(demand), mend(demand)
    )]
    TooCoarse {
        /// What was asked.
        demand: Demand,
        /// The number of VIPs that came nearest.
        vips: usize,
        /// VIPs on the fullest link then.
        worst: usize,
    },
}

/// A number of VIPs that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// VIPs.
    pub vips: usize,
    /// VIPs on the fullest link after the worst loss.
    pub worst: usize,
}

/// Who holds which VIP, and who stands by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What was asked.
    pub demand: Demand,
    /// For each VIP the directors, by number from 0, in the order that they hold it in.
    pub orders: Vec<Vec<usize>>,
    /// The numbers of VIPs that were looked at, the plan's own last.
    pub trials: Vec<Trial>,
}

/// The plan of the fewest VIPs that fits, among those that all directors have equally many of in peace.
///
/// # Errors
/// The demand is out of range, or can't be met.
pub fn plan(demand: Demand) -> Result<Plan, Error> {
    demand.check()?;
    let left = demand.directors - demand.survive;
    if !demand.fits(1, left) {
        return Err(Error::TooMuch { demand, left });
    }
    let mut trials = Vec::new();
    for vips in (demand.directors..=MAX_VIPS).step_by(demand.directors) {
        let mut plan = best(demand, vips);
        trials.push(Trial { vips, worst: plan.worst() });
        if plan.fits() {
            plan.trials = trials;
            return Ok(plan);
        }
    }
    // `worst / vips` is the part of the traffic on the fullest link.
    let best = trials.iter().min_by(|a, b| (a.worst * b.vips).cmp(&(b.worst * a.vips)));
    let (vips, worst) = best.map_or((MAX_VIPS, MAX_VIPS), |best| (best.vips, best.worst));
    Err(Error::TooCoarse { demand, vips, worst })
}

/// The best plan of just so many VIPs, which may not fit.
///
/// # Errors
/// The demand or the number is out of range.
pub fn plan_of(demand: Demand, vips: usize) -> Result<Plan, Error> {
    demand.check()?;
    if !(1..=MAX_VIPS).contains(&vips) {
        return Err(Error::Vips(vips));
    }
    let mut plan = best(demand, vips);
    plan.trials = vec![Trial { vips, worst: plan.worst() }];
    Ok(plan)
}

/// The most even plan of so many VIPs that is found, without its trials.
fn best(demand: Demand, vips: usize) -> Plan {
    let even = vips.div_ceil(demand.directors - demand.survive);
    let variant = |variant| {
        let plan = Plan { demand, orders: order::orders(demand.directors, vips, variant), trials: Vec::new() };
        (plan.worst(), plan)
    };
    let (mut worst, mut best) = variant(0);
    for number in 1..VARIANTS {
        // Nothing is more even, or even that would not do.
        if worst <= even || !demand.fits(even, vips) {
            break;
        }
        let (other, plan) = variant(number);
        if other < worst {
            (worst, best) = (other, plan);
        }
    }
    best
}

impl Demand {
    fn check(&self) -> Result<(), Error> {
        if !(2..=MAX_DIRECTORS).contains(&self.directors) {
            return Err(Error::Directors(self.directors));
        }
        if self.survive >= self.directors {
            return Err(Error::Survive { directors: self.directors, survive: self.survive });
        }
        if self.headroom > 90 {
            return Err(Error::Headroom(self.headroom));
        }
        Ok(())
    }

    /// What a link may carry: all of it but the headroom.
    #[must_use]
    pub fn limit(&self) -> Rate {
        self.link.share(usize::from(100 - self.headroom), 100)
    }

    /// Whether a link can carry `part` of `whole` of the traffic, exactly.
    fn fits(&self, part: usize, whole: usize) -> bool {
        let used = u128::from(self.traffic.bits()) * part as u128 * 100;
        used <= u128::from(self.link.bits()) * u128::from(100 - self.headroom) * whole as u128
    }
}

impl Plan {
    /// How many VIPs each director holds when those of `lost` are gone (their places are `None`).
    #[must_use]
    pub fn held(&self, lost: &[usize]) -> Vec<Option<usize>> {
        let mut held: Vec<Option<usize>> =
            (0..self.demand.directors).map(|director| (!lost.contains(&director)).then_some(0)).collect();
        for order in &self.orders {
            let holder = order.iter().find(|director| !lost.contains(director));
            if let Some(Some(count)) = holder.and_then(|&director| held.get_mut(director)) {
                *count += 1;
            }
        }
        held
    }

    /// Peace, as the loss of nobody, and each possible loss of up to the number to be survived; the small first.
    #[must_use]
    pub fn losses(&self) -> Vec<Vec<usize>> {
        let directors = self.demand.directors;
        let mut losses: Vec<Vec<usize>> = (0_u32..1 << directors)
            .filter(|set| set.count_ones() as usize <= self.demand.survive)
            .map(|set| (0..directors).filter(|director| set >> director & 1 == 1).collect())
            .collect();
        losses.sort_by_key(|loss| (loss.len(), loss.clone()));
        losses
    }

    /// VIPs on the fullest link, over peace and all losses.
    #[must_use]
    pub fn worst(&self) -> usize {
        let most = |loss: &Vec<usize>| self.held(loss).into_iter().flatten().max();
        self.losses().iter().filter_map(most).max().unwrap_or(0)
    }

    /// The traffic of `vips` of them.
    #[must_use]
    pub fn load(&self, vips: usize) -> Rate {
        self.demand.traffic.share(vips, self.orders.len())
    }

    /// Whether no link is ever above its limit.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.demand.fits(self.worst(), self.orders.len())
    }
}

/// A director's letter, from its number.
#[must_use]
pub fn letter(director: usize) -> char {
    u8::try_from(director).map_or('?', |number| char::from(b'A'.saturating_add(number)))
}

/// What a link may carry, in words.
struct Limit<'a>(&'a Demand);

impl fmt::Display for Limit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.headroom {
            0 => write!(f, "a link carries {}", self.0.link),
            percent => write!(f, "{percent} % headroom leaves {} of its {}", self.0.limit(), self.0.link),
        }
    }
}

/// How many directors would do, or what else would.
fn mend(demand: &Demand) -> String {
    let needed = (2..=MAX_DIRECTORS).find(|&directors| {
        let other = Demand { directors, ..*demand };
        directors > demand.directors && other.fits(1, directors - demand.survive)
    });
    let more = match needed {
        Some(directors) => format!("Plan with --directors {directors}"),
        None => "Plan with faster links".to_owned(),
    };
    let left = demand.directors - demand.survive;
    let full = Demand { headroom: 0, ..*demand };
    if demand.headroom > 0 && full.fits(1, left) {
        format!("{more}, or with less --headroom.")
    } else if demand.survive > 0 && demand.fits(1, demand.directors) {
        format!("{more}, or with a smaller --survive.")
    } else {
        format!("{more}.")
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests;
