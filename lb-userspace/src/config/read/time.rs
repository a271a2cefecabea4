//! Lengths of time.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::Value;
use super::kind::{Kind, Site, string};
use super::value;
use crate::config::report::Fault;

/// A length of time within a range.
#[derive(Debug, Clone)]
pub struct Time {
    range: RangeInclusive<Duration>,
    zero: Option<&'static str>,
}

impl Time {
    /// Within this range.
    pub fn of(range: RangeInclusive<Duration>) -> Self {
        Self { range, zero: None }
    }

    /// Zero may be written too, and means this.
    pub fn zero(self, meaning: &'static str) -> Self {
        Self { zero: Some(meaning), ..self }
    }

    fn accepts(&self, time: Duration) -> bool {
        self.range.contains(&time) || self.zero.is_some() && time.is_zero()
    }

    /// `"1s" to "1h"`, the ends in quotes of this kind.
    fn words(&self, quote: &str) -> String {
        let low = format!("{quote}{}{quote}", hours(*self.range.start()));
        let high = format!("{quote}{}{quote}", hours(*self.range.end()));
        match self.zero {
            None => format!("{low} to {high}"),
            Some(meaning) if self.range.start().is_zero() => format!("{low} ({meaning}) to {high}"),
            Some(meaning) => format!("{quote}0s{quote} ({meaning}), or {low} to {high}"),
        }
    }
}

impl Kind for Time {
    type Value = Duration;

    fn read(&self, mut site: Site<'_>, value: &Value<'_>) -> Option<Duration> {
        if let DeValue::Integer(number) = value.get_ref() {
            let mend = format!("write the unit too, in quotes: {} = \"{number}s\"", site.key);
            site.other_kind(value, "a string", mend);
            return None;
        }
        let text = string(&mut site, value)?;
        let time = value::duration(text).map_err(|fault| site.report(value.span(), fault)).ok()?;
        if self.accepts(time) {
            return Some(time);
        }
        let message = format!("{} = {} is out of range", site.what(), humantime::format_duration(time));
        site.report(value.span(), Fault::new(message, format!("write {}", self.words("\""))));
        None
    }

    fn example(&self) -> String {
        "\"1s\"".to_owned()
    }

    fn values(&self) -> String {
        self.words("")
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "examples": [hours(*self.range.start())] })
    }

    fn show(&self, value: &Duration) -> String {
        format!("\"{}\"", hours(*value))
    }
}

/// A length of time as people write it; whole hours aren't called days.
pub fn hours(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds > 0 && time.subsec_nanos() == 0 && seconds.is_multiple_of(3600) => {
            format!("{}h", seconds / 3600)
        }
        _ => humantime::format_duration(time).to_string(),
    }
}
