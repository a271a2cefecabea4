//! `lb generate`: the man pages and the shells' completions, for those who package it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// The manual's section of commands for administrators (hier(7), man-pages(7)).
const SECTION: &str = "8";

/// Write the man pages to DIR/man and the completions of bash, zsh and fish to DIR/completions.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A directory; it is made.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes them.
pub(super) fn run(args: &Arguments) -> Result<()> {
    let [man, completions] = ["man", "completions"].map(|part| args.directory.join(part));
    make(&man)?;
    make(&completions)?;
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "lb", &completions)
            .with_context(|| format!("writing to {}", completions.display()))?;
    }
    // A new one: completions have `lb help VERB` too, which needs no page.
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives each verb its whole name.
    command.build();
    pages(&command, &man)
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))
}

/// The page of a verb and those of its own verbs: `lb-vrrp-release` is that of `lb vrrp release`.
fn pages(command: &clap::Command, directory: &Path) -> Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages(verb, directory)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = directory.join(format!("{name}.{SECTION}"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).section(SECTION).render(&mut page)?;
    fs::write(&path, page).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_and_no_hidden_one_does() {
        let directory = tempfile::tempdir().unwrap();
        run(&Arguments { directory: directory.path().to_owned() }).unwrap();
        let page = |name: &str| fs::read_to_string(directory.path().join("man").join(name));
        assert!(page("lb.8").unwrap().contains(".TH lb 8"));
        assert!(page("lb-drain.8").unwrap().contains("deadline"));
        assert!(page("lb-vrrp-release.8").unwrap().contains("lb\\-vrrp\\-release"));
        assert!(page("lb-guard.8").is_err() && page("lb-help.8").is_err());
        assert!(page("lb-vrrp-help.8").is_err());
        for file in ["lb.bash", "_lb", "lb.fish"] {
            let text = fs::read_to_string(directory.path().join("completions").join(file)).unwrap();
            assert!(text.contains("undrain"), "{file}");
        }
    }
}
