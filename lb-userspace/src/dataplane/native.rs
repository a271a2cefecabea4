//! The program in an interface's driver, and why a driver won't have it.

use std::os::fd::AsFd as _;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpError, XdpLink};
use aya::programs::{ProgramError, XdpMode};
use tracing::warn;

use crate::host::xdp;

use super::attach::{Hook, pin, remove};
use super::load::{innermost, permission};
use super::{Dataplane, Error, occupant};

/// What to do besides the mend of a fault in native mode.
const ELSE: &str = "or set director.mode = \"generic\", which runs behind the kernel's socket buffers";

impl Dataplane {
    /// Replaces the program of a pinned link; whether there was one. A link whose interface went away is removed.
    pub(super) fn adopt_native(&mut self, ifindex: u32) -> Result<bool, Error> {
        let path = self.pins.link(ifindex);
        if !path.exists() {
            return Ok(false);
        }
        let replaced = PinnedLink::from_pin(&path)
            .and_then(|pinned| XdpLink::try_from(FdLink::from(pinned)))
            .map_err(|error| innermost(&error))
            .and_then(|link| {
                let program = self.program().map_err(|error| error.to_string())?;
                // Closed again: the pin holds it, and goes when it shall.
                let adopted = program.attach_to_link(link).and_then(|id| program.take_link(id));
                adopted.map(drop).map_err(|error| innermost(&error))
            });
        match replaced {
            Ok(_) => Ok(true),
            Err(error) => {
                warn!("{}: a link that can't be taken over ({error}); attaching anew", path.display());
                remove(&path)?;
                Ok(false)
            }
        }
    }

    /// Attaches the program to the driver, and pins the link.
    pub(super) fn attach_native(&mut self, interface: &str, ifindex: u32) -> Result<Hook, Error> {
        let path = self.pins.link(ifindex);
        let program = self.program()?;
        let attached = program.attach_to_if_index(ifindex, XdpMode::Driver).and_then(|id| program.take_link(id));
        let link = match attached {
            Ok(link) => link,
            Err(error) => return Err(self.refused(interface, ifindex, &error)),
        };
        // Where the kernel refuses a link, aya attaches without one, which goes again with `link`: it can't be pinned.
        let link = FdLink::try_from(link).map_err(|_| Error::Attach {
            interface: interface.to_owned(),
            hook: Hook::Native,
            error: "the kernel gives no link for it".to_owned(),
            mend: format!("See `dmesg` for the driver's reason, {ELSE}."),
        })?;
        pin(link, &path)?;
        Ok(Hook::Native)
    }

    fn refused(&mut self, interface: &str, ifindex: u32, error: &ProgramError) -> Error {
        if let Some(error) = permission(error) {
            return Error::Privilege { call: "BPF_LINK_CREATE", error };
        }
        let code = code(error);
        let fault =
            |error: String, mend| Error::Attach { interface: interface.to_owned(), hook: Hook::Native, error, mend };
        if matches!(code, Some(libc::EBUSY | libc::EEXIST)) {
            let (what, mend) = occupant::describe(interface, ifindex);
            return fault(what, mend);
        }
        let fd = self.program().ok().and_then(|program| program.fd().ok()?.as_fd().try_clone_to_owned().ok());
        let objection = fd.and_then(|fd| xdp::objection(ifindex, fd.as_fd()));
        let told = objection.as_ref().map_or_else(|| innermost(error), ToString::to_string);
        if code == Some(libc::EOPNOTSUPP) && xdp::is_native(ifindex) != Some(true) {
            return Error::NoNative { interface: interface.to_owned(), error: told };
        }
        let words = objection.and_then(|refusal| refusal.words).unwrap_or_default();
        fault(told, mend(interface, code, &words))
    }
}

fn code(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    }
}

/// What helps, by the driver's words and its error.
fn mend(interface: &str, code: Option<i32>, words: &str) -> String {
    let words = words.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let mend = if says(&["lro", "large receive"]) {
        format!("Switch it off with `ethtool -K {interface} lro off`")
    } else if says(&["gro_hw", "gro-hw"]) {
        format!("Switch it off with `ethtool -K {interface} rx-gro-hw off`")
    } else if says(&["mtu", "frame size", "jumbo"]) {
        format!("Lower the MTU (`ip link set dev {interface} mtu …`; 3498 is the most for most drivers)")
    } else if says(&["queue", "ring", "channel"]) {
        format!("Use fewer channels (`ethtool -L {interface} combined …`: XDP takes queues of its own)")
    } else if code == Some(libc::ERANGE) {
        format!("It is mostly the MTU: lower it (`ip link set dev {interface} mtu …`)")
    } else {
        "See `dmesg` for the driver's reason".to_owned()
    };
    format!("{mend}, {ELSE}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drivers_words_lead_to_their_mend() {
        let cases = [
            (libc::EINVAL, "can't set XDP with LRO enabled", "ethtool -K eth1 lro off"),
            (libc::EOPNOTSUPP, "Can't set XDP while host is implementing GRO_HW/CSUM", "rx-gro-hw off"),
            (libc::EINVAL, "MTU too large for XDP without frags", "ip link set dev eth1 mtu"),
            (libc::ENOMEM, "Too few free TX rings available", "ethtool -L eth1 combined"),
            (libc::ERANGE, "", "ip link set dev eth1 mtu"),
            (libc::EIO, "", "dmesg"),
        ];
        for (code, words, expected) in cases {
            let mend = mend("eth1", Some(code), words);
            assert!(mend.contains(expected) && mend.contains("director.mode = \"generic\""), "{words}: {mend}");
        }
    }
}
