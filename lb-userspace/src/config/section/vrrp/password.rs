//! A password, which no log, error or `Debug` shows.

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::read::{Shown, Text};

/// A password, which no log, error or `Debug` shows; its memory is wiped when it goes.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Shown for Password {}

/// Any text; what the version carries is a rule of its own.
pub const PASSWORD: Text<Password> =
    Text { read: |text| Ok(text.into()), example: "\"PassW0rD\"", values: "1 to 8 bytes, version 2 alone" };
