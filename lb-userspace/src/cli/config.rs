//! `lb config`: the configuration in force as one file, and its schema.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{ConfigArgs, output};
use crate::agent::Misconfigured;
use crate::config::{self, Texts, reference};
use crate::host;

/// What is printed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print what a director reads of all files as one, with the defaults of what they don't say.
    ///
    /// It can be used as a lb.toml, with --secrets.
    Show(Show),
    /// Print the JSON schema of the file, for editors.
    Schema,
}

#[derive(Debug, Args)]
struct Show {
    /// The configuration file, as by --config.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    args: ConfigArgs,
    /// As the director of this name reads it, by its [on.NAME] [default: this host].
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Print passwords too.
    #[arg(long)]
    secrets: bool,
}

/// Prints it.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let show = match arguments.what {
        What::Show(show) => show,
        What::Schema => return output::print_json(&reference::json_schema()),
    };
    let texts = Texts::gather(&show.file.unwrap_or(show.args.config)).map_err(Misconfigured)?;
    let shown = config::show(&texts, &show.host.unwrap_or_else(host::name), show.secrets).map_err(Misconfigured)?;
    output::print(&shown)
}
