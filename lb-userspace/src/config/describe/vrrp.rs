//! A virtual router in words: who it speaks to, when it takes over and gives up, and what it does then.

use std::time::Duration;

use super::time;
use crate::config::model::{Announce, Backup, Checksum, Condition, Track, Vrrp};
use crate::config::text::{WIDTH, clip, wrap};

/// Its lines, each within the width.
pub(super) fn virtual_router(out: &mut String, vrrp: &Vrrp) {
    let password = if vrrp.password.is_some() { ", with a password" } else { "" };
    let head = format!(
        "  {}: VRRPv{} id {} on {}, priority {}, an advert every {}{password}",
        vrrp.name,
        vrrp.version,
        vrrp.id,
        vrrp.interface,
        vrrp.priority,
        time(vrrp.advertise),
    );
    out.push_str(&wrap(&head, "    "));
    let addresses: Vec<String> = vrrp.addresses.iter().map(ToString::to_string).collect();
    let mut lines = vec![addresses.join(", "), adverts(vrrp), takes_over(vrrp), gives_up(vrrp)];
    lines.extend(vrrp.track.iter().map(tracks));
    lines.push(master(vrrp));
    lines.push(backup(vrrp).to_owned());
    if let Some(group) = &vrrp.sync_group {
        lines.push(format!("changes state with the others of sync group {group}"));
    }
    if !vrrp.notify.is_empty() {
        let command = clip(&vrrp.notify.join(" "), WIDTH / 2);
        lines.push(format!("tells each change to {command}, for at most {}", time(vrrp.notify_timeout)));
    }
    for line in lines {
        out.push_str(&wrap(&format!("    {line}"), "      "));
    }
}

fn adverts(vrrp: &Vrrp) -> String {
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

fn takes_over(vrrp: &Vrrp) -> String {
    let silence = time(down(vrrp));
    if vrrp.priority == u8::MAX {
        return "owns the addresses: always master".to_owned();
    }
    let lower = match (vrrp.preempt, vrrp.preempt_delay) {
        (false, _) => "never from a living one".to_owned(),
        (true, Duration::ZERO) => "at once from one of lower priority".to_owned(),
        (true, delay) => format!("from one of lower priority after {}", time(delay)),
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

fn gives_up(vrrp: &Vrrp) -> String {
    match vrrp.handover {
        None => "hands over: keeps the VIPs until its successor's advert, 4 intervals at most".to_owned(),
        Some(Duration::ZERO) => "hands over: withdraws the VIPs at once".to_owned(),
        Some(limit) => format!("hands over: keeps the VIPs until its successor's advert, {} at most", time(limit)),
    }
}

fn tracks(track: &Track) -> String {
    let (what, fails) = match &track.condition {
        Condition::Interface(name) => (format!("{name} has a link"), format!("{name} has none")),
        Condition::Script(script) => {
            let command = clip(&script.command.join(" "), WIDTH / 2);
            let often = format!(
                "{command} (every {}, for at most {}, up after {}, down after {})",
                time(script.interval),
                time(script.timeout),
                script.rise,
                script.fall,
            );
            (format!("{often} succeeds"), format!("{often} fails"))
        }
        Condition::Service { name, healthy } => (
            format!("service {name} has {healthy} healthy reals or more"),
            format!("service {name} has fewer than {healthy} healthy reals"),
        ),
    };
    match track.weight {
        None => format!("gives up the VIPs while {fails}"),
        Some(weight) if weight < 0 => format!("priority {weight} while {fails}"),
        Some(weight) => format!("priority +{weight} while {what}"),
    }
}

fn master(vrrp: &Vrrp) -> String {
    let Announce { repeat, delay, delayed_repeat, refresh, pace } = vrrp.announce;
    let mac = if vrrp.virtual_mac { "the virtual MAC" } else { "the interface's own MAC" };
    let mut bursts = match (repeat, delayed_repeat) {
        (0, 0) => format!("as master uses {mac}, announces nothing"),
        (first, 0) => format!("as master uses {mac}, announces each VIP {}", times(first)),
        (0, second) => format!("as master uses {mac}, announces each VIP {} after {}", times(second), time(delay)),
        (first, second) => {
            let (first, second) = (times(first), times(second));
            format!("as master uses {mac}, announces each VIP {first}, {second} more after {}", time(delay))
        }
    };
    if let Some(refresh) = refresh {
        bursts += &format!(", then every {}", time(refresh));
    }
    if repeat + delayed_repeat > 0 || refresh.is_some() {
        bursts += &format!("; at most {pace} a second");
    }
    bursts
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

fn backup(vrrp: &Vrrp) -> &'static str {
    match vrrp.backup {
        Backup::Forward => "as backup forwards what is sent to its own MAC all the same",
        Backup::Pass => "as backup leaves the VIPs' packets to the kernel",
    }
}
