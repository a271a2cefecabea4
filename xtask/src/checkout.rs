//! Where things are in this checkout, and the toolchain that it pins.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// This checkout: its root directory and its pinned toolchain.
pub(crate) struct Checkout {
    root: PathBuf,
    channel: String,
}

impl Checkout {
    /// Finds the checkout that this xtask was built from.
    ///
    /// # Errors
    /// Where the root or a usable `rust-toolchain.toml` in it is missing.
    pub(crate) fn open() -> Result<Self> {
        // Cargo says at run time where the package is now; the path of the build may be gone since.
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package
            .join("..")
            .canonicalize()
            .with_context(|| format!("no checkout around {}: start this as `cargo xtask`", package.display()))?;
        let file = root.join("rust-toolchain.toml");
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let channel = pinned_channel(&text)
            .with_context(|| format!("{} has no line of the form: channel = \"1.2.3\"", file.display()))?
            .to_owned();
        Ok(Self { root, channel })
    }

    /// The checkout's root directory, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The pinned toolchain's version, such as `1.2.3`.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// A directory or file of xtask's own under `target`. `CARGO_TARGET_DIR` does not move these:
    /// lb-userspace's build script finds the BPF object by its place in the checkout.
    pub(crate) fn target(&self, path: &str) -> PathBuf {
        self.root.join("target").join(path)
    }

    /// `program`, to be run in the checkout's root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// `cargo ARGS`, to be run in the checkout's root.
    pub(crate) fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.command("cargo");
        command.args(args);
        command
    }
}

/// The channel that the text of a `rust-toolchain.toml` names.
fn pinned_channel(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("channel")?.trim_start().strip_prefix('='))
        .find_map(|value| value.trim_start().strip_prefix('"')?.split_once('"'))
        .map(|(channel, _)| channel)
        .filter(|channel| channel.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::pinned_channel;

    #[test]
    fn the_channel_is_read_from_the_toolchain_file() {
        let cases = [
            ("[toolchain]\nchannel = \"1.95.0\"\n", Some("1.95.0")),
            ("# channel = \"1.2.3\"\n[toolchain]\n  channel=\"1.96.1\" # why\n", Some("1.96.1")),
            ("[toolchain]\nchannel = \"stable\"\n", None),
            ("[toolchain]\nchannels = \"1.95.0\"\n", None),
            ("[toolchain]\n", None),
            ("channel = \"1.95", None),
        ];
        for (text, expected) in cases {
            assert_eq!(pinned_channel(text), expected, "{text:?}");
        }
    }
}
