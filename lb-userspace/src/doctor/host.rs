//! The machine: its kernel, memory, limits and clock.

use super::{Facts, Found, Kernel};
use crate::config::Config;

pub(super) fn find_kernel(found: &mut Found, kernel: &Kernel) {
    if let Some(lacks) = &kernel.lacks {
        found.bad("kernel", lacks, "the program isn't taken by it", "run a later kernel (docs/kernels.md)");
    }
    if !kernel.bpffs {
        found.bad(
            "kernel",
            "no BPF filesystem is mounted at /sys/fs/bpf",
            "what forwards while no agent runs is kept there",
            "`mount -t bpf bpf /sys/fs/bpf`; systemd does so at boot",
        );
    }
    if !kernel.jit {
        found.bad(
            "kernel",
            "programs aren't compiled (net.core.bpf_jit_enable = 0)",
            "each packet costs many times as much",
            "`sysctl -w net.core.bpf_jit_enable=1`, and in /etc/sysctl.d",
        );
    }
}

pub(super) fn find(found: &mut Found, facts: &Facts, config: &Config) {
    let host = &facts.host;
    if host.synchronised == Some(false) {
        found.note(
            "host",
            "its clock isn't kept in step with others",
            "events and logs of two directors don't go together, and certificates are judged by it",
            "`timedatectl set-ntp true`, or run chrony",
        );
    }
    let reals = super::reals(config);
    let targets = reals.len() as u64;
    // As many checks may be at once as half of the descriptors.
    if host.descriptors / 2 < targets {
        found.note(
            "host",
            format!("a process may open {} files here, and there are {targets} reals to check", host.descriptors),
            "no more checks than half of that run at once; the others wait",
            "raise LimitNOFILE in the unit, or `ulimit -n` where the agent is started by hand",
        );
    }
    if let Some(available) = host.available.filter(|available| !host.runs && *available < host.maps) {
        let mib = |bytes: u64| bytes / (1 << 20);
        found.bad(
            "host",
            format!("the maps take {} MiB, and {} MiB can be had", mib(host.maps), mib(available)),
            "the kernel refuses them, or ends other processes",
            "lower limits.flows or limits.slots (`lb check` has what each takes), or add memory",
        );
    }
    for (family, is_v4) in [("ipv4", true), ("ipv6", false)] {
        let count = reals.iter().filter(|real| real.is_ipv4() == is_v4).count() as u64;
        let key = format!("net/{family}/neigh/default/gc_thresh3");
        if let Some(room) = host.sysctls.get(&key).filter(|room| count >= u64::from(**room)) {
            found.bad(
                "host",
                format!("the kernel's neighbour table has room for {room}, and {count} reals are to be in it"),
                "their MAC addresses are looked up there: some are lost again and again",
                format!("`sysctl -w net.{family}.neigh.default.gc_thresh3={}`, and in /etc/sysctl.d", count * 4),
            );
        }
    }
}
