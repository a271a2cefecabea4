//! Sync groups: virtual routers that change state together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{preempts, time};
use crate::config::diagnose::Findings;
use crate::config::raw::Vrrp;
use crate::config::source::Source;

/// Reports groups of one, and members that would preempt at different times.
pub(super) fn check(raw: &[Vrrp], source: &Source, findings: &mut Findings) {
    let mut groups: BTreeMap<&str, Vec<&Vrrp>> = BTreeMap::new();
    for vrrp in raw {
        if let Some(group) = &vrrp.sync_group {
            groups.entry(group.get_ref()).or_default().push(vrrp);
        }
    }
    for (name, members) in groups {
        let Some((first, others)) = members.split_first() else {
            continue;
        };
        let place = |vrrp: &Vrrp| vrrp.sync_group.as_ref().map_or(vrrp.header.clone(), toml::Spanned::span);
        if others.is_empty() {
            let strangers = raw.iter().filter_map(|vrrp| vrrp.sync_group.as_ref());
            let names = strangers.map(|group| group.get_ref().as_str()).filter(|other| *other != name);
            let mend = match crate::config::suggest::nearest(name, names) {
                Some(near) => format!("did you mean \"{near}\"? Else give the group a second member"),
                None => "give it a second member by the same line, or remove the line".to_owned(),
            };
            findings.report(place(first), format!("the sync group \"{name}\" has no other member"), mend);
        }
        for other in others.iter().filter(|other| settings(other) != settings(first)) {
            let line = source.position(first.header.start).line;
            findings.report(
                place(other),
                format!("the sync group \"{name}\" preempts otherwise in [vrrp.{}], line {line}", first.name.get_ref()),
                "give all members the same preempt and preempt_delay: they change state together",
            );
        }
    }
}

fn settings(vrrp: &Vrrp) -> (bool, Duration) {
    (preempts(vrrp), time(vrrp.preempt_delay.as_ref(), Duration::ZERO))
}
