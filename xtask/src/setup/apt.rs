//! Debian packages without a change to the machine's own lists: its mirror and keys, and an apt set-up of xtask's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::checkout::Checkout;
use crate::setup::{apt_source, packages};
use crate::shell;

/// Packages are accepted with a signature of these keys alone, whatever the mirror.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of the machine's Debian mirror, with fresh lists.
pub(crate) struct Suite<'a> {
    checkout: &'a Checkout,
    configuration: PathBuf,
}

impl<'a> Suite<'a> {
    /// Reads the suite's lists into `work`, a directory of which nothing is kept.
    ///
    /// # Errors
    /// This is no Debian machine with a mirror and keys, or the mirror can't be reached.
    pub(crate) fn open(checkout: &'a Checkout, work: &Path, suite: &str) -> Result<Self> {
        for program in ["apt-get", "dpkg-deb"] {
            if packages::find(program).is_none() {
                bail!("Debian's packages can't be had: there is no {program}");
            }
        }
        if !Path::new(KEYRING).exists() {
            bail!(
                "Debian's packages can't be checked: {KEYRING} is missing (`apt-get install debian-archive-keyring`)"
            );
        }
        if work.exists() {
            fs::remove_dir_all(work).with_context(|| format!("removing {}", work.display()))?;
        }
        let create = |name: &str| {
            let path = work.join(name);
            fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display())).map(|()| path)
        };
        let (sources, lists, cache) = (create("sources")?, create("lists")?, create("cache")?);
        create("lists/partial")?;
        create("cache/archives/partial")?;
        let mirrors = mirrors(checkout, &lists)?;
        // `Sandbox`: these directories are the caller's; apt's own user may not reach them.
        let options = format!(
            "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{}\";\nDir::State::lists \"{}\";\n\
             Dir::Cache \"{}\";\nAPT::Sandbox::User \"root\";\nAPT::Update::Error-Mode \"any\";\n\
             Acquire::Languages \"none\";\n",
            sources.display(),
            lists.display(),
            cache.display()
        );
        let configuration = work.join("apt.conf");
        fs::write(&configuration, options).with_context(|| format!("writing {}", configuration.display()))?;
        let opened = Self { checkout, configuration };
        let mut failed = Vec::new();
        for mirror in mirrors {
            let list = sources.join("own.sources");
            let text = format!("Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n");
            fs::write(&list, text).with_context(|| format!("writing {}", list.display()))?;
            match shell::run_silent(opened.command("apt-get").args(["-qq", "update"])) {
                Ok(()) => return Ok(opened),
                Err(error) => failed.push(format!("{mirror}: {error:#}")),
            }
        }
        bail!("Debian's packages can't be had: {suite} comes from no mirror\n{}", failed.join("\n"))
    }

    /// `apt-get` or `apt-cache` on this suite alone.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.checkout.command(program);
        command.arg("-c").arg(&self.configuration);
        command
    }

    /// Downloads these packages, whose signature chain apt checks, and returns their files.
    ///
    /// # Errors
    /// The suite has no such package, or it can't be fetched.
    pub(crate) fn download(&self, wanted: &[&str], directory: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
        shell::run_silent(self.command("apt-get").args(["-qq", "download"]).args(wanted).current_dir(directory))?;
        let entries = fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|it| it == "deb")).collect();
        if files.len() != wanted.len() {
            bail!("`apt-get download {}` left {} packages in {}", wanted.join(" "), files.len(), directory.display());
        }
        Ok(files)
    }
}

/// The release of Debian that this machine runs, by its codename, and its likeliest mirror. `work` is a directory of which
/// nothing is kept.
///
/// # Errors
/// This is no Debian machine, or apt knows no mirror of its release.
pub(crate) fn own_release(checkout: &Checkout, work: &Path) -> Result<(String, String)> {
    if work.exists() {
        fs::remove_dir_all(work).with_context(|| format!("removing {}", work.display()))?;
    }
    fs::create_dir_all(work).with_context(|| format!("creating {}", work.display()))?;
    let codename = codename()?;
    let mirrors = mirrors_of(checkout, &codename, work)?;
    fs::remove_dir_all(work).with_context(|| format!("removing {}", work.display()))?;
    let mirror = mirrors.into_iter().next().context("apt names no mirror")?;
    Ok((codename, mirror))
}

/// The machine's own Debian mirrors, the likeliest first. `lists` is a directory without lists.
///
/// # Errors
/// This is no Debian machine, or apt knows no mirror of its release.
fn mirrors(checkout: &Checkout, lists: &Path) -> Result<Vec<String>> {
    mirrors_of(checkout, &codename()?, lists)
}

fn codename() -> Result<String> {
    const FILE: &str = "/etc/os-release";
    let release =
        fs::read_to_string(FILE).with_context(|| format!("Debian's packages can't be had: reading {FILE}"))?;
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"'))
    };
    match (value("ID"), value("VERSION_CODENAME")) {
        (Some("debian"), Some(codename)) => Ok(codename.to_owned()),
        (id, _) => {
            bail!("Debian's packages can't be had: this is no release of Debian ({FILE}: {})", id.unwrap_or("no ID"))
        }
    }
}

fn mirrors_of(checkout: &Checkout, codename: &str, lists: &Path) -> Result<Vec<String>> {
    let mut command = checkout.command("apt-get");
    command.args(["update", "--print-uris", "-o"]).arg(format!("Dir::State::lists={}", lists.display()));
    let said = shell::read(&mut command)?;
    let mirrors = apt_source::debian_mirrors(&said, codename);
    if mirrors.is_empty() {
        bail!("Debian's packages can't be had: no mirror of {codename} is set up in /etc/apt");
    }
    Ok(mirrors.into_iter().map(str::to_owned).collect())
}
