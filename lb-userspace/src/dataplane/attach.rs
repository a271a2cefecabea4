//! The program on its interfaces: in the driver where that has XDP, else behind the kernel's socket buffers.

use std::fs;
use std::path::Path;

use aya::programs::links::FdLink;
use tracing::warn;

use crate::config::Mode;
use crate::host::xdp;

use super::load::{innermost, permission};
use super::{Dataplane, Error};

/// Where the program runs on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// In the driver (XDP).
    Native,
    /// Behind the kernel's socket buffers (traffic control, ingress).
    Tc,
}

impl Hook {
    /// Where a configuration's mode puts it, if it says.
    #[must_use]
    pub fn of(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Auto => None,
            Mode::Native => Some(Self::Native),
            Mode::Generic => Some(Self::Tc),
        }
    }

    /// The word that people read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tc => "tc",
        }
    }
}

/// What attaching did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// An earlier agent attached it here; the program was replaced without a lost packet.
    Adopted(Hook),
    /// It is new, here.
    New(Hook),
}

impl Attached {
    /// Where it runs.
    #[must_use]
    pub fn hook(self) -> Hook {
        match self {
            Self::Adopted(hook) | Self::New(hook) => hook,
        }
    }
}

impl Dataplane {
    /// Attaches the program to an interface so that it outlives the agent, or replaces the one that an earlier agent
    /// attached. One that runs elsewhere than `mode` says moves: the old one goes when the new one is there.
    ///
    /// `Mode::Auto` is native, but where the driver has no XDP. Any other failure is one, and said with its mend.
    ///
    /// # Errors
    /// The interface can't run it, or another program is there.
    pub fn attach(&mut self, interface: &str, ifindex: u32, mode: Mode) -> Result<Attached, Error> {
        if let Some(hook) = self.awaits_succession(ifindex) {
            return Ok(Attached::Adopted(hook));
        }
        let held = self.adopt(interface, ifindex)?;
        if let Some(hook) = held
            && Hook::of(mode).is_none_or(|wanted| wanted == hook)
        {
            self.prepare(interface, ifindex, hook);
            return Ok(Attached::Adopted(hook));
        }
        let hook = self.attach_new(interface, ifindex, mode)?;
        if let Some(old) = held.filter(|old| *old != hook) {
            self.leave(ifindex, old)?;
        }
        self.prepare(interface, ifindex, hook);
        Ok(Attached::New(hook))
    }

    /// Takes over what an earlier agent attached; where that runs.
    pub(super) fn adopt(&mut self, interface: &str, ifindex: u32) -> Result<Option<Hook>, Error> {
        let native = self.adopt_native(ifindex)?;
        if self.adopt_tc(interface, ifindex)? {
            if native {
                // An agent was killed between attaching the one and removing the other.
                self.leave(ifindex, Hook::Native)?;
            }
            return Ok(Some(Hook::Tc));
        }
        if native && xdp::attached(ifindex).is_ok_and(|held| held.is_some_and(|held| held.generic)) {
            // Generic XDP loses merged packets: earlier versions used it.
            let hook = self.attach_tc(interface, ifindex)?;
            self.leave(ifindex, Hook::Native)?;
            return Ok(Some(hook));
        }
        Ok(native.then_some(Hook::Native))
    }

    fn attach_new(&mut self, interface: &str, ifindex: u32, mode: Mode) -> Result<Hook, Error> {
        if mode == Mode::Generic {
            return self.attach_tc(interface, ifindex);
        }
        let why = match self.attach_native(interface, ifindex) {
            Err(Error::NoNative { error, .. }) if mode == Mode::Auto => error,
            attached => return attached,
        };
        let hook = self.attach_tc(interface, ifindex)?;
        warn!(
            "{interface}: runs behind the kernel's socket buffers (tc), several times slower than native, because its \
             driver has no native XDP ({why}). Set director.mode = \"native\" to refuse this instead"
        );
        Ok(hook)
    }

    /// Takes the program off an interface, and gives back what was changed there.
    ///
    /// # Errors
    /// The pin can't be removed.
    pub fn detach_interface(&mut self, ifindex: u32) -> Result<(), Error> {
        self.pins.detach(ifindex)
    }

    fn leave(&mut self, ifindex: u32, hook: Hook) -> Result<(), Error> {
        match hook {
            Hook::Native => remove(&self.pins.link(ifindex)),
            Hook::Tc => self.pins.detach_tc(ifindex),
        }
    }
}

/// Pins a link, so that its program stays when this process ends.
pub(super) fn pin(link: FdLink, path: &Path) -> Result<(), Error> {
    link.pin(path).map(drop).map_err(|error| match permission(&error) {
        Some(error) => Error::Privilege { call: "BPF_OBJ_PIN", error },
        None => Error::map(path.display().to_string(), innermost(&error)),
    })
}

/// Removes a pin, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::pin(path, error)),
        _ => Ok(()),
    }
}
