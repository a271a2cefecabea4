//! Looks at this machine, and asks its segment.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts::{Facts, Heard, Host, Kernel, Nic, Stranger};
use crate::agent;
use crate::config::{self, Config};
use crate::dataplane::{Features, Pins, map_rows, occupant};
use crate::host::links::{self, Link};
use crate::host::{clock, offload, stack, xdp};
use crate::segment::{self, Vips};
use crate::vrrp::Advert;
use crate::vrrp::thread::socket::{Receiver, interfaces};

/// Addresses that are asked for at most.
const MOST: usize = 512;
/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_millis(600);
/// How long adverts are listened for: one comes each second, if not more often.
const LISTEN: Duration = Duration::from_millis(2300);
/// Between two looks at the sockets that hear adverts.
const LOOK: Duration = Duration::from_millis(50);

/// All that can be known without an agent's word; `runs` says that one answers, which hears adverts itself.
///
/// # Errors
/// The kernel can't be asked for its interfaces.
pub async fn facts(path: &Path, runs: bool) -> Result<Facts, links::Error> {
    let links = links::snapshot().await?;
    let file = read(path, &links);
    let names: Vec<String> = file.iter().flat_map(|config| config.director.interfaces.clone()).collect();
    let mut nics = BTreeMap::new();
    for link in names.iter().filter_map(|name| links::named(&links, name)) {
        let slaves = stack::slaves(&links, link.index);
        let slaves = links.iter().filter(|slave| slaves.contains(&slave.index));
        nics.extend(slaves.chain([link]).map(|link| (link.name.clone(), nic(link))));
    }
    let heard = match &file {
        Ok(config) => heard(config, &links, runs).await,
        Err(_) => Heard::default(),
    };
    let host = host(file.as_deref().ok(), &links);
    Ok(Facts { file, links, nics, kernel: kernel(), host, heard })
}

/// The file, held against this machine: a fault is told in its first lines.
fn read(path: &Path, links: &[Link]) -> Result<Arc<Config>, String> {
    let brief = |error: &config::Error| {
        let text = error.render(false);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).take(2).collect::<Vec<_>>().join(": ")
    };
    let loaded = config::read(path).map_err(|error| brief(&error))?;
    config::machine::check(&loaded, &agent::segments(links), |_| true).map_err(|error| brief(&error))?;
    Ok(Arc::new(loaded.config))
}

fn nic(link: &Link) -> Nic {
    let others = Pins::default().others();
    let pins = [Pins::default()].into_iter().chain(others);
    let is_ours = pins.into_iter().any(|pins| pins.link(link.index).exists());
    let attached = xdp::attached(link.index).ok().flatten().is_some();
    let lro = offload::active(link.index, &offload::LRO).map(|(on, _)| !on.is_empty());
    let tags = offload::active(link.index, &offload::VLAN).map(|(_, fixed)| !fixed.is_empty());
    let sys = Path::new("/sys/class/net").join(&link.name);
    let queues = fs::read_dir(sys.join("queues")).into_iter().flatten().flatten();
    let received = queues.filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-"));
    let bond = fs::read_to_string(sys.join("bonding/mode")).ok();
    Nic {
        native: xdp::is_native(link.index),
        occupant: (attached && !is_ours).then(|| occupant(&link.name, link.index)),
        lro: lro.unwrap_or(false),
        takes_tags: tags.unwrap_or(false),
        queues: received.count(),
        bond: bond.and_then(|mode| mode.split_whitespace().next().map(str::to_owned)),
    }
}

