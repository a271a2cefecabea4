//! `announce`: how a new master tells the segment.

use std::collections::HashMap;
use std::time::Duration;

use super::VrrpKeys;
use crate::config::read::source::{Source, Span};
use crate::config::read::{Named, Number, Read, Time, hours, key, keys};
use crate::config::report::Findings;

/// Gratuitous ARP and unsolicited neighbour advertisements of a new master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announce {
    /// Frames for each VIP at once; 0 for none.
    pub repeat: u32,
    /// When the second burst follows.
    pub delay: Duration,
    /// Frames for each VIP in the second burst; 0 for no second burst.
    pub delayed_repeat: u32,
    /// How often a master announces each VIP once more; `None` for never.
    pub refresh: Option<Duration>,
    /// Frames a second at most, over all virtual routers of the interface: the same for each of them.
    pub pace: u32,
}

impl Announce {
    const DEFAULT: Self =
        Self { repeat: 5, delay: Duration::from_secs(5), delayed_repeat: 5, refresh: None, pace: 10_000 };
}

impl Default for Announce {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const TENTH: Duration = Duration::from_millis(100);

keys! {
    #[derive(Debug)]
    pub struct AnnounceKeys {
        /// frames for each VIP at once
        repeat: u32 = key(Number::of(0..=100).unit("(0 for none)")).or(Announce::DEFAULT.repeat);
        /// when a second burst follows
        delay: Duration = key(Time::of(Duration::ZERO..=HOUR)).or(Announce::DEFAULT.delay);
        /// frames for each VIP in it
        delayed_repeat: u32 = key(Number::of(0..=100).unit("(0 for none)")).without("as `repeat`").example("5");
        /// how often a master announces each VIP once more
        refresh: Duration = key(Time::of(TENTH..=24 * HOUR).zero("never")).or(Duration::ZERO).example("\"60s\"");
        /// frames a second at most, over all virtual routers of the interface: those that name it name the same
        pace: u32 = key(Number::of(1..=1_000_000).unit("frames a second")).or(Announce::DEFAULT.pace);
    }
}

/// `pace` is the interface's, where one of its virtual routers gives it.
pub fn accept(read: Option<&Read<AnnounceKeys>>, pace: Option<u32>) -> Option<Announce> {
    let pace = pace.unwrap_or(Announce::DEFAULT.pace);
    let Some(read) = read else {
        return Some(Announce { pace, ..Announce::DEFAULT });
    };
    let repeat = read.repeat.copied()?;
    Some(Announce {
        repeat,
        delay: read.delay.copied()?,
        delayed_repeat: read.delayed_repeat.copied().unwrap_or(repeat),
        refresh: read.refresh.copied().filter(|time| !time.is_zero()),
        pace,
    })
}

/// The pace of each interface that one was given for: its virtual routers announce in one queue.
pub fn paces<'a>(routers: &'a [Named<VrrpKeys>], source: &Source, findings: &mut Findings) -> HashMap<&'a str, u32> {
    let mut paces: HashMap<&str, (u32, Span)> = HashMap::new();
    for vrrp in routers {
        let announce = vrrp.announce.get();
        let given = announce.and_then(|announce| announce.pace.written());
        let (Some(interface), Some((&pace, span))) = (vrrp.interface.get(), given) else {
            continue;
        };
        let (first, place) = paces.entry(interface).or_insert((pace, span.clone()));
        if *first != pace {
            let line = source.place(place.start, span.start);
            findings.report(
                span,
                format!("the pace of {interface} is {first} on {line}, here {pace}"),
                "write the same: an interface's virtual routers announce in one queue",
            );
        }
    }
    paces.into_iter().map(|(interface, (pace, _))| (interface, pace)).collect()
}

impl Announce {
    /// What a master does.
    pub fn words(&self, virtual_mac: bool) -> String {
        let Self { repeat, delay, delayed_repeat, refresh, pace } = *self;
        let mac = if virtual_mac { "the virtual MAC" } else { "the interface's own MAC" };
        let mut bursts = match (repeat, delayed_repeat) {
            (0, 0) => format!("as master uses {mac}, announces nothing"),
            (first, 0) => format!("as master uses {mac}, announces each VIP {}", times(first)),
            (0, second) => {
                format!("as master uses {mac}, announces each VIP {} after {}", times(second), hours(delay))
            }
            (first, second) => {
                let (first, second) = (times(first), times(second));
                format!("as master uses {mac}, announces each VIP {first}, {second} more after {}", hours(delay))
            }
        };
        if let Some(refresh) = refresh {
            bursts += &format!(", then every {}", hours(refresh));
        }
        if repeat + delayed_repeat > 0 || refresh.is_some() {
            bursts += &format!("; at most {pace} a second");
        }
        bursts
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}
