//! `lb vrrp`: the virtual routers, and what people ask of them.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::api::{self, RouterStatus};
use crate::vrrp::protocol::status::{Mismatch, Refused};

use super::list::since;
use super::output;

/// What is asked.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Hand the VIPs over to a backup, and leave them there.
    ///
    /// Both directors forward meanwhile, so that no packet is lost on the way. Connections of mh and sh go on where
    /// both have the same reals; those of rr and wrr are known to this director alone, and break. Without a backup the
    /// VIPs stay here.
    Release {
        /// NAME of [vrrp.NAME].
        name: String,
    },
    /// Take part in the election again after a release.
    Reclaim {
        /// NAME of [vrrp.NAME].
        name: String,
    },
}

/// Carries it out.
pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let socket = api::socket();
    match arguments.verb {
        Some(Verb::Release { name }) => output::print(&format!("{}\n", api::release(&socket, &name).await?.said)),
        Some(Verb::Reclaim { name }) => output::print(&format!("{}\n", api::reclaim(&socket, &name).await?.said)),
        None => {
            let routers = api::routers(&socket).await?;
            if arguments.json {
                return output::print_json(&routers);
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs());
            output::print(&fitted(&render(&routers, now), output::columns()))
        }
    }
}

/// Long lines go on below what they tell of.
fn fitted(text: &str, columns: Option<usize>) -> String {
    text.lines().map(|line| output::wrapped(line, columns, 12) + "\n").collect()
}

fn render(routers: &[RouterStatus], now: u64) -> String {
    let mut out = String::new();
    if routers.is_empty() {
        out.push_str("no [vrrp.*] is configured\n");
    }
    for router in routers {
        let RouterStatus { name, interface, router: id, state, cause, .. } = router;
        let _ = writeln!(out, "{name}: {}, id {id} on {interface}", state.to_string().to_uppercase());
        let _ = writeln!(out, "  {cause}{}", since(now.saturating_sub(router.age.as_secs()), now));
        if let Some(obstacle) = &router.obstacle {
            let _ = writeln!(out, "  takes no part: {obstacle}");
        }
        if let Some(awaited) = &router.awaits {
            let _ = writeln!(out, "  waits for {awaited}");
        }
        if router.yielded {
            let _ = writeln!(out, "  released: it leaves the VIPs to others until `lb vrrp reclaim {name}`");
        }
        let addresses: Vec<String> = router.addresses.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "  VIPs      {}", addresses.join(", "));
        if let Some(Mismatch { source, addresses }) = &router.counters.mismatch {
            let theirs = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "            but {source} has {theirs}: give every director the same list");
        }
        let master = router.master.map_or_else(|| "unknown".to_owned(), |master| master.to_string());
        let _ = writeln!(out, "  master    {master}");
        let _ = writeln!(out, "  priority  {}{}", router.priority, reason(router));
        let counters = &router.counters;
        let _ = writeln!(
            out,
            "  adverts   {} sent, {} taken, {} refused; {} times master",
            counters.sent,
            counters.received,
            counters.refused.total(),
            counters.elections
        );
        if counters.unsent > 0 {
            let _ = writeln!(out, "            {} could not be sent", counters.unsent);
        }
        for (refusal, count) in counters.refused.iter().filter(|(_, count)| *count > 0) {
            let _ = writeln!(out, "            {count} refused: {}", refusal.key().replace('_', " "));
        }
        if let Some(Refused { source, reason }) = counters.last_refused {
            let _ = writeln!(out, "            the last one from {source}: {reason}");
        }
        if router.strangers > 0 {
            let _ = writeln!(out, "            {} for ids that nobody here has", router.strangers);
        }
    }
    out
}

fn reason(router: &RouterStatus) -> String {
    match &router.why {
        Some(why) => format!(" (configured {}; {why})", router.configured_priority),
        None if router.priority != router.configured_priority => {
            format!(" (configured {})", router.configured_priority)
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::tests::router;

    #[test]
    fn many_vips_of_ipv6_keep_to_80_columns() {
        let addresses = (0..4).map(|n| format!("2001:db8:aaaa:bbbb:cccc:dddd:eeee:{n}").parse().unwrap()).collect();
        let why = Some("100 by the script \"/usr/local/bin/is-the-uplink-there --and-well\", which fails".to_owned());
        let text = render(&[RouterStatus { addresses, why, ..router() }], 1_000_065);
        let shown = fitted(&text, Some(80));
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(shown.contains("  VIPs      2001:db8:aaaa:bbbb:cccc:dddd:eeee:0,\n            2001:"), "{shown}");
        assert_eq!(fitted(&text, None), text);
    }
}
