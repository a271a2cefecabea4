//! From what an instance watches (a link, a script, a service's reals) to its priority in effect.

use std::fmt::Write;

use super::machine::OWNER;

/// What a condition does to its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Above zero: added while the condition holds. Below zero: taken off while it fails.
    Weight(i16),
    /// The instance takes no part while the condition fails.
    Require,
}

/// What all conditions together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Take part with this priority, 1 to 255.
    Priority(u8),
    /// Take no part.
    Out,
}

/// An instance's conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracker {
    configured: u8,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    name: String,
    effect: Effect,
    /// `None` until it was looked at.
    holds: Option<bool>,
    /// How often its weight counts, where that is a number; it holds while this is 0.
    number: Option<i32>,
}

impl Condition {
    /// What it adds to the priority. A condition that nobody has looked at yet has no effect.
    fn weight(&self) -> i32 {
        if let (Effect::Weight(weight), Some(number)) = (self.effect, self.number) {
            let most = i32::from(OWNER);
            return i32::from(weight).saturating_mul(number).clamp(-most, most);
        }
        match (self.effect, self.holds) {
            (Effect::Weight(weight), Some(true)) if weight > 0 => weight.into(),
            (Effect::Weight(weight), Some(false)) if weight < 0 => weight.into(),
            _ => 0,
        }
    }

    fn forbids(&self) -> bool {
        self.effect == Effect::Require && self.holds == Some(false)
    }
}

impl Tracker {
    /// An instance of this configured priority with these conditions by name.
    pub fn new(configured: u8, conditions: impl IntoIterator<Item = (String, Effect)>) -> Self {
        let condition = |(name, effect)| Condition { name, effect, holds: None, number: None };
        Self { configured, conditions: conditions.into_iter().map(condition).collect() }
    }

    /// A condition was looked at. The new standing, if that changed it.
    pub fn set(&mut self, name: &str, holds: bool) -> Option<Standing> {
        let before = self.standing();
        for condition in self.conditions.iter_mut().filter(|condition| condition.name == name) {
            condition.holds = Some(holds);
        }
        Some(self.standing()).filter(|&after| after != before)
    }

    /// A condition that counts was looked at. The new standing, if that changed it.
    pub fn count(&mut self, name: &str, number: i32) -> Option<Standing> {
        let before = self.standing();
        for condition in self.conditions.iter_mut().filter(|condition| condition.name == name) {
            (condition.holds, condition.number) = (Some(number == 0), Some(number));
        }
        Some(self.standing()).filter(|&after| after != before)
    }

    /// What all conditions together say. Weights never make an owner of a router or take an owner's priority.
    pub fn standing(&self) -> Standing {
        if self.conditions.iter().any(Condition::forbids) {
            return Standing::Out;
        }
        if self.configured == OWNER {
            return Standing::Priority(OWNER);
        }
        let weights: i32 = self.conditions.iter().map(Condition::weight).sum();
        let priority = (i32::from(self.configured) + weights).clamp(1, i32::from(OWNER) - 1);
        Standing::Priority(priority as u8)
    }

    /// How the standing comes about, for people: "100 configured, -20 (link eth2 fails)".
    pub fn explanation(&self) -> String {
        let mut text = format!("{} configured", self.configured);
        for condition in &self.conditions {
            let name = &condition.name;
            let weight = condition.weight();
            // Writing to a String can't fail.
            let _ = match condition.holds {
                Some(_) if weight != 0 && condition.number.is_some() => {
                    write!(text, ", {weight:+} ({name} says {})", condition.number.unwrap_or_default())
                }
                Some(false) if condition.forbids() => write!(text, ", out ({name} fails)"),
                Some(true) if weight != 0 => write!(text, ", +{weight} ({name} holds)"),
                Some(false) if weight != 0 => write!(text, ", {weight} ({name} fails)"),
                _ => Ok(()),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(configured: u8) -> Tracker {
        let conditions = [
            ("link eth2".to_owned(), Effect::Weight(-20)),
            ("script uplink".to_owned(), Effect::Weight(30)),
            ("service web".to_owned(), Effect::Require),
        ];
        Tracker::new(configured, conditions)
    }

    #[test]
    fn conditions_move_the_priority_and_say_how() {
        let mut tracker = tracker(100);
        assert_eq!(tracker.standing(), Standing::Priority(100));
        assert_eq!(tracker.set("link eth2", true), None);
        assert_eq!(tracker.set("link eth2", false), Some(Standing::Priority(80)));
        assert_eq!(tracker.set("script uplink", true), Some(Standing::Priority(110)));
        assert_eq!(tracker.set("script uplink", true), None);
        assert_eq!(tracker.explanation(), "100 configured, -20 (link eth2 fails), +30 (script uplink holds)");
        assert_eq!(tracker.set("service web", false), Some(Standing::Out));
        assert!(tracker.explanation().ends_with("out (service web fails)"));
        assert_eq!(tracker.set("service web", true), Some(Standing::Priority(110)));
    }

    #[test]
    fn weights_stay_between_1_and_254_and_leave_an_owner_alone() {
        for (configured, lowest, highest) in [(10, 1, 40), (250, 230, 254), (255, 255, 255)] {
            let mut tracker = tracker(configured);
            tracker.set("link eth2", false);
            assert_eq!(tracker.standing(), Standing::Priority(lowest));
            tracker.set("link eth2", true);
            tracker.set("script uplink", true);
            assert_eq!(tracker.standing(), Standing::Priority(highest));
        }
    }

    #[test]
    fn a_number_counts_its_weight_as_often() {
        let weight = [("file a".to_owned(), Effect::Weight(-2)), ("file b".to_owned(), Effect::Require)];
        let mut tracker = Tracker::new(100, weight);
        assert_eq!(tracker.standing(), Standing::Priority(100));
        assert_eq!(tracker.count("file a", 30), Some(Standing::Priority(40)));
        assert_eq!(tracker.explanation(), "100 configured, -60 (file a says 30)");
        assert_eq!(tracker.count("file a", -30), Some(Standing::Priority(160)));
        assert_eq!(tracker.count("file a", i32::MIN), Some(Standing::Priority(254)));
        assert_eq!(tracker.count("file a", 0), Some(Standing::Priority(100)));
        assert_eq!(tracker.count("file b", 1), Some(Standing::Out));
        assert_eq!(tracker.explanation(), "100 configured, out (file b fails)");
        assert_eq!(tracker.count("file b", 0), Some(Standing::Priority(100)));
    }
}
