//! Which integration tests there are, and which step of `test` each belongs to.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The package directory of lb-tests, whose integration tests need the kernel.
const KERNEL: &str = "tests";
/// Crates with builds of their own.
const OUTSIDE: [&str; 3] = ["lb-ebpf", "fuzz", "target"];

/// Names of the workspace's integration tests by step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Suites {
    /// Those that need nothing but this machine's user space.
    pub(crate) unit: Vec<String>,
    /// Those of lb-tests named `packet` or `packet_…`.
    pub(crate) packet: Vec<String>,
    /// All others of lb-tests.
    pub(crate) lab: Vec<String>,
}

impl Suites {
    /// Looks through the checkout: cargo takes each file or directory in a package's `tests` as an integration test.
    ///
    /// # Errors
    /// Where a directory can't be read.
    pub(crate) fn find(root: &Path) -> Result<Self> {
        let mut suites = Self::default();
        for package in entries(root)? {
            let Some(name) = package.file_name().and_then(OsStr::to_str) else {
                continue;
            };
            if OUTSIDE.contains(&name) || !package.join("Cargo.toml").is_file() {
                continue;
            }
            let tests = entries(&package.join("tests"))?.into_iter().filter_map(|path| test_name(&path));
            for test in tests {
                suites.step(name, &test).push(test);
            }
        }
        Ok(suites)
    }

    fn step(&mut self, package: &str, test: &str) -> &mut Vec<String> {
        if package != KERNEL {
            &mut self.unit
        } else if test == "packet" || test.starts_with("packet_") {
            &mut self.packet
        } else {
            &mut self.lab
        }
    }
}

/// The options that select tests by name.
pub(crate) fn named(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().flat_map(|name| ["--test", name])
}

fn test_name(path: &Path) -> Option<String> {
    let is_test = path.extension() == Some(OsStr::new("rs")) || path.join("main.rs").is_file();
    is_test.then(|| path.file_stem()?.to_str().map(str::to_owned))?
}

/// A directory's entries in order; none where there is no such directory.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.with_context(|| format!("reading {}", directory.display()))?,
    };
    let mut paths: Vec<PathBuf> = read.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::{Suites, named, test_name};
    use std::path::Path;

    #[test]
    fn each_integration_test_has_a_step() {
        let mut suites = Suites::default();
        let cases = [
            ("lb-common", "corpus"),
            ("tests", "packet"),
            ("tests", "packet_ipv6"),
            ("tests", "reload"),
            ("tests", "packets"),
        ];
        for (package, test) in cases {
            suites.step(package, test).push(test.to_owned());
        }
        assert_eq!(suites.unit, ["corpus"]);
        assert_eq!(suites.packet, ["packet", "packet_ipv6"]);
        assert_eq!(suites.lab, ["reload", "packets"]);
        assert_eq!(named(&suites.unit).collect::<Vec<_>>(), ["--test", "corpus"]);
    }

    #[test]
    fn only_rust_files_are_tests() {
        assert_eq!(test_name(Path::new("tests/reload.rs")).as_deref(), Some("reload"));
        assert_eq!(test_name(Path::new("tests/fixtures")), None);
        assert_eq!(test_name(Path::new("tests/a.pcap")), None);
    }
}
