//! The lines of `lb list` about other directors.

use std::fmt::Write as _;
use std::time::Duration;

use crate::peers::Status;
use crate::peers::session::State;
use crate::peers::status::PeerStatus;

/// Services that differ are named up to this many for each peer.
const NAMED: usize = 3;

/// One line for each peer; what is wrong is told elsewhere.
pub(super) fn render_well(out: &mut String, status: &Status) {
    for peer in &status.peers {
        let since = humantime::format_duration(Duration::from_secs(peer.since_seconds));
        // Writing to a string can't fail.
        let _ = writeln!(out, "peer {}: {} for {since}{}", peer.address, state(peer), lag(peer));
    }
}

/// One line for each peer, and more where something is wrong.
pub(super) fn render(out: &mut String, status: &Status) {
    // Writing to a string can't fail.
    if let Some(error) = &status.listen_error {
        let _ = writeln!(out, "PEERS: nobody can reach this director: {error}");
    }
    for peer in &status.peers {
        let since = humantime::format_duration(Duration::from_secs(peer.since_seconds));
        let _ = writeln!(out, "peer {}: {} for {since}{}", peer.address, state(peer), lag(peer));
        if let Some(error) = &peer.error {
            let _ = writeln!(out, "  {error}");
        }
        if peer.other_rings {
            let _ =
                writeln!(out, "  computes slots otherwise (another version or key): only its connections are taken");
        }
        for difference in peer.differences.iter().take(NAMED) {
            let _ = writeln!(out, "  {} is configured otherwise there ({:?})", difference.service, difference.what);
        }
        if peer.differing > NAMED {
            let _ = writeln!(out, "  and {} more services (`lb list --json`)", peer.differing - NAMED);
        }
    }
}

fn state(peer: &PeerStatus) -> &'static str {
    match peer.state {
        State::Connecting => "NOT CONNECTED",
        State::Greeting => "greeting",
        State::Bulk => "telling everything",
        State::Live => "live",
    }
}

fn lag(peer: &PeerStatus) -> String {
    peer.lag_ms.map(|lag| format!(", lag {lag:.1} ms")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::session::Traffic;

    #[test]
    fn a_peer_is_one_line_while_it_is_well() {
        let well = PeerStatus {
            address: "192.0.2.3:8849".parse().unwrap(),
            state: State::Live,
            since_seconds: 75,
            lag_ms: Some(1.25),
            sent: Traffic::default(),
            received: Traffic::default(),
            bulk_taken: true,
            error: None,
            other_rings: false,
            differing: 0,
            differences: Vec::new(),
        };
        let lost = PeerStatus {
            state: State::Connecting,
            lag_ms: None,
            error: Some("can't be reached: Connection refused".to_owned()),
            ..well.clone()
        };
        let status = Status { listen: "192.0.2.2:8849".parse().unwrap(), listen_error: None, peers: vec![well, lost] };
        let mut out = String::new();
        render(&mut out, &status);
        assert_eq!(
            out,
            "peer 192.0.2.3:8849: live for 1m 15s, lag 1.2 ms\n\
             peer 192.0.2.3:8849: NOT CONNECTED for 1m 15s\n  can't be reached: Connection refused\n"
        );
    }
}
