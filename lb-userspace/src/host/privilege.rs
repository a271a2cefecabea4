//! What this process may do. A verb that couldn't do its work says so, and never that there is nothing to do.

use std::fs;

/// A capability, by its bit in `/proc/self/status` (include/uapi/linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Processes of other users may be sent signals.
    Kill = 5,
    /// Programs may be run with other groups.
    SetGid = 6,
    /// Programs may be run as other users.
    SetUid = 7,
    /// Addresses, links and routes may be changed, and XDP programs attached.
    NetAdmin = 12,
    /// Includes `CAP_BPF`.
    SysAdmin = 21,
    /// Maps and programs may be made and opened.
    Bpf = 39,
}

impl Capability {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "CAP_KILL",
            Self::SetGid => "CAP_SETGID",
            Self::SetUid => "CAP_SETUID",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// This process lacks a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not permitted: {work} needs {capability}.\nRun it as root.")]
pub struct Missing {
    /// What was to be done.
    work: &'static str,
    capability: &'static str,
}

/// Checks that this process has a capability, before `work` is begun.
///
/// # Errors
/// [`Missing`].
pub fn require(capability: Capability, work: &'static str) -> Result<(), Missing> {
    if has(capability) { Ok(()) } else { Err(Missing { work, capability: capability.name() }) }
}

/// Whether this process has a capability.
#[must_use]
pub fn has(capability: Capability) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Without /proc the kernel's own refusal has to do.
    may(effective(&status).unwrap_or(u64::MAX), capability)
}

fn may(effective: u64, capability: Capability) -> bool {
    let has = |capability: Capability| effective & (1 << capability as u8) != 0;
    has(capability) || capability == Capability::Bpf && has(Capability::SysAdmin)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_kernels_line() {
        let status = |bits: &str| effective(&format!("Name:\tlb\nCapPrm:\t0\nCapEff:\t{bits}\nCapBnd:\t0\n"));
        assert_eq!(status("000001ffffffffff"), Some(0x1ff_ffff_ffff));
        assert_eq!(status(""), None);
        assert_eq!(effective("Name:\tlb\n"), None);
        let rows = [
            (0x1ff_ffff_ffff, [true, true]),
            (0, [false, false]),
            (1 << 12, [true, false]),
            (1 << 39, [false, true]),
            (1 << 21, [false, true]),
        ];
        assert_eq!([5, 6, 7].map(|bit| may(1 << bit, Capability::SetGid)), [false, true, false]);
        for (effective, expected) in rows {
            assert_eq!([Capability::NetAdmin, Capability::Bpf].map(|one| may(effective, one)), expected);
        }
    }
}
