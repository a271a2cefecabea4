//! What a director that has started waits for before it takes VIPs from another.

use std::collections::HashSet;

use crate::health::Health;
use crate::planner::model::{Model, Standing};

/// Reals that are named at most.
const NAMED: usize = 3;

/// The reals of which it isn't known yet whether they take traffic ([`Model::is_ready`]), in words; `None` where there
/// are none.
pub(super) fn awaited(model: &Model) -> Option<String> {
    if model.is_ready() {
        return None;
    }
    let mut seen = HashSet::new();
    let mut awaited = Vec::new();
    for service in model.config.owners() {
        for real in &service.reals {
            let health = model.health_of(service, real);
            let why = match model.standing(service, real) {
                _ if matches!(health, Some(Health::Down { .. })) => continue,
                standing if standing.is_usable() || standing.is_given_up() => continue,
                Standing::Checking => "not checked yet".to_owned(),
                Standing::Down { why, .. } => why,
                _ => continue,
            };
            if seen.insert(real.address) {
                awaited.push(format!("real {}: {why}", real.address));
            }
        }
    }
    let more = awaited.len().saturating_sub(NAMED);
    awaited.truncate(NAMED);
    if more > 0 {
        awaited.push(format!("{more} more"));
    }
    Some(awaited.join("; "))
}
