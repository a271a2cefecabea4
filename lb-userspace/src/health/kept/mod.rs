//! What is known of each check, written down so that it outlives the agent: state, what counts against it, its damping, and the
//! last results. [`file`] has it in JSON, [`keeper`] writes it beside the checks.
//!
//! A record is of a question to a real ([`Asked`]), whatever its pace: under another question nothing is taken over. For how
//! long one counts says [`Kept::counts`]; what is older is shown, and decides nothing.

mod asked;
pub mod file;
mod keeper;

use std::collections::HashMap;
use std::time::SystemTime;

use super::history::History;
use super::machine::Kept;
use super::{Health, Target};
pub use asked::Asked;
pub use keeper::Keeper;

/// What is known of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of its machine.
    pub kept: Kept,
    /// Of its results.
    pub history: History,
}

/// All that an agent before this one knew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records(HashMap<Asked, Record>);

impl Records {
    /// What is known of a target, if that still counts.
    #[must_use]
    pub fn health(&self, target: &Target, now: SystemTime) -> Option<&Health> {
        let record = self.0.get(&Asked::of(target))?;
        record.kept.counts(&target.check, now).then_some(&record.kept.health)
    }

    /// The weight that a target last asked for, however long ago: its next good answer may leave it as it is.
    #[must_use]
    pub fn weight(&self, target: &Target) -> Option<u8> {
        self.0.get(&Asked::of(target))?.kept.weight
    }

    /// Takes a target's record out.
    pub fn take(&mut self, target: &Target) -> Option<Record> {
        if self.0.is_empty() {
            return None;
        }
        self.0.remove(&Asked::of(target))
    }
}

impl FromIterator<(Asked, Record)> for Records {
    fn from_iter<I: IntoIterator<Item = (Asked, Record)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}
