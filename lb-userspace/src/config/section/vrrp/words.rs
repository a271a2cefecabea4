//! The sentences about a virtual router that more than one key makes.

use std::time::Duration;

use super::{Backup, Checksum, Vrrp};
use crate::config::read::hours;

/// Its name, id and rank.
pub fn head(vrrp: &Vrrp) -> String {
    let password = if vrrp.password.is_some() { ", with a password" } else { "" };
    format!(
        "{}: VRRPv{} id {} on {}, priority {}, an advert every {}{password}",
        vrrp.name,
        vrrp.version,
        vrrp.id,
        vrrp.interface,
        vrrp.priority,
        hours(vrrp.advertise),
    )
}

/// Who hears its adverts, and whose it takes.
pub fn adverts(vrrp: &Vrrp) -> String {
    let mut line = if vrrp.peers.is_empty() {
        "adverts by multicast".to_owned()
    } else {
        let peers: Vec<String> = vrrp.peers.iter().map(ToString::to_string).collect();
        format!("adverts to {} alone", peers.join(", "))
    };
    if let Some(ttl) = vrrp.minimum_ttl {
        line += &format!("; taken with a TTL from {ttl} on");
    }
    match vrrp.checksum {
        Checksum::Auto => {}
        Checksum::PseudoHeader => line += "; checksums with the pseudo-header",
        Checksum::Plain => line += "; checksums without a pseudo-header",
    }
    line
}

/// When it becomes master.
pub fn takes_over(vrrp: &Vrrp) -> String {
    let silence = hours(down(vrrp));
    if vrrp.priority == u8::MAX {
        return "owns the addresses: always master".to_owned();
    }
    let lower = match (vrrp.preempt, vrrp.preempt_delay) {
        (false, _) => "never from a living one".to_owned(),
        (true, Duration::ZERO) => "at once from one of lower priority".to_owned(),
        (true, delay) => format!("from one of lower priority after {}", hours(delay)),
    };
    format!("takes over {silence} after a master's last advert, {lower}")
}

/// How long a master is waited for: three of its intervals and the skew of this priority (RFC 3768 section 6.1,
/// RFC 9568 section 6.1), in whole milliseconds.
fn down(vrrp: &Vrrp) -> Duration {
    let share = 256 - u32::from(vrrp.priority);
    let skew = if vrrp.version == 2 { Duration::from_secs(1) } else { vrrp.advertise } * share / 256;
    let exact = vrrp.advertise * 3 + skew;
    Duration::from_millis(exact.as_millis().try_into().unwrap_or(u64::MAX))
}

/// How it stops being master.
pub fn gives_up(vrrp: &Vrrp) -> String {
    match vrrp.handover {
        None => "hands over: keeps the VIPs until its successor's advert, 4 intervals at most".to_owned(),
        Some(Duration::ZERO) => "hands over: withdraws the VIPs at once".to_owned(),
        Some(limit) => format!("hands over: keeps the VIPs until its successor's advert, {} at most", hours(limit)),
    }
}

/// What a backup does with clients' packets.
pub fn backup(vrrp: &Vrrp) -> &'static str {
    match vrrp.backup {
        Backup::Forward => "as backup forwards what is sent to its own MAC all the same",
        Backup::Pass => "as backup leaves the VIPs' packets to the kernel",
    }
}