fn kernel() -> Kernel {
    let (lacks, frags) = match Features::probe() {
        Ok(features) => (None, features.frags),
        Err(error) => (Some(error.to_string().lines().next().unwrap_or_default().to_owned()), true),
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let is_bpffs = |line: &str| line.split_whitespace().skip(1).take(2).eq(["/sys/fs/bpf", "bpf"]);
    let jit = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
    // One that can't be read is always on (CONFIG_BPF_JIT_ALWAYS_ON), or another network namespace's.
    let jit = jit.map_or(true, |text| text.trim() != "0");
    Kernel { lacks, frags, bpffs: mounts.lines().any(is_bpffs), jit }
}

fn host(config: Option<&Config>, links: &[Link]) -> Host {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available = available.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let rows = config.map(|config| map_rows(agent::sizes(config))).unwrap_or_default();
    let cpus = aya::util::nr_cpus().unwrap_or(1);
    let names = links.iter().map(|link| link.name.as_str()).chain(["all"]);
    let keys = names.flat_map(|name| {
        ["ipv4/conf/NAME/arp_ignore", "ipv4/conf/NAME/log_martians", "ipv6/conf/NAME/disable_ipv6"]
            .map(|key| format!("net/{}", key.replace("NAME", name)))
    });
    let tables = ["ipv4", "ipv6"].map(|family| format!("net/{family}/neigh/default/gc_thresh3"));
    let value = |key: String| {
        let value = fs::read_to_string(Path::new("/proc/sys").join(&key)).ok()?.trim().parse().ok()?;
        Some((key, value))
    };
    Host {
        processors,
        synchronised: clock::is_synchronised(),
        descriptors: limit.map_or(u64::MAX, |(_, hard)| hard),
        available: available.map(|kib| kib * 1024),
        maps: rows.iter().map(|row| row.bytes(cpus)).sum(),
        runs: Pins::default().exist(),
        sysctls: keys.chain(tables).filter_map(value).collect(),
    }
}

async fn heard(config: &Config, links: &[Link], runs: bool) -> Heard {
    let near = |address: IpAddr| {
        let mut wired = links.iter().filter(|link| !link.loopback && link.up);
        let has = |link: &&Link| link.addresses.iter().any(|net| net.addr() != address && net.contains(&address));
        wired.find(has).map(|link| link.name.clone())
    };
    let mut asked = Vips::new();
    for router in &config.vrrp {
        for vip in &router.addresses {
            asked.insert(vip.addr(), vip.interface.clone().unwrap_or_else(|| router.interface.clone()));
        }
    }
    for real in super::reals(config) {
        if asked.len() < MOST
            && let Some(interface) = near(real)
        {
            asked.insert(real, interface);
        }
    }
    let listened = async { if runs { Vec::new() } else { listen(config).await } };
    let (answers, strangers) = tokio::join!(segment::ask(&asked, PATIENCE), listened);
    let (answers, fault) = match answers {
        Ok(answers) => (answers, None),
        // What wasn't asked for has no answer.
        Err(error) => {
            asked.clear();
            (BTreeSet::new(), Some(error.to_string()))
        }
    };
    Heard { asked, answers, strangers, fault }
}

/// Hears adverts for a while, on each interface of a virtual router. What can't be heard isn't.
async fn listen(config: &Config) -> Vec<Stranger> {
    let Ok(interfaces) = interfaces() else { return Vec::new() };
    let places: BTreeSet<(&str, bool)> = config
        .vrrp
        .iter()
        .map(|router| (router.interface.as_str(), router.addresses.iter().any(|vip| vip.addr().is_ipv6())))
        .collect();
    let open = |&(name, ipv6): &(&str, bool)| {
        let receiver = Receiver::open(name, interfaces.get(name)?, ipv6).ok()?;
        Some((name.to_owned(), receiver))
    };
    let mut receivers: Vec<(String, Receiver)> = places.iter().filter_map(open).collect();
    let own: HashSet<IpAddr> = interfaces.values().flat_map(|interface| interface.addresses.clone()).collect();
    let mut found: Vec<Stranger> = Vec::new();
    let until = Instant::now() + LISTEN;
    while Instant::now() < until && !receivers.is_empty() {
        tokio::time::sleep(LOOK).await;
        for (interface, receiver) in &mut receivers {
            while let Ok(Some(received)) = receiver.receive() {
                let (Some(router), Some(first)) = (Advert::router_of(received.payload), received.payload.first())
                else {
                    continue;
                };
                let stranger = Stranger {
                    interface: interface.clone(),
                    source: received.source,
                    version: first >> 4,
                    router,
                    addresses: Advert::parse(&received).ok().map(|advert| advert.addresses),
                };
                if !own.contains(&stranger.source) && !found.contains(&stranger) && found.len() < MOST {
                    found.push(stranger);
                }
            }
        }
    }
    found
}
