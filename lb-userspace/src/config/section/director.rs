//! `[director]`: this machine's part.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use toml::Spanned;

use super::seen::FirstSeen;
use crate::config::read::source::{Source, Span};
use crate::config::read::texts::INTERFACE;
use crate::config::read::{Choice, List, Number, Read, Time, hours, key, keys};
use crate::config::report::{Findings, text::wrap};

/// `[director]`: this machine's part.
#[derive(Debug, Clone, PartialEq)]
pub struct Director {
    /// The interfaces that the XDP program is attached to; at least one, none twice.
    pub interfaces: Vec<String>,
    /// How the program is attached.
    pub mode: Mode,
    /// Mixed into every flow hash and ring. Directors that share services must share it.
    pub hash_seed: u64,
    /// The VLANs that clients' frames come in by, beside those that this host has devices for; `None` when they aren't
    /// named.
    pub vlans: Option<BTreeSet<u16>>,
    /// What becomes of the VIPs while no agent runs.
    pub when_agent_dies: WhenAgentDies,
}

/// What becomes of the VIPs of a director whose agent was killed and stays away. Its pinned program forwards in
/// either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenAgentDies {
    /// They stay, for the agent to find again. A backup takes them over too, so that two hosts answer ARP.
    #[default]
    Forward,
    /// They are removed.
    Release {
        /// So long after the agent's end.
        after: Duration,
    },
}

/// Where the program runs on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Native, but generic with a warning where the driver has no XDP.
    Auto,
    /// Native, or refuse to start.
    Native,
    /// Behind the kernel's socket buffers (tc).
    Generic,
}

/// `director.when_agent_dies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentDeath {
    Forward,
    Release,
}

const MODE: Choice<Mode> = Choice(&[("auto", Mode::Auto), ("native", Mode::Native), ("generic", Mode::Generic)]);
const DEATH: Choice<AgentDeath> = Choice(&[("forward", AgentDeath::Forward), ("release", AgentDeath::Release)]);

const INTERFACES: List<crate::config::read::Text<String>> = List {
    item: INTERFACE,
    empty: ("no packet would be seen", "name the interface that clients' packets come in by, such as [\"eth1\"]"),
};

const NO_VLAN: (&str, &str) =
    ("it would name no VLAN", "name those that clients' frames come in by, such as [10, 20], or leave the line out");

/// An agent that is started again by its unit is back long before.
const RELEASE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 3600);

keys! {
    #[derive(Debug)]
    pub struct DirectorKeys {
        /// where the XDP program is attached: those that clients' packets come in by, and those that reals are sent
        /// to by redirect
        interfaces: Vec<Spanned<String>> = key(INTERFACES).required()
            .values("list of interfaces, at least one, none twice");
        /// `auto` is native where the driver can and else generic, with a warning; `native` refuses to start
        /// instead; `generic` runs behind the kernel's socket buffers (tc)
        mode: Mode = key(MODE).or(Mode::Auto);
        /// mixed into every flow hash and ring; directors that share services must share it, or a failover moves
        /// connections to other reals
        hash_seed: u64 = key(Number::of(0..=u64::MAX)).or(0).values("0 to 2^64 - 1");
        /// the VLANs that clients' frames come in by, on each of the interfaces. Those that this host has a device for are
        /// taken as well; with this key no others are, also where a real has a `vlan`
        vlans: Vec<Spanned<u16>> = key(List { item: Number::of(1..=4094), empty: NO_VLAN })
            .without("those that this host has a device for; and every one on the interface of a real that has a `vlan`")
            .values("list of 1 to 4094, none twice");
        /// what becomes of the VIPs while no agent runs; see below
        when_agent_dies: AgentDeath = key(DEATH).or(AgentDeath::Forward);
        /// with `"release"`: how long an agent may be away
        release_after: Duration = key(Time::of(Duration::from_secs(1)..=DAY)).or(RELEASE);
    }
}

/// Its rules; `None` when something that it can't be without was refused. With the place of each interface.
pub fn accept(read: &Read<DirectorKeys>, source: &Source, findings: &mut Findings) -> Option<(Director, Vec<Span>)> {
    let interfaces = read.interfaces.items();
    let mut seen = FirstSeen::default();
    for interface in interfaces {
        if let Some(line) = seen.before(interface.get_ref(), interface.span(), source) {
            findings.report(
                interface.span(),
                format!("{} is named twice, first on {line}", interface.get_ref()),
                "name it once",
            );
        }
    }
    let vlans = read.vlans.items();
    let mut seen = FirstSeen::default();
    for id in vlans {
        if let Some(line) = seen.before(id.get_ref(), id.span(), source) {
            findings.report(
                id.span(),
                format!("VLAN {} is named twice, first on {line}", id.get_ref()),
                "name it once",
            );
        }
    }
    let death = read.when_agent_dies.copied();
    if let (Some((_, span)), Some(AgentDeath::Forward)) = (read.release_after.written(), death) {
        findings.report(
            span,
            "`release_after` has no meaning without when_agent_dies = \"release\"",
            "add that line, or remove this one",
        );
    }
    let director = Director {
        interfaces: interfaces.iter().map(|name| name.get_ref().clone()).collect(),
        mode: read.mode.copied()?,
        hash_seed: read.hash_seed.copied()?,
        vlans: (!vlans.is_empty()).then(|| vlans.iter().map(|id| *id.get_ref()).collect()),
        when_agent_dies: match death? {
            AgentDeath::Forward => WhenAgentDies::Forward,
            AgentDeath::Release => WhenAgentDies::Release { after: read.release_after.copied()? },
        },
    };
    Some((director, interfaces.iter().map(Spanned::span).collect()))
}

impl Director {
    /// What it will do.
    pub fn describe(&self, out: &mut String) {
        let mode = match self.mode {
            Mode::Auto => "auto: native XDP where the driver has it, else generic",
            Mode::Native => "native: the driver must have XDP, or lb refuses to start",
            Mode::Generic => "generic: behind the kernel's socket buffers (tc), slower",
        };
        out.push_str("\nDirector\n");
        let interfaces = self.interfaces.join(", ");
        out.push_str(&wrap(&format!("  interfaces: {interfaces}"), "    "));
        let _ = writeln!(out, "  mode: {mode}");
        let _ = writeln!(out, "  hash seed: {}", self.hash_seed);
        if let Some(vlans) = &self.vlans {
            let vlans: Vec<String> = vlans.iter().map(u16::to_string).collect();
            out.push_str(&wrap(
                &format!("  clients' VLANs: {}, and those that have a device here", vlans.join(", ")),
                "    ",
            ));
        }
        let _ = match self.when_agent_dies {
            WhenAgentDies::Forward => writeln!(out, "  when the agent dies: it forwards on, with the VIPs it has"),
            WhenAgentDies::Release { after } => {
                writeln!(out, "  when the agent dies: it forwards on, and gives up its VIPs after {}", hours(after))
            }
        };
    }
}
