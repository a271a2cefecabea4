//! The checks of a real: those of its service or pool, or its own; and how several are joined.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::check::{Check, CheckTable, ReadCheck};
use super::real::RealKeys;
use crate::config::read::{Choice, Given, Kind, Read, Shape, Site, Value};
use crate::config::report::{Fault, Findings};

/// The checks of a real, in the file's order. None at all take it as healthy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checks {
    list: Arc<[Check]>,
    /// How their answers are joined.
    pub join: Join,
}

/// How the answers of several checks are joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Join {
    /// The real is up while every check says so.
    #[default]
    All,
    /// It is up while one of them says so.
    Any,
}

impl Join {
    pub(super) const WORDS: Choice<Self> = Choice(&[("all", Self::All), ("any", Self::Any)]);
}

impl Deref for Checks {
    type Target = [Check];

    fn deref(&self) -> &[Check] {
        &self.list
    }
}

impl Checks {
    /// These, joined so.
    #[must_use]
    pub fn new(list: Vec<Check>, join: Join) -> Self {
        Self { list: list.into(), join }
    }

    /// One paragraph for each, and how they are joined.
    pub(super) fn words(&self) -> Vec<String> {
        if self.is_empty() {
            return vec!["no check: each real counts as healthy".to_owned()];
        }
        let joined = (self.len() > 1).then(|| match self.join {
            Join::All => "up while all of these are good".to_owned(),
            Join::Any => "up while one of these is good".to_owned(),
        });
        self.iter().map(Check::words).chain(joined).collect()
    }
}

/// A check's table, or a list of them.
#[derive(Debug, Clone, Copy)]
pub struct OneOrMore;

impl Kind for OneOrMore {
    type Value = Vec<ReadCheck>;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<Vec<ReadCheck>> {
        let DeValue::Array(items) = value.get_ref() else {
            return CheckTable.read(site, value).map(|check| vec![check]);
        };
        if items.is_empty() {
            let fault = Fault::new("`check` is empty: nothing is asked", "remove the line, or name a check");
            site.report(value.span(), fault);
            return None;
        }
        let read = |item| CheckTable.read(Site { findings: &mut *site.findings, ..site }, item);
        Some(items.iter().filter_map(read).collect())
    }

    fn example(&self) -> String {
        CheckTable.example()
    }

    fn values(&self) -> String {
        "a table, or a list of tables; see below".to_owned()
    }

    fn schema(&self) -> Json {
        let one = CheckTable.schema();
        json!({ "anyOf": [one.clone(), { "type": "array", "items": one, "minItems": 1 }] })
    }

    fn shape(&self) -> Shape {
        Shape::Table
    }
}

/// What accepts a check, given the real that it is of, where it is one real's own.
pub type Accept<'a> = dyn Fn(&ReadCheck, Option<IpAddr>, &mut Findings) -> Option<Check> + 'a;

/// The rules of the checks of a service or a pool.
pub fn accept(
    read: &Given<Vec<ReadCheck>>,
    join: &Given<Join>,
    accept: &Accept<'_>,
    findings: &mut Findings,
) -> Checks {
    let read = read.get().map_or(&[][..], Vec::as_slice);
    let list = read.iter().filter_map(|one| accept(one, None, findings)).collect();
    Checks::new(list, join.copied().unwrap_or_default())
}

/// The rules of one real's own checks. `None` where it has those of its service or pool, which are `theirs`.
pub fn accept_own(
    real: &Read<RealKeys>,
    theirs: &Checks,
    accept: &Accept<'_>,
    findings: &mut Findings,
) -> Option<Checks> {
    let join = real.join_checks.copied();
    let Some(own) = real.check.get() else {
        return join.filter(|join| *join != theirs.join).map(|join| Checks { join, ..theirs.clone() });
    };
    let address = real.address.copied();
    let list = own.iter().filter_map(|one| accept(one, address, findings)).collect();
    Some(Checks::new(list, join.unwrap_or(theirs.join)))
}
