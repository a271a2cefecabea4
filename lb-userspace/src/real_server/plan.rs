//! What would be changed on a real, in the order in which it is done.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::files::{self, Content, File};
use super::record::{Sysctl, Vip};
use super::{Facts, Keeper, Record, keeper, shown, sysctl};

/// Why nothing can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The interface that clients are heard by isn't known, or not there.
    #[error("{0}.\nName the interface that the director's frames come in by: --interface NAME")]
    Interface(String),
    /// An address that no VIP can be.
    #[error("{0} can't be a VIP: {1}")]
    Vip(IpAddr, &'static str),
    /// A file of somebody else's is where ours would be.
    #[error("{} is there, and `lb real-server` hasn't written it.\nMove it away, or name another --keeper", .0.display())]
    Foreign(PathBuf),
    /// It is to be taken away and was never given.
    #[error("{0} isn't of `lb real-server apply`, which has given this host {1}.\nIt is left alone")]
    NotGiven(IpAddr, String),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A file gets this content, or is made.
    Write(File),
    /// A file of ours goes.
    Remove(PathBuf),
    /// Our lines go out of a file.
    Cut(PathBuf, String),
    /// A setting of the kernel.
    Sysctl {
        /// Its path below /proc/sys.
        key: String,
        /// What it is; `None` where that can't be read.
        was: Option<u32>,
        /// What it is to be.
        value: u32,
    },
    /// `lo` gets an address.
    Add(IpAddr),
    /// `lo` loses one.
    Take(IpAddr),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indented = |f: &mut fmt::Formatter<'_>, text: &str| {
            text.lines().try_for_each(|line| if line.is_empty() { writeln!(f) } else { writeln!(f, "      {line}") })
        };
        match self {
            Self::Write(File { path, content: Content::Text { text, .. } }) => {
                writeln!(f, "  write {}", path.display())?;
                indented(f, text)
            }
            Self::Write(File { path, content: Content::Link(target) }) => {
                writeln!(f, "  link {} to {}", path.display(), target.display())
            }
            Self::Write(File { path, content: Content::Lines(lines) }) => {
                writeln!(f, "  add to {}", path.display())?;
                indented(f, lines)
            }
            Self::Remove(path) => writeln!(f, "  remove {}", path.display()),
            Self::Cut(path, _) => writeln!(f, "  take our lines out of {}", path.display()),
            Self::Sysctl { key, was, value } => {
                let was = was.map_or_else(|| "?".to_owned(), |was| was.to_string());
                writeln!(f, "  set {} = {value} (it is {was})", shown(key))
            }
            Self::Add(vip) => writeln!(f, "  add {vip} to lo"),
            Self::Take(vip) => writeln!(f, "  take {vip} off lo"),
        }
    }
}

/// What would be changed, and what will be remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in their order.
    pub steps: Vec<Step>,
    /// What is remembered; `None` where nothing is left to undo.
    pub record: Option<Record>,
}

/// The interface that clients are heard by: the one in whose network a VIP is, else that of the default route.
///
/// # Errors
/// There is none, or the one that was `asked` for isn't there.
pub fn interface(facts: &Facts, vips: &[IpAddr], asked: Option<&str>) -> Result<String, Obstacle> {
    let wired = || facts.links.iter().filter(|link| !link.loopback && link.up);
    if let Some(name) = asked {
        let found = facts.links.iter().any(|link| link.name == name && !link.loopback);
        return found.then(|| name.to_owned()).ok_or_else(|| Obstacle::Interface(format!("there is no {name}")));
    }
    let of = |vip: &IpAddr| {
        // An address of its own, such as a VIP that stands there, tells nothing of the network.
        wired().find(|link| link.addresses.iter().any(|net| net.addr() != *vip && net.contains(vip)))
    };
    let near = vips.iter().find_map(of).map(|link| link.name.clone());
    near.or_else(|| facts.default_route.clone())
        .ok_or_else(|| Obstacle::Interface("no interface is in a VIP's network, and there is no default route".into()))
}

/// What `apply` would do. Without anything to do it has no steps.
///
/// # Errors
/// An [`Obstacle`].
pub fn apply(
    facts: &Facts,
    record: Option<&Record>,
    vips: &[IpAddr],
    asked: Option<&str>,
    keeper: Option<Keeper>,
) -> Result<Plan, Obstacle> {
    vips.iter().try_for_each(usable)?;
    let mut all: Vec<Vip> = record.map(|record| record.vips.clone()).unwrap_or_default();
    for address in vips {
        let is_there = facts.holders(*address).any(|(link, _)| link.loopback);
        if all.iter().all(|vip| vip.address != *address) {
            all.push(Vip { address: *address, added: !is_there });
        }
    }
    all.sort_by_key(|vip| vip.address);
    let addresses: Vec<IpAddr> = all.iter().map(|vip| vip.address).collect();
    let interface = interface(facts, vips, asked.or(record.map(|record| record.interface.as_str())))?;
    let keeper = keeper.or(record.map(|record| record.keeper)).unwrap_or_else(|| keeper::of(facts, &interface));

    let mut wanted = sysctl::wanted(facts, &interface, &addresses);
    let mut sysctls = record.map(|record| record.sysctls.clone()).unwrap_or_default();
    // What was set is no longer wrong: only the record knows why it was.
    for set in &sysctls {
        wanted.entry(set.key.clone()).or_insert(set.now);
    }
    let mut files = vec![files::sysctl(&wanted)];
    if wanted.is_empty() {
        files.clear();
    }
    files.extend(files::addresses(keeper, facts, &addresses));
    let mut steps = leftovers(record, &files, facts);
    for file in &files {
        steps.extend(write(facts, file)?);
    }
    for (key, value) in wanted {
        let was = facts.sysctl(&key);
        if was != Some(value) {
            if let Some(was) = was.filter(|_| sysctls.iter().all(|set| set.key != key)) {
                sysctls.push(Sysctl { key: key.clone(), was, now: value });
            }
            steps.push(Step::Sysctl { key, was, value });
        }
    }
    let missing = |vip: &&IpAddr| !facts.holders(**vip).any(|(link, _)| link.loopback);
    steps.extend(addresses.iter().filter(missing).copied().map(Step::Add));
    let lines_in = files.iter().find(|file| matches!(file.content, Content::Lines(_))).map(|file| file.path.clone());
    let made = files.iter().filter(|file| !matches!(file.content, Content::Lines(_)));
    let files = made.map(|file| file.path.clone()).collect();
    Ok(Plan { steps, record: Some(Record { vips: all, interface, keeper, sysctls, files, lines_in }) })
}

