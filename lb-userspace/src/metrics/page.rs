//! The status page: one HTML document without script or anything else to load, for any browser, a text browser too.

use std::fmt::{self, Display, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Snapshot;
use crate::api::{RealStatus, RouterStatus, ServiceStatus, State};
use crate::findings::findings;
use crate::peers;

/// How often a browser asks again, in seconds.
const REFRESH: u32 = 5;

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:1.5rem;max-width:70rem;color-scheme:light dark}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}\
th,td{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #8884}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.bad{color:#c22;font-weight:600}.dim{color:#888}h2{font-size:1.1rem;margin:1.5rem 0 0}";

/// The whole document.
pub fn render(snapshot: &Snapshot, now: SystemTime) -> String {
    let status = &snapshot.status;
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>lb director</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"{REFRESH}\">\
         <style>{STYLE}</style></head><body>\n<h1>lb {}</h1>\n",
        Text(&status.version)
    );
    troubles(&mut out, snapshot, now);
    if !snapshot.routers.is_empty() {
        out.push_str("<h2>Virtual routers</h2>\n");
        table(&mut out, &["Name", "Interface", "VIPs", "State", "Priority", "Master"], &snapshot.routers, router);
    }
    for service in &status.services {
        heading(&mut out, service);
        let heads = ["Real", "State", "Weight", "#Connections", "#Packets", "#Bytes"];
        table(&mut out, &heads, &service.reals, |out, real| self::real(out, real, now));
    }
    if let Some(peers) = &status.peers {
        out.push_str("<h2>Peers</h2>\n");
        table(&mut out, &["Address", "State", "#Lag", "Differing services"], &peers.peers, peer);
    }
    out.push_str("<h2>Packets by verdict</h2>\n");
    table(&mut out, &["Verdict", "#Packets"], &status.verdicts, |out, verdict| {
        let _ = write!(out, "<td>{}<td class=n>{}", Text(&verdict.verdict), verdict.packets);
    });
    let _ = writeln!(out, "<p class=dim>As of {}</p></body></html>", humantime::format_rfc3339_seconds(now));
    out
}

/// What an operator has to look at, as `lb status` has it.
fn troubles(out: &mut String, snapshot: &Snapshot, now: SystemTime) {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    for finding in findings(&snapshot.status, &snapshot.routers, now).iter().filter(|finding| finding.bad) {
        let mend = finding.mend.as_ref().map(|mend| format!(" <span class=dim>{}</span>", Text(mend)));
        let _ = writeln!(out, "<p class=bad>{}{}</p>", Text(&finding.to_string()), mend.unwrap_or_default());
    }
}

/// A table with these heads (those that begin with `#` are of numbers), and a row for each item.
fn table<T>(out: &mut String, heads: &[&str], items: &[T], row: impl Fn(&mut String, &T)) {
    out.push_str("<table><tr>");
    for head in heads {
        let _ = match head.strip_prefix('#') {
            Some(number) => write!(out, "<th class=n>{number}"),
            None => write!(out, "<th>{head}"),
        };
    }
    for item in items {
        out.push_str("\n<tr>");
        row(out, item);
    }
    out.push_str("</table>\n");
}

fn heading(out: &mut String, service: &ServiceStatus) {
    let name = service.name.as_deref().unwrap_or_default();
    let port = service.port.map_or_else(|| "any port".to_owned(), |port| format!("port {port}"));
    let protocol = service.protocol.to_uppercase();
    let reals = || service.reals.iter().filter(|real| !real.sorry);
    let up = reals().filter(|real| real.state == State::Up).count();
    let _ = writeln!(
        out,
        "<h2>{} <span class=dim>{protocol} {} {port}, {}, {up} of {} reals up</span></h2>",
        Text(name),
        service.address,
        Text(&service.scheduler),
        reals().count()
    );
}

fn router(out: &mut String, router: &RouterStatus) {
    let vips: Vec<String> = router.addresses.iter().map(ToString::to_string).collect();
    let master = router.master.map(|master| master.to_string()).unwrap_or_default();
    let (name, interface) = (Text(&router.name), Text(&router.interface));
    let (vips, state, priority) = (vips.join("<br>"), router.state, router.priority);
    let _ = write!(out, "<td>{name}<td>{interface}<td>{vips}<td>{state}<td>{priority}<td>{master}");
}

fn real(out: &mut String, real: &RealStatus, now: SystemTime) {
    let word = real.state.word();
    let class = match real.state {
        State::Up => "",
        State::Quiesced | State::Standby | State::Draining | State::Drained | State::Disabled | State::Checking => {
            " class=dim"
        }
        State::Down => " class=bad",
    };
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let since = real.since.map(|since| std::time::Duration::from_secs(now.saturating_sub(since)));
    let since = since.map(|since| format!(" for {}", humantime::format_duration(since))).unwrap_or_default();
    let why = real.why.as_ref().map(|why| format!(": {}", Text(why))).unwrap_or_default();
    let counters = real.counters;
    let _ = write!(
        out,
        "<td>{}<td{class}>{word}{since}{why}<td>{}<td class=n>{}<td class=n>{}<td class=n>{}",
        real.address, real.weight, counters.connections, counters.packets, counters.bytes
    );
}

fn peer(out: &mut String, peer: &peers::status::PeerStatus) {
    let lag = peer.lag_ms.map(|lag| format!("{lag:.1} ms")).unwrap_or_default();
    let state = match (&peer.error, peer.state) {
        (Some(error), _) => format!("<span class=bad>{}</span>", Text(error)),
        (None, peers::session::State::Live) => "in step".to_owned(),
        (None, state) => format!("{state:?}").to_lowercase(),
    };
    let _ = write!(out, "<td>{}<td>{state}<td class=n>{lag}<td>{}", peer.address, peer.differing);
}

/// A text as HTML shows it.
struct Text<'t>(&'t str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}
