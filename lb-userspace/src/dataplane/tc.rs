//! The program behind an interface's socket buffers: by tcx where the kernel has it and there is room (a link that can
//! be pinned), else as a filter of a clsact queueing discipline, which stays by itself and is remembered in `changes`.

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact};
use aya::programs::{Link as _, LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use nix::net::if_::if_indextoname;
use tracing::{debug, warn};

use crate::host::netlink::{Netlink, Refusal};

use super::attach::{Hook, pin, remove};
use super::changes::{Change, Changes};
use super::load::{innermost, permission, refused_program};
use super::{Dataplane, Error, Pins};

const INGRESS: TcAttachType = TcAttachType::Ingress;
// linux/pkt_sched.h
const CLSACT: u32 = 0xffff_0000;
const CLSACT_PARENT: u32 = 0xffff_fff1;
const FILTERS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];

impl Dataplane {
    /// Replaces the program that is there; whether one was.
    pub(super) fn adopt_tc(&mut self, interface: &str, ifindex: u32) -> Result<bool, Error> {
        let path = self.pins.tc(ifindex);
        if path.exists() {
            let link = PinnedLink::from_pin(&path)
                .and_then(|pinned| SchedClassifierLink::try_from(FdLink::from(pinned)))
                .map_err(|error| innermost(&error));
            let program = self.classifier()?;
            let replaced = link.and_then(|link| {
                let adopted = program.attach_to_link(link).and_then(|id| program.take_link(id));
                adopted.map_err(|error| innermost(&error))
            });
            match replaced {
                Ok(_) => return Ok(true),
                Err(error) => {
                    warn!("{}: a link that can't be taken over ({error}); attaching anew", path.display());
                    remove(&path)?;
                }
            }
        }
        let held = Changes::open(&self.pins)?.and_then(|changes| changes.of(ifindex));
        let Some(Change { priority, handle, .. }) = held.filter(|held| held.priority != 0) else { return Ok(false) };
        let program = self.classifier()?;
        let priority = priority as u16;
        let replaced = SchedClassifierLink::attached(interface, INGRESS, priority, TcHandle::from(handle), None)
            .map_err(ProgramError::IOError)
            .and_then(|link| program.attach_to_link(link))
            .and_then(|id| program.take_link(id));
        match replaced {
            Ok(link) => {
                // It would take the filter along.
                std::mem::forget(link);
                Ok(true)
            }
            Err(error) => {
                warn!("{interface}: its filter is gone ({}); attaching anew", innermost(&error));
                Ok(false)
            }
        }
    }

    /// Attaches the program to the interface's ingress, before all others.
    pub(super) fn attach_tc(&mut self, interface: &str, ifindex: u32) -> Result<Hook, Error> {
        let path = self.pins.tc(ifindex);
        let program = self.classifier()?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let attached = program.attach_with_options(interface, INGRESS, order).and_then(|id| program.take_link(id));
        match attached.map(FdLink::try_from) {
            Ok(Ok(link)) => pin(link, &path)?,
            Ok(Err(error)) => return Err(refused(interface, innermost(&error))),
            Err(error) => {
                if let Some(error) = permission(&error) {
                    return Err(Error::Privilege { call: "BPF_LINK_CREATE", error });
                }
                debug!("{interface}: no tcx ({}); a filter it is", innermost(&error));
                self.add_filter(interface, ifindex)?;
            }
        }
        Ok(Hook::Tc)
    }

    fn add_filter(&mut self, interface: &str, ifindex: u32) -> Result<(), Error> {
        let made = match qdisc_add_clsact(interface) {
            Ok(()) => true,
            // Its own, or the ingress discipline, whose place it has.
            Err(error) if is_there(&error) => false,
            Err(error) => return Err(refused(interface, error.to_string())),
        };
        let first = NlOptions { priority: 1, handle: TcHandle::new(0, 1), classid: None };
        let program = self.classifier()?;
        let mut attach = |options| program.attach_with_options(interface, INGRESS, TcAttachOptions::Netlink(options));
        // Another may be first already.
        let attached = attach(first).or_else(|_| attach(NlOptions::default()));
        let link =
            attached.and_then(|id| program.take_link(id)).map_err(|error| refused(interface, error.to_string()))?;
        let placed = link.priority().and_then(|priority| Ok((priority, link.handle()?)));
        let (priority, handle) = placed.map_err(|error| refused(interface, error.to_string()))?;
        let mut changes = Changes::make(&self.pins)?;
        let mut change = changes.of(ifindex).unwrap_or_default();
        (change.priority, change.handle, change.discipline) = (u32::from(priority), handle.into(), u32::from(made));
        changes.put(ifindex, change)?;
        std::mem::forget(link);
        Ok(())
    }

    /// The loaded program, for test runs.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn classifier(&mut self) -> Result<&mut SchedClassifier, Error> {
        let refuse = |error: String| Error::Refused { what: "the tc program".to_owned(), error };
        let program =
            self.ebpf.program_mut(self.purpose.classifier()).ok_or_else(|| refuse("not in its object".to_owned()))?;
        let program: &mut SchedClassifier =
            program.try_into().map_err(|error: ProgramError| refuse(error.to_string()))?;
        if program.fd().is_err() {
            program.load().map_err(refused_program)?;
        }
        Ok(program)
    }
}

impl Pins {
    /// Takes the tc program off an interface, and the queueing discipline that was made for it.
    pub(super) fn detach_tc(&self, ifindex: u32) -> Result<(), Error> {
        remove(&self.tc(ifindex))?;
        let Some(mut changes) = Changes::open(self)? else { return Ok(()) };
        let Some(change) = changes.of(ifindex).filter(|change| change.priority != 0) else { return Ok(()) };
        // An interface that is gone took its filters along.
        if let Ok(name) = if_indextoname(ifindex) {
            let name = name.to_string_lossy();
            let handle = TcHandle::from(change.handle);
            let removed = SchedClassifierLink::attached(&name, INGRESS, change.priority as u16, handle, None)
                .map_err(|error| innermost(&error))
                .and_then(|link| link.detach().map_err(|error| innermost(&error)));
            if let Err(error) = removed {
                warn!("{name}: its filter was gone before: {error}");
            }
            if change.discipline != 0
                && let Err(error) = remove_discipline(ifindex)
            {
                warn!("{name}: the clsact queueing discipline can't be removed: {error}");
            }
        }
        changes.put(ifindex, Change { priority: 0, handle: 0, discipline: 0, ..change })
    }
}

/// Removes an interface's clsact, unless others have filters there by now.
fn remove_discipline(ifindex: u32) -> Result<(), Refusal> {
    let mut netlink = Netlink::route()?;
    for parent in FILTERS {
        if !netlink.dump(libc::RTM_GETTFILTER, &message(ifindex, 0, parent))?.is_empty() {
            return Ok(());
        }
    }
    netlink.ask(libc::RTM_DELQDISC, &message(ifindex, CLSACT, CLSACT_PARENT)).map(drop)
}

/// struct tcmsg.
fn message(ifindex: u32, handle: u32, parent: u32) -> Vec<u8> {
    [0, ifindex, handle, parent, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn is_there(error: &TcError) -> bool {
    match error {
        TcError::AlreadyAttached => true,
        TcError::NetlinkError(error) => error.raw_os_error() == Some(libc::EEXIST),
        _ => false,
    }
}

fn refused(interface: &str, error: String) -> Error {
    Error::Attach {
        interface: interface.to_owned(),
        hook: Hook::Tc,
        error,
        mend: "The kernel needs tcx (Linux 6.6), or CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF.".to_owned(),
    }
}
