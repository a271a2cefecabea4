//! `lb doctor`: what on this machine and its segment costs traffic, or will. [`Facts`] is all that is known, read once by
//! [`look`]; what follows of it is pure. What a running agent tells of itself is found by [`crate::findings`], and not here
//! once more.

mod facts;
mod host;
mod interfaces;
pub mod look;
mod segment;
#[cfg(test)]
mod tests;

pub use facts::{Facts, Heard, Host, Kernel, Nic, Stranger};

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::api::{RouterStatus, Status};
use crate::config::Config;
use crate::findings::{self, Finding};

/// Everything that is found, what is bad first; with what an agent's status has, where one answers. `now` is in seconds
/// since 1970.
#[must_use]
pub fn findings(facts: &Facts, agent: Option<(&Status, &[RouterStatus])>, now: u64) -> Vec<Finding> {
    let mut found = Found::default();
    match &facts.file {
        Err(fault) => found.bad(
            "lb.toml",
            fault,
            "without a file that can be used no director starts here, and one that runs can't be reloaded",
            "`lb check FILE` has every fault with its place and what to write there",
        ),
        Ok(config) => {
            interfaces::find(&mut found, facts, config);
            segment::find(&mut found, facts, config, agent.map(|(status, _)| status));
            host::find(&mut found, facts, config);
        }
    }
    host::find_kernel(&mut found, &facts.kernel);
    let told = agent.map(|(status, routers)| findings::findings(status, routers, now)).unwrap_or_default();
    let all = told.into_iter().chain(found.0);
    let (mut bad, notes): (Vec<Finding>, Vec<Finding>) = all.partition(|finding| finding.bad);
    bad.extend(notes);
    bad
}

/// The addresses of all reals.
fn reals(config: &Config) -> BTreeSet<IpAddr> {
    config.owners().flat_map(|service| &service.reals).map(|real| real.address).collect()
}

/// What was found so far.
#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn bad(&mut self, subject: &str, what: impl Into<String>, why: &str, mend: impl Into<String>) {
        self.add(true, subject, what.into(), why, mend.into());
    }

    fn note(&mut self, subject: &str, what: impl Into<String>, why: &str, mend: impl Into<String>) {
        self.add(false, subject, what.into(), why, mend.into());
    }

    fn add(&mut self, bad: bool, subject: &str, what: String, why: &str, mend: String) {
        let (subject, why) = (subject.to_owned(), Some(why.to_owned()));
        self.0.push(Finding { bad, subject, what, why, mend: Some(mend) });
    }
}
