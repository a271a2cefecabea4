//! `lb check`: what a configuration would do.

use std::fs;
use std::io::{IsTerminal as _, stderr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{ConfigArgs, diff, output};
use crate::agent::{self, Misconfigured};
use crate::api::{self, ClientError};
use crate::config::{self, Config, Here, MapMemory, Obstacle, Texts, describe, doubts};
use crate::dataplane::map_rows;
use crate::host;

/// Which file is checked, and as whose.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Hold it against this machine too: its interfaces, segments, files and commands.
    #[arg(long)]
    here: bool,
    /// Read it as the director of this name does, by its [on.NAME] [default: this host].
    #[arg(long, value_name = "NAME", conflicts_with = "here")]
    host: Option<String>,
    /// The configuration file, as by --config.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    args: ConfigArgs,
}

/// Prints the checked configuration, with the memory that its maps take, and what it is doubtful of.
pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let path = arguments.file.unwrap_or(arguments.args.config);
    let texts = Texts::gather(&path).map_err(Misconfigured)?;
    let loaded = config::accept(&texts, arguments.host.as_ref().unwrap_or(&host::name())).map_err(Misconfigured)?;
    let (loaded, segments) = match arguments.here {
        true => agent::hold(loaded, |_| true).await.map(|(loaded, links)| (loaded, Some(agent::segments(&links))))?,
        false => (loaded, None),
    };
    output::print(&describe(&loaded.config, &memory(&loaded.config)))?;
    if let Some(own) = &loaded.hosts.own {
        output::print(&format!("\nWith what [on.{own}] says for this host\n"))?;
    }
    if arguments.host.is_none()
        && let Some(changes) = would_change(&texts).await?
    {
        output::print(&format!("\n{changes}"))?;
    }
    let here = segments.as_ref().map(|segments| Here { segments, program: &program });
    if let Some(warnings) = doubts(&loaded, here.as_ref()) {
        output::remark(&format!("\n{}", warnings.render(stderr().is_terminal())));
    }
    Ok(())
}

/// What a reload of the file would change, in words; `None` where no agent runs that could be asked.
async fn would_change(texts: &Texts) -> Result<Option<String>> {
    match api::changes(&api::socket(), texts).await {
        Ok(reloaded) => {
            let nothing = if reloaded.changes.is_empty() { " nothing that is in force" } else { "" };
            let head = format!("For the agent that runs here this file changes{nothing}");
            let status = api::status(&api::socket()).await.ok();
            Ok(Some(diff::render(&head, &reloaded, status.as_ref())))
        }
        Err(ClientError::NoAgent { .. } | ClientError::Permission { .. }) => Ok(None),
        Err(error) => Ok(Some(format!("The agent that runs here can't say what this file changes: {error}\n"))),
    }
}

/// Why the file at a path can't be run as a command.
fn program(path: &str) -> Obstacle {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("isn't there"),
        Err(_) => Some("can't be looked at"),
        Ok(file) if !file.is_file() => Some("is not a file"),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => Some("is not executable"),
        Ok(_) => None,
    }
}

/// The maps' memory, by their sizes.
fn memory(config: &Config) -> Vec<MapMemory> {
    let cpus = aya::util::nr_cpus().unwrap_or(1);
    map_rows(agent::sizes(config))
        .iter()
        .map(|row| MapMemory { name: row.name.to_owned(), entries: row.entries.into(), bytes: row.bytes(cpus) })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Verb};

    #[test]
    fn the_file_is_named_with_or_without_the_option() {
        let path = |words: &[&str]| match Cli::try_parse_from(words).unwrap().verb {
            Verb::Check(arguments) => arguments.file.unwrap_or(arguments.args.config),
            other => panic!("{other:?}"),
        };
        assert_eq!(path(&["lb", "check"]), PathBuf::from("/etc/lb/lb.toml"));
        assert_eq!(path(&["lb", "check", "a.toml"]), PathBuf::from("a.toml"));
        assert_eq!(path(&["lb", "check", "--config", "a.toml"]), PathBuf::from("a.toml"));
        assert!(Cli::try_parse_from(["lb", "check", "a.toml", "--config", "b.toml"]).is_err());
    }

    #[test]
    fn commands_that_cannot_be_run() {
        assert_eq!(program("/bin/sh"), None);
        assert_eq!(program("/no/such/file"), Some("isn't there"));
        assert_eq!(program("/etc"), Some("is not a file"));
        assert_eq!(program("/etc/passwd"), Some("is not executable"));
    }
}
