//! `lb drain`, `undrain`, `weight`, `disable`, `enable` and `reset`: what is set at run time.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::output::print;
use crate::api::{self, Order};

/// What the help of each of these verbs ends with.
pub(super) const CODES: &str = "\
Exit codes: 0 done, 1 there is no such service or real and nothing has changed,
2 wrong usage, 3 no agent answers, 4 not permitted.";

/// A real, of all services that have it or of one.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The real's address.
    real: IpAddr,
    /// As a real of this service alone (NAME of [service.NAME]).
    #[arg(long, short, value_name = "NAME")]
    service: Option<String>,
}

/// What is to drain.
#[derive(Debug, Args)]
pub(super) struct DrainArguments {
    #[command(flatten)]
    which: Which,
    /// Give up the connections that are left after this time, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    deadline: Option<Duration>,
}

/// What is to weigh how much.
#[derive(Debug, Args)]
pub(super) struct WeightArguments {
    /// NAME of [service.NAME].
    service: String,
    /// The real's address.
    real: IpAddr,
    /// Its weight; 0 quiesces.
    #[arg(value_parser = clap::value_parser!(u32).range(0..=65_535))]
    weight: u32,
}

/// What is to be as the file says.
#[derive(Debug, Args)]
pub(super) struct ResetArguments {
    /// NAME of [service.NAME]; without it, everything that was set.
    service: Option<String>,
    /// The real's address; without it, all of the service.
    real: Option<IpAddr>,
}

/// At least a second, at most a year.
fn deadline(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 10m or 90s"))?;
    let fits = time >= Duration::from_secs(1) && time <= YEAR;
    if fits { Ok(time) } else { Err("write 1s to 365d".to_owned()) }
}

impl From<DrainArguments> for Order {
    fn from(DrainArguments { which: Which { real, service }, deadline }: DrainArguments) -> Self {
        Self::Drain { real, service, deadline: deadline.map(|time| time.as_secs()) }
    }
}

impl From<WeightArguments> for Order {
    fn from(WeightArguments { service, real, weight }: WeightArguments) -> Self {
        Self::Weight { service, real, weight }
    }
}

impl From<ResetArguments> for Order {
    fn from(ResetArguments { service, real }: ResetArguments) -> Self {
        Self::Reset { service, real }
    }
}

impl Which {
    pub(super) fn undrain(self) -> Order {
        Order::Undrain { real: self.real, service: self.service }
    }

    pub(super) fn disable(self) -> Order {
        Order::Disable { real: self.real, service: self.service }
    }

    pub(super) fn enable(self) -> Order {
        Order::Enable { real: self.real, service: self.service }
    }
}

/// Has the agent carry it out.
pub(super) async fn run(order: Order) -> Result<()> {
    let done = api::order(&api::socket(), &order).await?;
    print(&format!("{}\n", done.said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_have_bounds() {
        assert_eq!(deadline("10m").unwrap(), Duration::from_secs(600));
        for text in ["0s", "10ms", "10", "two", "400d"] {
            assert!(deadline(text).is_err(), "{text}");
        }
    }
}
