//! The clock of the flow table: the kernel's jiffies, in ticks of about a second.

use std::sync::OnceLock;
use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::maps::Timeouts;
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::{Dataplane, Error};

/// The program that says what the jiffies are.
pub(super) const PROGRAM: &str = "lb_clock";

/// How long the table remembers what, without a packet of it: IPVS's defaults
/// (net/netfilter/ipvs/ip_vs_proto_tcp.c, ip_vs_proto_udp.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowTimes {
    /// An open TCP connection.
    pub tcp: Duration,
    /// A session over UDP.
    pub udp: Duration,
    /// A connection that nothing followed the first packet of.
    pub opening: Duration,
    /// A connection whose client sent a FIN or RST.
    pub closing: Duration,
}

impl FlowTimes {
    /// How long any connection may be silent.
    pub fn longest(self) -> Duration {
        self.tcp.max(self.udp)
    }
}

impl Default for FlowTimes {
    fn default() -> Self {
        let [tcp, udp, opening, closing] = [900, 300, 60, 120].map(Duration::from_secs);
        Self { tcp, udp, opening, closing }
    }
}

/// How the kernel's jiffies and ticks go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// Jiffies a second (CONFIG_HZ).
    hz: u32,
}

impl Clock {
    /// This kernel's: its coarse clock goes by jiffies.
    ///
    /// # Errors
    /// It has none, which can't be.
    pub(super) fn new() -> Result<Self, Error> {
        let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_err(|error| Error::map("flows", error))?;
        let jiffy = u64::try_from(resolution.num_nanoseconds()).unwrap_or_default().max(1);
        Ok(Self { hz: u32::try_from(1_000_000_000_u64.div_ceil(jiffy)).unwrap_or(1000) })
    }

    /// A tick is two to this power of jiffies: 0.7 to 1.4 seconds.
    pub(super) fn shift(self) -> u32 {
        let below = self.hz.max(1).ilog2();
        // The nearer of the two powers by their ratio: above the square root of two it is the next.
        below + u32::from(u64::from(self.hz).pow(2) > 2 << (2 * below))
    }

    /// A time in ticks, rounded up.
    fn ticks(self, time: Duration) -> u32 {
        let jiffies = time.as_millis() * u128::from(self.hz) / 1000;
        // Half of what a word counts: a longer silence can't be told from the future.
        u32::try_from((jiffies >> self.shift()) + 1).unwrap_or(u32::MAX).min(LONGEST)
    }

    /// So many ticks, as time.
    fn time(self, ticks: u32) -> Duration {
        Duration::from_millis((u64::from(ticks) << self.shift()) * 1000 / u64::from(self.hz.max(1)))
    }

    pub(super) fn timeouts(self, times: FlowTimes) -> Timeouts {
        let [tcp, udp, opening, closing] =
            [times.tcp, times.udp, times.opening, times.closing].map(|time| self.ticks(time));
        Timeouts { tcp, udp, opening, closing }
    }
}

/// A time in this kernel's ticks, rounded up.
#[must_use]
pub fn ticks(time: Duration) -> u32 {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    // A kernel without a coarse clock starts no agent.
    CLOCK.get_or_init(|| Clock::new().unwrap_or(Clock { hz: 1000 })).ticks(time)
}

/// Longest time in ticks that the table can tell.
const LONGEST: u32 = (1 << 17) - 2;

impl Dataplane {
    /// A time in the flow table's ticks, rounded up.
    pub fn in_ticks(&self, time: Duration) -> u32 {
        self.clock.ticks(time)
    }

    /// So many of its ticks, as time.
    pub fn time_of(&self, ticks: u32) -> Duration {
        self.clock.time(ticks)
    }

    /// The flow table's clock, in ticks.
    ///
    /// # Errors
    /// The kernel doesn't run the program that tells.
    pub fn ticks(&mut self) -> Result<u32, Error> {
        let refused = |error: String| Error::Refused { what: "to tell its jiffies".to_owned(), error };
        let shift = self.clock.shift();
        let program = self.ebpf.program_mut(PROGRAM).ok_or_else(|| refused("no such program".to_owned()))?;
        let program: &mut Xdp = program.try_into().map_err(|error| refused(format!("{error}")))?;
        let frame = [0; 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        let result = program.test_run(options).map_err(|error| refused(format!("{error:?}")))?;
        Ok(result.return_value >> shift)
    }
}

/// A clock that never runs backwards.
pub(super) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// How much of a CPU's time this thread has had: how busy others are doesn't count.
pub fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_about_a_second() {
        for hz in [24, 100, 250, 300, 1000, 1024, 1200] {
            let clock = Clock { hz };
            let tick = clock.time(1).as_secs_f64();
            assert!((0.70..1.42).contains(&tick), "{hz}: {tick}");
            for seconds in [60, 120, 900] {
                let ticks = clock.ticks(Duration::from_secs(seconds));
                let told = clock.time(ticks).as_secs_f64() - seconds as f64;
                assert!((0.0..=1.5).contains(&told), "{hz}: {seconds} s and {told}");
            }
        }
        assert!((1..=2000).contains(&Clock::new().unwrap().hz));
    }
}
