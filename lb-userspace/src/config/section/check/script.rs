//! `type = "script"`: a command that ends with 0.

use toml::Spanned;

use super::Asks;
use crate::config::read::texts::ARGUMENT;
use crate::config::read::{Flag, Keys, List, Section, Text, key, keys};
use crate::config::report::text::{WIDTH, clip};
use crate::config::section::notify::{self, is_by_path};

/// A command that ends with 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Command {
    /// argv, its first element an absolute path. Where it stands in the file is no part of what is compared.
    pub command: Spanned<Vec<String>>,
    /// Whose rights it has; without it those of [`NOBODY`], if the agent may give its own up.
    pub user: Option<Spanned<String>>,
    /// Whether an exit code of 2 to 255 is a weight, and two more than it.
    pub dynamic_weight: bool,
    /// Whom it is told that it is for, if it is told: then others don't share it.
    pub owner: Option<Owner>,
}

/// The section that a check stands in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// `[service.NAME]`.
    Service(String),
    /// `[pool.NAME]`.
    Pool(String),
}

/// Who runs it where the file says nothing.
pub const NOBODY: &str = "nobody";

const COMMAND: List<Text<String>> = List {
    item: Text { example: "\"/path/check\"", ..ARGUMENT },
    empty: ("there is no command", "write [\"/path/check\", \"argument\"]"),
};
const USER: Text<String> = Text { example: "\"nobody\"", ..notify::USER };

keys! {
    #[derive(Debug)]
    pub struct ScriptKeys {
        /// what is run; no shell is in between. Exit code 0 is good. `LB_REAL` in its environment is the real's address,
        /// `LB_PORT` the check's port
        command: Vec<Spanned<String>> = key(COMMAND).required().values("`[\"/path/check\", \"argument\", …]`");
        /// the user that it runs as, with that one's group alone
        user: String = key(USER).without("`\"nobody\"`, or the agent's own where that isn't root");
        /// whether its exit code is a weight, as with keepalived's `misc_dynamic`: 0 is good and leaves the weight as it is, 1 is
        /// bad, any other is good and the weight is two less
        dynamic_weight: bool = key(Flag).or(false);
        /// whether it finds `LB_SERVICE`, the service's name, or `LB_POOL`, its pool's. It is run for each of them then, where it is run once
        /// for all that ask the same otherwise
        per_service: bool = key(Flag).or(false);
    }
}

impl Asks for Command {
    const WORD: &'static str = "script";
    const WANTS: &'static str = "a command that ends with exit code 0";
    type Keys = ScriptKeys;

    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = ScriptKeys::read(section);
        is_by_path(keys.command.items(), "command", section.findings());
        let place = keys.command.items().first()?.span();
        let argv = keys.command.items().iter().map(|argument| argument.get_ref().clone()).collect();
        let user = keys.user.written().map(|(user, span)| Spanned::new(span, user.clone()));
        let (dynamic_weight, told) = (keys.dynamic_weight.copied()?, keys.per_service.copied()?);
        // Whose it is is known where its section is accepted.
        let owner = told.then(|| Owner::Service(String::new()));
        Some(Self { command: Spanned::new(place, argv), user, dynamic_weight, owner })
    }

    fn words(&self, port: u16) -> String {
        let user = self.user.as_ref().map_or(NOBODY, |user| user.get_ref());
        let argv = clip(&self.command.get_ref().join(" "), WIDTH / 2);
        let weight = if self.dynamic_weight { ", its exit code is a weight" } else { "" };
        let owner = self.owner.as_ref().map(|owner| match owner {
            Owner::Service(name) => format!(", for service {}", clip(name, WIDTH / 2)),
            Owner::Pool(name) => format!(", for pool {}", clip(name, WIDTH / 2)),
        });
        let owner = owner.unwrap_or_default();
        format!("the command {argv}{owner}, for port {port}, as {}{weight}", clip(user, WIDTH / 2))
    }
}
