//! `lb reload`: what changed.

use anyhow::Result;

use super::output;
use crate::api::{self, Reloaded};

/// Has the agent read its configuration again.
pub(super) async fn run() -> Result<()> {
    let reloaded = api::reload(&api::socket()).await?;
    output::print(&render(&reloaded))
}

fn render(Reloaded { changes, without_effect }: &Reloaded) -> String {
    let first = if changes.is_empty() { "reloaded: nothing that is in force changed" } else { "reloaded" };
    let lines = [first.to_owned()].into_iter();
    let changes = changes.iter().map(|line| format!("  {line}"));
    let notes = without_effect.iter().map(|line| format!("note: {line}"));
    lines.chain(changes).chain(notes).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_and_what_has_no_effect_are_told_apart() {
        let reloaded = Reloaded {
            changes: vec!["service.web: removed".to_owned()],
            without_effect: vec!["[limits] has no effect yet".to_owned()],
        };
        let expected = "reloaded\n  service.web: removed\nnote: [limits] has no effect yet\n";
        assert_eq!(render(&reloaded), expected);
        assert_eq!(render(&Reloaded::default()), "reloaded: nothing that is in force changed\n");
    }
}
