//! What each verdict means to an operator: the words of docs/packets.md, of `lb status` and of `lb list --verdicts`.

use lb_common::{Action, Verdict};

/// What is said of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// Which frames have it.
    pub meaning: &'static str,
    /// What to do about them; `None` where they are nobody's trouble.
    pub mend: Option<&'static str>,
}

const fn quiet(meaning: &'static str) -> Words {
    Words { meaning, mend: None }
}

const fn trouble(meaning: &'static str, mend: &'static str) -> Words {
    Words { meaning, mend: Some(mend) }
}

/// The words of a verdict.
#[must_use]
pub const fn words(verdict: Verdict) -> Words {
    match verdict {
        Verdict::Forwarded | Verdict::Redirected => quiet("a packet for a service"),
        Verdict::NotIp => quiet("neither IPv4 nor IPv6 (ARP, LLDP), or more than two VLAN tags"),
        Verdict::NotOurs => quiet("not addressed to a MAC of this director: flooded, multicast or overheard"),
        Verdict::NotService => quiet("TCP or UDP, but no service has this address and port"),
        Verdict::OtherProtocol => quiet("neither TCP nor UDP: pings, neighbour discovery, VRRP, tunnels"),
        Verdict::Fragment => quiet("a fragment for others than a VIP's services"),
        Verdict::IcmpError => quiet("an ICMP error that embeds no packet of a service's connection"),
        Verdict::Truncated => trouble(
            "a header runs past the end of the frame",
            "something on the segment sends or cuts broken frames: `tcpdump -e` shows its MAC",
        ),
        Verdict::Malformed => trouble(
            "a header contradicts itself",
            "something on the segment sends broken packets: `tcpdump -e` shows its MAC",
        ),
        Verdict::TooManyHeaders => quiet("more than five IPv6 extension headers"),
        Verdict::Returned => trouble(
            "another director that balances to this one has sent it",
            "a director has this one, or its VIP, among its reals: take it out there",
        ),
        Verdict::Refused => {
            trouble("its service has no usable real", "`lb list` says why each real is down or takes nothing")
        }
        Verdict::NoReal => trouble(
            "its real went down a moment ago, or nothing is known yet of the service's reals",
            "where it goes on, `lb list` shows a real whose check hasn't ended, or the agent doesn't run",
        ),
        Verdict::NoRoom => trouble(
            "the frame has no room for the real's VLAN tag",
            "the driver leaves no headroom: set director.mode = \"generic\", or use a real without a vlan",
        ),
        Verdict::NoDevice => trouble(
            "the real's interface can't be sent to",
            "bring the interface up; `lb list` names those that aren't there",
        ),
        Verdict::NotMaster => {
            quiet("addressed to the virtual MAC of a virtual router that another director is the master of")
        }
        Verdict::Standby => trouble(
            "for a VIP that this director is the backup of",
            "somebody has a stale ARP or ND entry for the VIP, or a route to this director: see who is master with `lb vrrp`",
        ),
        Verdict::OtherVlan => quiet("tagged for a VLAN that isn't the director's on this interface"),
        Verdict::VipFragment => trouble(
            "a fragment for a VIP's services whose first fragment hasn't come, or hasn't the whole header with the ports",
            "fragments overtake one another on the way, or a router spreads them over several directors",
        ),
    }
}

/// What becomes of a frame, as docs/packets.md has it.
#[must_use]
pub const fn fate(verdict: Verdict) -> &'static str {
    match verdict.action() {
        Action::Pass => "passes",
        Action::Transmit => "out of the interface that it came in by",
        Action::Redirect => "out of another interface",
        Action::Drop => "dropped",
        Action::Abort => "aborted",
    }
}

/// The verdict of a name.
#[must_use]
pub fn named(name: &str) -> Option<Verdict> {
    Verdict::ALL.iter().copied().find(|verdict| verdict.name() == name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn table() -> String {
        let row = |verdict: &Verdict| {
            let Words { meaning, mend } = words(*verdict);
            format!("| `{}` | {} | {meaning} | {} |\n", verdict.name(), fate(*verdict), mend.unwrap_or(""))
        };
        let rows: String = Verdict::ALL.iter().map(row).collect();
        format!("| verdict | the frame | of what | where it goes on |\n|---|---|---|---|\n{rows}")
    }

    /// `LB_REGENERATE=1` writes it anew.
    #[test]
    fn the_page_of_packets_has_these_words() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/packets.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once("| verdict |").unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        let generated = format!("{before}{}\n{after}", table());
        if std::env::var_os("LB_REGENERATE").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == generated, "docs/packets.md: LB_REGENERATE=1 cargo test -p lb-userspace verdicts");
    }

    #[test]
    fn names_are_found_and_what_is_dropped_is_trouble() {
        for verdict in Verdict::ALL.iter().copied() {
            assert_eq!(named(verdict.name()), Some(verdict));
            let lost = matches!(verdict.action(), Action::Drop | Action::Abort);
            assert!(!lost || words(verdict).mend.is_some(), "{}", verdict.name());
        }
        assert_eq!(named("x"), None);
    }
}
