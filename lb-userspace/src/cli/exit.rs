//! What a verb's exit code says. The numbers are those of LSB's init scripts where they have one.

use crate::agent::{Broken, Misconfigured};
use crate::api::ClientError;
use crate::host::privilege;

/// An exit code of `lb`. (2 is clap's: the command line itself is wrong.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    /// It is done.
    Done = 0,
    /// It failed, or what was looked for is bad (`lb status`, `lb which`); the text says why.
    Failed = 1,
    /// No agent answers. `lb list` and `lb status` have printed what the pinned maps forward, `lb events` what was written down.
    NoAgent = 3,
    /// This user may not.
    Permission = 4,
    /// The agent can't start, since its configuration file is wrong in itself: another try would fail as well.
    Configuration = 6,
    /// A part of the agent failed, and it ended in order (`EX_SOFTWARE` of sysexits.h).
    Broken = 70,
}

/// No agent runs, and nothing else can be told either.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAgent(pub(super) String);

impl Code {
    /// The code of an error.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if error.is::<Broken>() {
            return Self::Broken;
        }
        if error.is::<Misconfigured>() {
            return Self::Configuration;
        }
        if error.is::<NoAgent>() {
            return Self::NoAgent;
        }
        let is_denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::NoAgent { .. }) => Self::NoAgent,
            Some(ClientError::Permission { .. }) => Self::Permission,
            _ if error.is::<privilege::Missing>() => Self::Permission,
            _ if error.downcast_ref::<std::io::Error>().is_some_and(is_denied) => Self::Permission,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_code_whatever_was_said_around_it() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let path = "/run/lb/lb.sock".to_owned();
        let cases = [
            (anyhow!("no"), Code::Failed),
            (ClientError::Refused("no".to_owned()).into(), Code::Failed),
            (ClientError::NoAgent { path: path.clone(), error: denied() }.into(), Code::NoAgent),
            (ClientError::Permission { path, mend: String::new() }.into(), Code::Permission),
            (denied().into(), Code::Permission),
            (NoAgent("nothing is pinned".to_owned()).into(), Code::NoAgent),
            (Broken("the VRRP thread ended".to_owned()).into(), Code::Broken),
        ];
        for (error, code) in cases {
            let shown = format!("{error:#}");
            assert_eq!(Code::of(&error), code, "{shown}");
            assert_eq!(Code::of(&Err::<(), _>(error).context("around it").unwrap_err()), code, "{shown}");
        }
    }
}
