//! Sync groups: virtual routers that change state together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::VrrpKeys;
use crate::config::read::Named;
use crate::config::read::source::Source;
use crate::config::report::{Findings, suggest};

/// Reports groups of one, and members that would preempt at different times.
pub fn check(raw: &[Named<VrrpKeys>], source: &Source, findings: &mut Findings) {
    let mut groups: BTreeMap<&str, Vec<&Named<VrrpKeys>>> = BTreeMap::new();
    for vrrp in raw {
        if let Some(group) = vrrp.sync_group.get() {
            groups.entry(group).or_default().push(vrrp);
        }
    }
    for (name, members) in groups {
        let Some((first, others)) = members.split_first() else {
            continue;
        };
        let place = |vrrp: &Named<VrrpKeys>| vrrp.sync_group.span().unwrap_or(vrrp.span.clone());
        if others.is_empty() {
            let all = raw.iter().filter_map(|vrrp| vrrp.sync_group.get());
            let names = all.map(String::as_str).filter(|other| *other != name);
            let mend = match suggest::nearest(name, names) {
                Some(near) => format!("did you mean \"{near}\"? Else give the group a second member"),
                None => "give it a second member by the same line, or remove the line".to_owned(),
            };
            findings.report(place(first), format!("the sync group \"{name}\" has no other member"), mend);
        }
        for other in others.iter().filter(|other| settings(other) != settings(first)) {
            let line = source.place(first.span.start, place(other).start);
            findings.report(
                place(other),
                format!("the sync group \"{name}\" preempts otherwise in {}, {line}", first.title),
                "give all members the same preempt and preempt_delay: they change state together",
            );
        }
    }
}

fn settings(vrrp: &Named<VrrpKeys>) -> (Option<bool>, Option<Duration>) {
    (vrrp.preempt.copied(), vrrp.preempt_delay.copied())
}
