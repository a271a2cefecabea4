//! A plan for people, in 80 columns, and for programs.

use std::fmt::{self, Write};

use ipnet::IpNet;
use serde::Serialize;

use super::{Limit, Plan, Rate, letter, plural};

/// Trials that are shown: the last ones, which end with the plan's own.
const TRIALS: usize = 6;

/// A plan with the addresses and ids that its virtual routers get.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Directors' letters.
    pub directors: Vec<char>,
    /// How many may be lost at once.
    pub survive: usize,
    /// Bits per second, all clients'.
    pub traffic: Rate,
    /// Bits per second of a link.
    pub link: Rate,
    /// What a link may carry without the headroom, in bits per second.
    pub limit: Rate,
    /// Whether no link is ever above the limit.
    pub fits: bool,
    /// The VIPs.
    pub vips: Vec<Vip>,
    /// The links in peace and after each loss.
    pub loads: Vec<Load>,
    /// Numbers of VIPs that were looked at.
    pub trials: Vec<Trial>,
    #[serde(skip)]
    plan: Plan,
}

/// One virtual router.
#[derive(Debug, Clone, Serialize)]
pub struct Vip {
    /// Its address, with the prefix length.
    pub address: IpNet,
    /// Its virtual router id.
    pub id: u8,
    /// Directors' letters, the one that holds it in peace first.
    pub order: Vec<char>,
}

/// The links when some directors are lost.
#[derive(Debug, Clone, Serialize)]
pub struct Load {
    /// Their letters; none in peace.
    pub lost: Vec<char>,
    /// Bits per second on each director's link, `None` on a lost one's.
    pub links: Vec<Option<Rate>>,
    /// Bits per second on the fullest.
    pub worst: Rate,
}

/// A number of VIPs that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// VIPs.
    pub vips: usize,
    /// Bits per second on the fullest link after the worst loss.
    pub worst: Rate,
}

impl Report {
    /// What `plan` comes to with these addresses and ids, one of each for each VIP.
    #[must_use]
    pub fn new(plan: &Plan, addresses: &[(IpNet, u8)]) -> Self {
        let letters = |directors: &[usize]| directors.iter().map(|&director| letter(director)).collect();
        let load = |lost: &Vec<usize>| {
            let held = plan.held(lost);
            Load {
                lost: letters(lost),
                worst: plan.load(held.iter().flatten().copied().max().unwrap_or(0)),
                links: held.into_iter().map(|count| Some(plan.load(count?))).collect(),
            }
        };
        let trial = |trial: &super::Trial| Trial {
            vips: trial.vips,
            worst: plan.demand.traffic.share(trial.worst, trial.vips),
        };
        Self {
            directors: (0..plan.demand.directors).map(letter).collect(),
            survive: plan.demand.survive,
            traffic: plan.demand.traffic,
            link: plan.demand.link,
            limit: plan.demand.limit(),
            fits: plan.fits(),
            vips: plan
                .orders
                .iter()
                .zip(addresses)
                .map(|(order, &(address, id))| Vip { address, id, order: letters(order) })
                .collect(),
            loads: plan.losses().iter().map(load).collect(),
            trials: plan.trials.iter().map(trial).collect(),
            plan: plan.clone(),
        }
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directors = self.directors.len();
        let link = self.link;
        writeln!(f, "{directors} directors with links of {link}, {} of traffic;", self.traffic)?;
        writeln!(f, "{} of them may be lost, {}.", self.survive, Limit(&self.plan.demand))?;
        writeln!(f, "\n  VIPs  worst link")?;
        let skipped = self.trials.len().saturating_sub(TRIALS);
        if skipped > 0 {
            writeln!(f, "   ...  {skipped} smaller numbers are too few")?;
        }
        for (trial, counts) in self.trials.iter().zip(&self.plan.trials).skip(skipped) {
            let fits = if self.plan.demand.fits(counts.worst, counts.vips) { "fits" } else { "too much" };
            let percent = (u128::from(trial.worst.bits()) * 100).div_ceil(u128::from(link.bits().max(1)));
            let worst = trial.worst.count(link.unit(), 2);
            writeln!(f, "  {:>4}  {worst} {} = {percent} %: {fits}", trial.vips, link.unit().name)?;
        }
        let count = self.vips.len();
        writeln!(f, "\n{count} VIP{} of {} each, held by the first that is alive:\n", plural(count), self.plan.load(1))
    }

    fn orders(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |vip: &Vip| vip.address.to_string().len();
        let width = self.vips.iter().map(width).max().unwrap_or(0).max("VIP".len());
        let title = |(place, _)| match place {
            0 => " 1st".to_owned(),
            1 => " 2nd".to_owned(),
            2 => " 3rd".to_owned(),
            more => format!(" {}th", more + 1),
        };
        let titles: Vec<String> = self.directors.iter().enumerate().map(title).collect();
        // Twelve directors behind the longest IPv6 address leave no room for the places' names.
        let named = 2 + width + 5 + titles.concat().len() <= 80;
        let titles = if named { titles.concat() } else { " order".to_owned() };
        writeln!(f, "  {:width$}   id{titles}", "VIP")?;
        for vip in &self.vips {
            let mut order = String::new();
            for director in &vip.order {
                let _ = if named { write!(order, " {director:>3}") } else { write!(order, " {director}") };
            }
            writeln!(f, "  {:width$}  {:>3}{order}", vip.address.to_string(), vip.id)?;
        }
        Ok(())
    }

    fn loads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.link.unit();
        let cell = |rate: &Option<Rate>| rate.map_or_else(|| "-".to_owned(), |rate| short(rate, unit));
        let width = self.loads.iter().flat_map(|load| &load.links).map(|rate| cell(rate).len()).max().unwrap_or(1);
        let name = |load: &Load| match load.lost.as_slice() {
            [] => "in peace".to_owned(),
            lost => format!("without {}", lost.iter().collect::<String>()),
        };
        let first = self.loads.iter().map(|load| name(load).len()).max().unwrap_or(0).max(unit.name.len());
        write!(f, "\n  {:first$}", unit.name)?;
        for director in &self.directors {
            write!(f, " {director:>width$}")?;
        }
        writeln!(f)?;
        for load in &self.loads {
            write!(f, "  {:first$}", name(load))?;
            for rate in &load.links {
                write!(f, " {:>width$}", cell(rate))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Two decimals, fewer of what is large.
fn short(rate: Rate, unit: super::rate::Unit) -> String {
    let exact = rate.count(unit, 2);
    match exact.len() {
        0..=4 => exact,
        5 => rate.count(unit, 1),
        _ => rate.count(unit, 0),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.orders(f)?;
        self.loads(f)
    }
}
