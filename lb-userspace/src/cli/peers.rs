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
    if let Some(strangers) = &status.strangers {
        let _ = writeln!(out, "peers: {strangers}");
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
        if peer.beyond > 0 {
            let _ = writeln!(out, "  tells more of {} services' slots than there is room for", peer.beyond);
        }
        for difference in peer.differences.iter().take(NAMED) {
            let (service, what) = (&difference.service, difference.what.words());
            let since = humantime::format_duration(Duration::from_secs(difference.for_seconds));
            let _ = writeln!(out, "  {service} {what}, for {since}");
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
    let lag = peer.lag_ms.map(|lag| format!(", lag {lag:.1} ms")).unwrap_or_default();
    let news = peer.news_ms.map(|news| format!(", connections known within {news:.0} ms")).unwrap_or_default();
    lag + &news
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::differences::Difference;
    use crate::peers::session::Traffic;
    use crate::peers::status::{ServiceDifference, Strangers};

    #[test]
    fn a_peer_is_one_line_while_it_is_well() {
        let well = PeerStatus {
            address: "192.0.2.3:8849".parse().unwrap(),
            state: State::Live,
            since_seconds: 75,
            lag_ms: Some(1.25),
            news_ms: Some(38.2),
            known_ms: Some(700.0),
            sent: Traffic::default(),
            received: Traffic::default(),
            bulk_taken: true,
            error: None,
            other_rings: false,
            beyond: 0,
            differing: 0,
            differences: Vec::new(),
        };
        let lost = PeerStatus {
            state: State::Connecting,
            lag_ms: None,
            news_ms: None,
            error: Some("can't be reached: Connection refused".to_owned()),
            ..well.clone()
        };
        let apart = PeerStatus {
            beyond: 2,
            differing: 1,
            differences: vec![ServiceDifference {
                service: "TCP 192.0.2.1:80".to_owned(),
                what: Difference::Members,
                for_seconds: 3700,
            }],
            ..well.clone()
        };
        let strangers = Strangers { calls: 7, last: "192.0.2.99".parse().unwrap(), seconds_ago: 65 };
        let status = Status {
            listen: "192.0.2.2:8849".parse().unwrap(),
            listen_error: None,
            strangers: Some(strangers),
            peers: vec![well, lost, apart],
        };
        let mut out = String::new();
        render(&mut out, &status);
        assert_eq!(
            out,
            "peers: 7 calls from elsewhere than `addresses` refused, the last from 192.0.2.99 1m 5s ago\n\
             peer 192.0.2.3:8849: live for 1m 15s, lag 1.2 ms, connections known within 38 ms\n\
             peer 192.0.2.3:8849: NOT CONNECTED for 1m 15s\n  can't be reached: Connection refused\n\
             peer 192.0.2.3:8849: live for 1m 15s, lag 1.2 ms, connections known within 38 ms\n  tells more of 2 services' slots than there is room for\n  \
             TCP 192.0.2.1:80 has other reals or weights there, for 1h 1m 40s\n"
        );
    }
}
