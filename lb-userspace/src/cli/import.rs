//! `lb import`: the edge of [`crate::import`], which reads files and commands for it.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::exit::Code;
use super::output;
use crate::host;
use crate::import::{self, Files, Imported, MAX_BYTES, Options};

/// What is imported, and where to.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A keepalived.conf, or what `ipvsadm-save -n` or `ipvsadm -Ln` prints; - is standard input.
    #[arg(value_name = "FILE", required_unless_present = "live")]
    file: Option<PathBuf>,
    /// Import what IPVS has on this host now, by `ipvsadm-save -n` or /proc/net/ip_vs.
    #[arg(long, conflicts_with = "file")]
    live: bool,
    /// Write the lb.toml here, and the report to standard output; else the lb.toml goes there, and the report to
    /// standard error.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file that --output names.
    #[arg(long, requires = "output")]
    force: bool,
    /// The name that keepalived's `@NAME` lines are held against [default: this host's, up to its first dot].
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// An interface for `director.interfaces`; once for each [default: those that VIPs are put on].
    #[arg(long = "interface", value_name = "NAME")]
    interfaces: Vec<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) const AFTER: &str = "\
Every line of the input is told of in the report: carried over, carried over
differently and how, not carried over and what to do, or not known.

Exit codes: 0 all of it is in the lb.toml, 5 some of it is not, 6 `lb check`
refuses the lb.toml until what the report names is written, 1 the input can't
be understood: nothing is written.

Examples:
  lb import /etc/keepalived/keepalived.conf -o lb.toml
  ipvsadm-save -n | lb import - --interface eth1 > lb.toml
  lb import --live --interface eth1 > lb.toml";

/// Imports, writes and reports.
pub(super) fn run(arguments: &Arguments) -> Result<Code> {
    let (name, text) = match &arguments.file {
        _ if arguments.live => live()?,
        Some(path) if path.as_os_str() == "-" => {
            let mut bytes = Vec::new();
            limited(io::stdin()).read_to_end(&mut bytes).context("standard input can't be read")?;
            (PathBuf::from("standard input"), lossy(bytes))
        }
        Some(path) => (path.clone(), Folder.read(path).with_context(|| format!("{} can't be read", path.display()))?),
        None => bail!("name a file, or --live"),
    };
    let host = match &arguments.host {
        Some(host) => host.clone(),
        None => host::name().split('.').next().unwrap_or_default().to_owned(),
    };
    let options = Options { host, interfaces: arguments.interfaces.clone() };
    let Imported { toml, report } = import::import(&name, &text, &options, &Folder)?;
    let written = arguments.output.as_ref().map_or("lb.toml".to_owned(), |path| path.display().to_string());
    let told = match arguments.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => report.text(&written),
    };
    match &arguments.output {
        Some(path) => {
            write(path, &toml, arguments.force)?;
            output::print(&told)?;
        }
        None => {
            // In their order where both are one terminal.
            output::print(&toml)?;
            output::remark(&format!("{}{}", if io::stdout().is_terminal() { "\n" } else { "" }, told.trim_end()));
        }
    }
    Ok(match (report.unfinished.is_empty(), report.is_whole()) {
        (false, _) => Code::Configuration,
        (true, false) => Code::Partly,
        (true, true) => Code::Done,
    })
}

/// What IPVS has here. `ipvsadm-save` says more than the kernel's file: flags of schedulers.
fn live() -> Result<(PathBuf, String)> {
    const PROC: &str = "/proc/net/ip_vs";
    if let Ok(out) = Command::new("ipvsadm-save").arg("-n").output()
        && out.status.success()
        && !out.stdout.trim_ascii().is_empty()
    {
        return Ok((PathBuf::from("ipvsadm-save"), lossy(out.stdout)));
    }
    match Folder.read(Path::new(PROC)) {
        Ok(text) => Ok((PathBuf::from(PROC), text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("this host runs no IPVS: there is no {PROC}.\nRun it on the director, or give it a file")
        }
        Err(error) => Err(error).context(format!("{PROC} can't be read")),
    }
}

/// Writes a file that others can't read: it may have a password.
fn write(path: &Path, text: &str, replace: bool) -> Result<()> {
    if path.exists() && !replace {
        bail!("{} is there already.\nName another file, or replace it with --force", path.display());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let done = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).and_then(
        |mut file: File| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        },
    );
    if done.is_err() {
        let _ = fs::remove_file(&beside);
    }
    done.with_context(|| format!("{} can't be written", path.display()))
}

/// Files as they are on this host.
struct Folder;

impl Files for Folder {
    fn list(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let matches = glob::glob(&pattern.to_string_lossy()).map_err(io::Error::other)?;
        let mut files = Vec::new();
        for path in matches {
            let path = path.map_err(io::Error::from)?;
            if path.is_file() {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let mut bytes = Vec::new();
        limited(File::open(path)?).read_to_end(&mut bytes)?;
        Ok(lossy(bytes))
    }
}

/// One byte more than is taken, so that what is larger is refused and never cut.
fn limited(from: impl io::Read) -> impl io::Read {
    from.take(MAX_BYTES as u64 + 1)
}

/// Comments of old files are in old encodings.
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_by_force_alone_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lb.toml");
        write(&path, "one", false).unwrap();
        assert!(write(&path, "two", false).unwrap_err().to_string().contains("--force"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        write(&path, "three", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(Path::new("/no/such/folder/lb.toml"), "x", false).is_err());
    }

    #[test]
    fn patterns_name_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", "c.txt"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::create_dir(folder.path().join("d.conf")).unwrap();
        let found = Folder.list(&folder.path().join("*.conf")).unwrap();
        assert_eq!(found, [folder.path().join("a.conf"), folder.path().join("b.conf")]);
        assert!(Folder.list(&folder.path().join("*.none")).unwrap().is_empty());
    }
}
