//! The switch: bridges, cables, and the programs on its ports.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use super::address::Segment;
use super::bpf::{self, Hook};
use super::host::{Host, Nic};
use super::port::Port;
use super::process::ip_batch;
use super::sys::{self, Insn};
use super::wait::{DEADLINE, wait_until};

/// One cable: a host's interface at one end, the switch's port at the other.
#[derive(Debug, Clone)]
pub(crate) struct Plug {
    pub(crate) host: String,
    pub(crate) director: bool,
    pub(crate) nic: Nic,
}

/// Makes the bridges and pulls every cable. The hosts' ends are still down.
pub(crate) fn wire(switch: &Host, plugs: &[Plug]) -> Result<()> {
    let mut lines = String::new();
    for segment in [Segment::Front, Segment::Back] {
        if plugs.iter().any(|plug| plug.nic.segment == segment) {
            let bridge = segment.bridge();
            writeln!(lines, "link add name {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
            writeln!(lines, "link set {bridge} up")?;
        }
    }
    // All namespaces of a lab have names of one form.
    let lab = switch.namespace().trim_end_matches(switch.name());
    for plug in plugs {
        let Nic { device, port, mac, .. } = &plug.nic;
        let (host, bridge) = (&plug.host, plug.nic.segment.bridge());
        writeln!(lines, "link add name {port} type veth peer name {device} address {mac} netns {lab}{host}")?;
        writeln!(lines, "link set {port} master {bridge} up")?;
    }
    ip_batch(Some(switch.namespace()), &lines)
}

/// Attaches the ports' programs, and waits until every port forwards.
pub(crate) fn finish(switch: &Host, plugs: &[Plug], ports: &BTreeMap<String, Port>) -> Result<()> {
    switch.within(|| {
        for plug in plugs {
            let port = plug.nic.port.as_str();
            sys::offloads_off(port).with_context(|| format!("offloads of the port {port}"))?;
            if plug.director {
                program(port, Hook::Xdp, &bpf::pass())?;
            }
            if !ports.is_empty() && plug.nic.segment == Segment::Front {
                let default = Port::access(1);
                let vlans = ports.get(&plug.host).unwrap_or(&default);
                program(port, Hook::Ingress, &bpf::vlan_ingress(vlans))?;
                program(port, Hook::Egress, &bpf::vlan_egress(vlans))?;
            }
        }
        plugs.iter().try_for_each(|plug| {
            let port = plug.nic.port.as_str();
            wait_until(DEADLINE, &format!("the port {port} to forward"), || forwards(port)).map(|_| ())
        })
    })?
}

/// Prepares a director's port whose cable was made anew, as [`finish`] did it first.
pub(crate) fn finish_again(switch: &Host, port: &str) -> Result<()> {
    switch.within(|| {
        sys::offloads_off(port).with_context(|| format!("offloads of the port {port}"))?;
        // The old port's, which is gone.
        let _ = fs::remove_file(format!("/sys/fs/bpf/{port}_xdp"));
        program(port, Hook::Xdp, &bpf::pass())
    })?
}

/// Runs a program on a port. Its link is pinned in the switch's own bpffs: it stays for as long as the switch does,
/// whatever becomes of this process.
fn program(port: &str, hook: Hook, insns: &[Insn]) -> Result<()> {
    let (name, suffix) = match hook {
        Hook::Xdp => ("lab_pass", "xdp"),
        Hook::Ingress => ("lab_vlan_in", "in"),
        Hook::Egress => ("lab_vlan_out", "out"),
    };
    let index = if_nametoindex(port).with_context(|| format!("no port {port}"))?;
    let link =
        bpf::attach(name, insns, hook, index).with_context(|| format!("cannot attach {name} to the port {port}"))?;
    sys::obj_pin(link.as_fd(), &format!("/sys/fs/bpf/{port}_{suffix}"))
        .with_context(|| format!("cannot pin {name} of the port {port}"))
}

fn forwards(port: &str) -> bool {
    const FORWARDING: &str = "3";
    fs::read_to_string(format!("/sys/class/net/{port}/brport/state")).is_ok_and(|state| state.trim() == FORWARDING)
}
