//! Reads a real's machine, and changes it.
//!
//! Files are those below a root directory. The kernel's settings and addresses are the calling thread's network
//! namespace's, whatever the root.

use std::fs::{self, File as Handle};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::net::if_::if_nametoindex;

use super::facts::Running;
use super::files::{self, Content, File};
use super::{Facts, Plan, Record, Step, sysctl};
use crate::host::{file, links};
use crate::vrrp::thread::address::Addresses;

/// Larger files than this aren't configuration.
const MOST: u64 = 1 << 20;
const RECORD: &str = "/var/lib/lb/real-server.json";

/// What is known of this machine.
///
/// # Errors
/// The kernel can't be asked.
pub async fn facts(root: &Path) -> Result<Facts> {
    let links = links::snapshot().await?;
    let mut facts = Facts { default_route: default_route(), running: running(root), links, ..Facts::default() };
    let scopes = facts.links.iter().map(|link| link.name.as_str()).chain(["all"]);
    for scope in scopes.map(str::to_owned).collect::<Vec<_>>() {
        for key in ["ipv4/conf/SCOPE/arp_ignore", "ipv4/conf/SCOPE/arp_announce", "ipv4/conf/SCOPE/rp_filter"]
            .into_iter()
            .chain((scope == "lo").then_some("ipv6/conf/SCOPE/disable_ipv6"))
        {
            let key = format!("net/{}", key.replace("SCOPE", &scope));
            if let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(&key)) {
                facts.sysctls.insert(key, value.trim().to_owned());
            }
        }
    }
    let mut folders = vec![
        "/etc/netplan".to_owned(),
        files::INTERFACES_D.to_owned(),
        "/etc/NetworkManager/system-connections".to_owned(),
        "/etc/systemd/system".to_owned(),
        "/etc/systemd/system/multi-user.target.wants".to_owned(),
        "/run/systemd/netif/links".to_owned(),
        "/run/NetworkManager/devices".to_owned(),
    ];
    folders.extend(sysctl::DIRECTORIES.into_iter().chain(files::NETWORKD).map(str::to_owned));
    let drop_ins = list(root, Path::new("/etc/systemd/network")).into_iter();
    folders.extend(drop_ins.filter(|path| path.extension().is_some_and(|end| end == "d")).map(shown_as));
    let single = [files::INTERFACES, sysctl::OLD_FILE, "/etc/rc.local"].map(PathBuf::from);
    for path in folders.iter().flat_map(|folder| list(root, Path::new(folder))).chain(single) {
        if let Some(text) = read(&under(root, &path)) {
            facts.files.insert(path, text);
        }
    }
    Ok(facts)
}

fn shown_as(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The paths in a directory, as on a running system.
fn list(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(under(root, folder)).into_iter().flatten().flatten();
    entries.map(|entry| folder.join(entry.file_name())).collect()
}

fn read(path: &Path) -> Option<String> {
    let is_file = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= MOST);
    let mut bytes = Vec::new();
    Handle::open(path).ok().filter(|_| is_file)?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The interface of the IPv4 default route with the least metric (proc_net(5), /proc/net/route).
fn default_route() -> Option<String> {
    let table = fs::read_to_string("/proc/net/route").ok()?;
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        let metric: u32 = fields.get(6)?.parse().ok()?;
        is_default.then(|| Some((metric, (*fields.first()?).to_owned())))?
    });
    routes.min().map(|(_, name)| name)
}

/// What runs, by the names of processes.
fn running(root: &Path) -> Running {
    let mut running = Running { systemd: under(root, Path::new("/run/systemd/system")).is_dir(), ..Running::default() };
    for process in fs::read_dir(under(root, Path::new("/proc"))).into_iter().flatten().flatten() {
        // Kept to 15 bytes by the kernel.
        match fs::read_to_string(process.path().join("comm")).unwrap_or_default().trim_end() {
            "systemd-network" => running.networkd = true,
            "NetworkManager" => running.network_manager = Some(None),
            _ => {}
        }
    }
    if running.network_manager.is_some() {
        running.network_manager = Some(version("NetworkManager"));
    }
    running
}

/// The first two numbers that a program says its version is.
fn version(program: &str) -> Option<(u32, u32)> {
    let said = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut numbers = said.trim().split(['.', '-']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// What was changed before.
///
/// # Errors
/// It can't be read, or not understood.
pub fn record(root: &Path) -> Result<Option<Record>> {
    let path = under(root, Path::new(RECORD));
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| {
            format!("{} isn't what `lb real-server apply` has written; move it away", path.display())
        })?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} can't be read", path.display())),
    }
}

/// Carries a plan out. What is remembered is written first, so that a plan that was cut short can be undone.
///
/// # Errors
/// A step can't be done; the ones before it are.
pub fn carry_out(root: &Path, plan: &Plan) -> Result<()> {
    let path = under(root, Path::new(RECORD));
    if let Some(record) = &plan.record {
        file::replace(&path, record).with_context(|| format!("{} can't be written", path.display()))?;
    }
    for step in &plan.steps {
        step_by(root, step).with_context(|| step.to_string().lines().next().unwrap_or_default().trim().to_owned())?;
    }
    if plan.record.is_none() {
        gone(fs::remove_file(&path)).with_context(|| format!("{} can't be removed", path.display()))?;
    }
    Ok(())
}

fn step_by(root: &Path, step: &Step) -> Result<()> {
    match step {
        Step::Write(file) => write(root, file)?,
        Step::Remove(path) => gone(fs::remove_file(under(root, path)))?,
        Step::Cut(path, text) => replace(&under(root, path), text, None)?,
        Step::Sysctl { key, value, .. } => fs::write(Path::new("/proc/sys").join(key), value.to_string())?,
        Step::Add(vip) => Addresses::open()?.add(if_nametoindex("lo")?, (*vip).into()).map(drop)?,
        Step::Take(vip) => Addresses::open()?.remove(if_nametoindex("lo")?, (*vip).into())?,
    }
    Ok(())
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn write(root: &Path, File { path, content }: &File) -> Result<()> {
    let path = under(root, path);
    fs::create_dir_all(path.parent().unwrap_or(root))?;
    match content {
        Content::Text { text, private } => replace(&path, text, Some(if *private { 0o600 } else { 0o644 }))?,
        Content::Link(target) => match symlink(target, &path) {
            // One to a file that isn't there yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read_link(&path).ok().as_ref() != Some(target) {
                    bail!("something else is there");
                }
            }
            result => result?,
        },
        Content::Lines(lines) => {
            let text = read(&path).unwrap_or_default();
            replace(&path, &files::with_lines(&text, lines), None)?;
        }
    }
    Ok(())
}

/// Replaces a file as a whole; without a mode it keeps its own.
fn replace(path: &Path, text: &str, mode: Option<u32>) -> io::Result<()> {
    let held = fs::metadata(path).ok();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lb-new");
    let beside = PathBuf::from(beside);
    gone(fs::remove_file(&beside))?;
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(mode.unwrap_or(0o644)).open(&beside);
    let done = made.and_then(|mut file| {
        if let (None, Some(held)) = (mode, held) {
            file.set_permissions(held.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if done.is_err() {
        let _ = fs::remove_file(&beside);
    }
    done
}
