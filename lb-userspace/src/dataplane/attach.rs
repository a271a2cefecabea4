//! The program on its interfaces.

use std::fs;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, XdpMode as AyaMode};
use tracing::warn;

use crate::config::Mode;

use super::load::{innermost, permission};
use super::{Dataplane, Error};

/// How the program runs on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// After the kernel has built its socket buffer.
    Generic,
}

/// What attaching did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The link was pinned by an earlier agent; its program was replaced without a lost packet, its mode kept.
    Adopted,
    /// It is new, in this mode.
    New(XdpMode),
}

impl Dataplane {
    /// Attaches the program to an interface and pins the link, or replaces the program of the pinned link.
    ///
    /// # Errors
    /// The interface can't run it, or another program is there.
    pub fn attach(&mut self, interface: &str, ifindex: u32, mode: Mode) -> Result<Attached, Error> {
        if self.awaits_succession(ifindex) || self.adopt(ifindex)? {
            return Ok(Attached::Adopted);
        }
        match mode {
            Mode::Native => self.attach_new(interface, ifindex, XdpMode::Native),
            Mode::Generic => self.attach_new(interface, ifindex, XdpMode::Generic),
            Mode::Auto => self.attach_new(interface, ifindex, XdpMode::Native).or_else(|native| {
                if matches!(native, Error::Privilege { .. } | Error::Pin { .. }) {
                    return Err(native);
                }
                let attached = self.attach_new(interface, ifindex, XdpMode::Generic)?;
                warn!(
                    "{interface}: GENERIC XDP, several times slower than native, because the driver refused \
                     ({native}). Set director.mode = \"native\" to refuse this instead"
                );
                Ok(attached)
            }),
        }
    }

    /// Replaces the program of a pinned link. A link whose interface went away is removed.
    pub(super) fn adopt(&mut self, ifindex: u32) -> Result<bool, Error> {
        let path = self.pins.link(ifindex);
        if !path.exists() {
            return Ok(false);
        }
        let replaced = PinnedLink::from_pin(&path)
            .and_then(|pinned| XdpLink::try_from(FdLink::from(pinned)))
            .map_err(|error| innermost(&error))
            .and_then(|link| {
                self.program()
                    .map_err(|error| error.to_string())?
                    .attach_to_link(link)
                    .map_err(|error| innermost(&error))
            });
        match replaced {
            Ok(_) => Ok(true),
            Err(error) => {
                warn!("{}: a link that can't be taken over ({error}); attaching anew", path.display());
                fs::remove_file(&path).map_err(|error| Error::pin(path, error))?;
                Ok(false)
            }
        }
    }

    fn attach_new(&mut self, interface: &str, ifindex: u32, mode: XdpMode) -> Result<Attached, Error> {
        let path = self.pins.link(ifindex);
        let (flag, name) = match mode {
            XdpMode::Native => (AyaMode::Driver, "native"),
            XdpMode::Generic => (AyaMode::Skb, "generic"),
        };
        let program = self.program()?;
        let link = program
            .attach_to_if_index(ifindex, flag)
            .and_then(|id| program.take_link(id))
            .map_err(|error| attach_error(interface, name, &error))?;
        // aya attaches through netlink where the kernel refuses a link, and such an attachment can't be pinned.
        let link = FdLink::try_from(link).map_err(|_| Error::Attach {
            interface: interface.to_owned(),
            mode: name,
            error: "the kernel gives no link for it (BPF links for XDP came with Linux 5.9)".to_owned(),
            mend: "The driver may lack XDP; try director.mode = \"generic\".",
        })?;
        link.pin(&path).map_err(|error| match permission(&error) {
            Some(error) => Error::Privilege { call: "BPF_OBJ_PIN", error },
            None => Error::map(path.display().to_string(), innermost(&error)),
        })?;
        Ok(Attached::New(mode))
    }

    /// Takes the program off an interface.
    ///
    /// # Errors
    /// The pin can't be removed.
    pub fn detach_interface(&mut self, ifindex: u32) -> Result<(), Error> {
        let path = self.pins.link(ifindex);
        fs::remove_file(&path).map_err(|error| Error::pin(path, error))
    }
}

fn attach_error(interface: &str, mode: &'static str, error: &ProgramError) -> Error {
    if let Some(error) = permission(error) {
        return Error::Privilege { call: "BPF_LINK_CREATE", error };
    }
    let code = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    let mend = match code {
        Some(libc::EBUSY | libc::EEXIST) => "Another XDP program is there: see `bpftool net` and remove it.",
        Some(libc::EOPNOTSUPP) => "The driver has no native XDP; try director.mode = \"generic\".",
        Some(libc::ERANGE | libc::EINVAL) => {
            "The driver may limit the MTU or the number of queues for XDP; see `dmesg`."
        }
        _ => "See `dmesg` for the driver's reason.",
    };
    Error::Attach { interface: interface.to_owned(), mode, error: innermost(error), mend }
}
