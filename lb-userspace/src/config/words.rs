//! A configuration in words: what a director with it would do. The services have ipvsadm's shape.

use std::fmt::Write;

use super::report::text::{WIDTH, clip};
use super::section::{Config, pool, service};

/// What one pinned map takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapMemory {
    /// Its name, as below /sys/fs/bpf/lb.
    pub name: String,
    /// Entries that it is made for.
    pub entries: u64,
    /// Bytes of kernel memory.
    pub bytes: u64,
}

/// Says what `config` asks for, in 80 columns, with the memory of its maps (left out when `memory` is empty).
#[must_use]
pub fn describe(config: &Config, memory: &[MapMemory]) -> String {
    let reals = config.owners().map(|service| service.reals.len()).sum();
    let mut out = format!(
        "{}: good, with {}, {} and {}\n",
        config.path.display(),
        count(config.vrrp.len(), "virtual router"),
        count(config.services.len(), "service"),
        count(reals, "real"),
    );
    config.director.describe(&mut out);
    if let Some(peers) = &config.peers {
        peers.describe(&mut out);
    }
    if let Some(metrics) = &config.metrics {
        metrics.describe(&mut out);
    }
    if !config.vrrp.is_empty() {
        out.push_str("\nVirtual routers\n");
        for vrrp in &config.vrrp {
            vrrp.describe(&mut out);
        }
        config.sync_groups.iter().for_each(|group| group.describe(&mut out));
    }
    if !config.pools.is_empty() {
        pool::describe(&mut out, &config.pools, &config.services);
    }
    if !config.services.is_empty() {
        service::describe(&mut out, &config.services);
    }
    if !memory.is_empty() {
        maps(&mut out, memory);
    }
    out
}

fn maps(out: &mut String, memory: &[MapMemory]) {
    let widest = memory.iter().map(|map| map.name.chars().count()).max().unwrap_or(0);
    let widest = widest.clamp("Map".len(), WIDTH / 2);
    let _ = writeln!(out, "\nMaps\n  {:widest$}  {:>12}  {:>12}", "Map", "Entries", "Memory");
    for map in memory {
        let _ = writeln!(out, "  {:widest$}  {:>12}  {:>12}", clip(&map.name, widest), map.entries, size(map.bytes),);
    }
    let total = memory.iter().fold(0_u64, |sum, map| sum.saturating_add(map.bytes));
    let _ = writeln!(out, "  {:widest$}  {:>12}  {:>12}", "total", "", size(total));
}

/// Bytes in the largest binary unit that they fill, with one decimal.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        let whole = bytes >> shift;
        if whole > 0 {
            let rest = bytes & ((1 << shift) - 1);
            return format!("{whole}.{} {unit}", (rest >> (shift - 10)) * 10 / 1024);
        }
    }
    format!("{bytes} B")
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn map(name: &str, entries: u64, bytes: u64) -> MapMemory {
        MapMemory { name: name.to_owned(), entries, bytes }
    }

    #[test]
    fn the_reference_lab_in_words() {
        let text = include_str!("../../../packaging/lb.toml");
        let config = parse(Path::new("/etc/lb/lb.toml"), text).unwrap().config;
        let memory = [map("services", 4096, 524_288), map("flows", 1_048_576, 67_108_864)];
        let expected = "\
/etc/lb/lb.toml: good, with 1 virtual router, 1 service and 2 reals

Director
  interfaces: eth1
  mode: auto: native XDP where the driver has it, else generic
  hash seed: 0
  when the agent dies: it forwards on, with the VIPs it has

Virtual routers
  web: VRRPv2 id 210 on eth1, priority 1, an advert every 1s, with a password
    172.28.128.210/24
    adverts by multicast
    takes over 3s 996ms after a master's last advert, at once from one of lower
      priority
    hands over: keeps the VIPs until its successor's advert, 4 intervals at most
    as master uses the interface's own MAC, announces each VIP 5 times, 5 times
      more after 5s; at most 10000 a second
    as backup forwards what is sent to its own MAC all the same

Services
Prot LocalAddress:Port Scheduler
  -> RemoteAddress:Port  Forward  Weight
TCP  172.28.128.210:80 rr
     web: ring of 65537 slots, connections tracked
     check: HTTP GET / on port 80, good are 200-299; every 2s (+ up to 10 %),
       100ms to answer, up after 1, down after 1
  -> 172.28.128.40:80    Route         1
  -> 172.28.128.50:80    Route         1

Maps
  Map            Entries        Memory
  services          4096     512.0 KiB
  flows          1048576      64.0 MiB
  total                       64.5 MiB
";
        assert_eq!(describe(&config, &memory), expected);
    }

    #[test]
    fn the_longest_values_fit_in_80_columns() {
        let name = "n".repeat(63);
        let long = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:";
        let text = format!(
            "[director]\ninterfaces = [{interfaces}]\nmode = \"generic\"\nhash_seed = {seed}\n\
             [vrrp.{name}]\ninterface = \"abcdefghijklmno\"\nid = 255\nadvertise = \"40s 950ms\"\n\
             addresses = [{addresses}]\n\
             [service.{name}]\naddress = \"[{long}1]:65535\"\nprotocol = \"tcp\"\nscheduler = \"wrr\"\n\
             check = {{ type = \"http\", method = \"OPTIONS\", path = \"/{path}\", host = \"{path}\", \
             status = [{status}] }}\n\
             fleet = {{ quorum = 4294967295, hysteresis = 4294967294, slow_start = \"23h 59m 59s\", \
             sorry = {{ address = \"{long}fe\" }} }}\nnotify = [\"/{path}\"]\n\
             reals = [{{ address = \"{long}ff\", weight = 0, mac = \"02:00:00:00:00:01\", \
             interface = \"abcdefghijklmno\", vlan = 4094 }}]\n",
            interfaces = list(20, |n| format!("\"abcdefghijklm{n:02}\"")),
            addresses = list(9, |n| format!("\"{long}{n}/128\"")),
            status = list(40, |n| format!("{}", 200 + n)),
            path = "p".repeat(200),
            seed = u64::MAX,
        );
        let config = parse(Path::new("f"), &text).unwrap().config;
        let memory = [map(&"m".repeat(60), u64::MAX, u64::MAX), map("x", 1, 1)];
        let out = describe(&config, &memory);
        for line in out.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        for part in ["(quiesced)", "by abcdefghijklmno, VLAN 4094, MAC 02:00:00:00:00:01"] {
            assert!(out.contains(part), "{part} is missing:\n{out}");
        }
    }

    fn list(count: usize, item: impl Fn(usize) -> String) -> String {
        (0..count).map(item).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn sizes_have_one_decimal() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (67 << 20, "67.0 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
    }
}
