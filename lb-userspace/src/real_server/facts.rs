//! What is known of a real server's machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::host::links::Link;

/// All that the verbs go by.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Its interfaces with their addresses.
    pub links: Vec<Link>,
    /// The interface of the IPv4 default route.
    pub default_route: Option<String>,
    /// The kernel's settings by their paths below /proc/sys, such as `net/ipv4/conf/all/arp_ignore`.
    pub sysctls: BTreeMap<String, String>,
    /// What configures networks here.
    pub running: Running,
    /// Files that configure networks, and what the daemons tell of theirs, by their paths on a running system.
    pub files: BTreeMap<PathBuf, String>,
}

/// What runs here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Running {
    /// systemd is the init.
    pub systemd: bool,
    /// systemd-networkd.
    pub networkd: bool,
    /// NetworkManager, and its version's first two numbers where they are known.
    pub network_manager: Option<Option<(u32, u32)>>,
}

impl Facts {
    /// A setting's number; `None` where the kernel has no such setting.
    pub(super) fn sysctl(&self, key: &str) -> Option<u32> {
        self.sysctls.get(key)?.trim().parse().ok()
    }

    /// What is in force on an interface: the larger one of `all` and its own (linux, ip-sysctl.rst).
    pub(super) fn larger(&self, interface: &str, name: &str) -> Option<u32> {
        let of = |scope: &str| self.sysctl(&format!("net/ipv4/conf/{scope}/{name}"));
        of("all").max(of(interface))
    }

    pub(super) fn file(&self, path: &str) -> Option<&str> {
        self.files.get(Path::new(path)).map(String::as_str)
    }

    /// The files in a directory whose names end so, in their order.
    pub(super) fn files_in<'a>(
        &'a self,
        directory: &'a str,
        ending: &'a str,
    ) -> impl Iterator<Item = (&'a Path, &'a str)> {
        let files = self.files.iter().map(|(path, text)| (path.as_path(), text.as_str()));
        files.filter(move |(path, _)| {
            path.parent() == Some(Path::new(directory)) && path.to_string_lossy().ends_with(ending)
        })
    }

    /// The interfaces that have an address, each with its prefix.
    pub(super) fn holders(&self, address: std::net::IpAddr) -> impl Iterator<Item = (&Link, IpNet)> {
        let all = self.links.iter().flat_map(|link| link.addresses.iter().map(move |net| (link, *net)));
        all.filter(move |(_, net)| net.addr() == address)
    }
}