/// What `remove` would do: of these VIPs, or of all where none is named.
///
/// # Errors
/// An [`Obstacle`].
pub fn remove(facts: &Facts, record: Option<&Record>, vips: &[IpAddr]) -> Result<Plan, Obstacle> {
    let Some(record) = record else {
        return match vips.first() {
            Some(vip) => Err(Obstacle::NotGiven(*vip, "nothing".to_owned())),
            None => Ok(Plan { steps: Vec::new(), record: None }),
        };
    };
    let given = record.addresses();
    if let Some(vip) = vips.iter().find(|vip| !given.contains(vip)) {
        let given = given.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Obstacle::NotGiven(*vip, given));
    }
    let (gone, left): (Vec<Vip>, Vec<Vip>) =
        record.vips.iter().copied().partition(|vip| vips.is_empty() || vips.contains(&vip.address));
    let is_there = |vip: &&Vip| vip.added && facts.holders(vip.address).any(|(link, _)| link.loopback);
    // First the addresses: with the settings gone it would answer for those that are still there.
    let mut steps: Vec<Step> = gone.iter().filter(is_there).map(|vip| Step::Take(vip.address)).collect();
    if !left.is_empty() {
        let rest = Record { vips: left, ..record.clone() };
        let plan = apply(facts, Some(&rest), &[], None, None)?;
        steps.extend(plan.steps);
        return Ok(Plan { steps, record: plan.record });
    }
    for Sysctl { key, was, now } in &record.sysctls {
        // What somebody has set since is his.
        if facts.sysctl(key) == Some(*now) {
            steps.push(Step::Sysctl { key: key.clone(), was: Some(*now), value: *was });
        }
    }
    steps.extend(leftovers(Some(record), &[], facts));
    Ok(Plan { steps, record: None })
}

/// The removal of what the record has and is no longer to be.
fn leftovers(record: Option<&Record>, files: &[File], facts: &Facts) -> Vec<Step> {
    let stays = |path: &PathBuf| files.iter().any(|file| file.path == *path);
    let Some(record) = record else { return Vec::new() };
    let gone = record.files.iter().filter(|path| !stays(path));
    let ours = gone.filter(|path| facts.files.get(*path).is_some_and(|text| files::is_ours(text)));
    let mut steps: Vec<Step> = ours.cloned().map(Step::Remove).collect();
    if let Some(path) = record.lines_in.as_ref().filter(|path| !stays(path))
        && let Some(text) = facts.files.get(path)
    {
        let without = files::without_lines(text);
        steps.extend((without != *text).then(|| Step::Cut(path.clone(), without)));
    }
    steps
}

/// The writing of a file, unless it is as it should be.
fn write(facts: &Facts, file: &File) -> Result<Option<Step>, Obstacle> {
    let held = facts.files.get(&file.path);
    let (is_right, is_ours) = match (&file.content, held) {
        (Content::Text { text, .. }, Some(held)) => (held == text, files::is_ours(held)),
        // A link's text is that of the file that it names.
        (Content::Link(_), Some(held)) => (files::is_ours(held), files::is_ours(held)),
        (Content::Lines(lines), held) => {
            let held = held.map(String::as_str).unwrap_or_default();
            (files::with_lines(held, lines) == held, true)
        }
        (_, None) => (false, true),
    };
    match (is_right, is_ours) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(Step::Write(file.clone()))),
        (false, false) => Err(Obstacle::Foreign(file.path.clone())),
    }
}

fn usable(vip: &IpAddr) -> Result<(), Obstacle> {
    let why = match vip {
        _ if vip.is_unspecified() => "it names no host",
        _ if vip.is_loopback() => "it never leaves a host",
        _ if vip.is_multicast() => "it is a group's",
        IpAddr::V4(vip) if vip.is_broadcast() => "it is everybody's",
        IpAddr::V6(vip) if vip.is_unicast_link_local() => "it is an interface's own",
        _ => return Ok(()),
    };
    Err(Obstacle::Vip(*vip, why))
}

/// What a plan sets.
#[cfg(test)]
pub(super) fn settings(plan: &Plan) -> std::collections::BTreeMap<String, u32> {
    let all = plan.steps.iter().filter_map(|step| match step {
        Step::Sysctl { key, value, .. } => Some((key.clone(), *value)),
        _ => None,
    });
    all.collect()
}
