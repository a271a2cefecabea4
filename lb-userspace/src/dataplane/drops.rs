//! What the kernel drops behind the program: its tracepoints are watched by programs that outlive the agent as well.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use aya::EbpfLoader;
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, RawTracePoint};

use super::attach::{pin, remove};
use super::load::{innermost, permission, refused_program};
use super::structures::Structures;
use super::{Dataplane, Error};

/// Each tracepoint with its program in the object.
const WATCHED: [(&str, &str); 4] = [
    ("xdp_exception", "lb_exception"),
    ("xdp_redirect_err", "lb_redirect_err"),
    ("xdp_devmap_xmit", "lb_devmap_xmit"),
    ("xdp_bulk_tx", "lb_bulk_tx"),
];

/// What the programs have to know of the running kernel; all zeros where it doesn't tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    ifindex: u32,
    namespace: u32,
    number: u32,
    own: u32,
}

impl Known {
    /// Asks the kernel.
    pub(super) fn read() -> Self {
        let find = || {
            let structures = Structures::read()?;
            let number = structures.offset("net", "ns")? + structures.offset("ns_common", "inum")?;
            Some(Self {
                ifindex: structures.offset("net_device", "ifindex")?,
                // A structure of the pointer alone.
                namespace: structures.offset("net_device", "nd_net")?,
                number,
                // A namespace's number is its file's (namespaces(7)).
                own: u32::try_from(fs::metadata("/proc/thread-self/ns/net").ok()?.ino()).ok()?,
            })
        };
        find().unwrap_or_default()
    }

    /// Sets the programs' constants.
    pub(super) fn tell<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global("IFINDEX", &self.ifindex, true)
            .override_global("NAMESPACE", &self.namespace, true)
            .override_global("NUMBER", &self.number, true)
            .override_global("OWN", &self.own, true);
    }
}

impl Dataplane {
    /// Counts from now on what the kernel drops behind the program, in place of an earlier agent's programs. What
    /// they have counted stays.
    ///
    /// # Errors
    /// Not permitted, or the kernel lacks what is needed. The program forwards all the same.
    pub fn watch_drops(&mut self) -> Result<(), Error> {
        if self.known == Known::default() {
            let error = "it tells nothing of its types (/sys/kernel/btf/vmlinux)".to_owned();
            return Err(Error::Refused { what: "programs at its tracepoints".to_owned(), error });
        }
        for (tracepoint, name) in WATCHED {
            let refused = |error: String| Error::Refused { what: format!("a program at {tracepoint}"), error };
            let program = self.ebpf.program_mut(name).ok_or_else(|| refused("not in its object".to_owned()))?;
            let program: &mut RawTracePoint =
                program.try_into().map_err(|error: ProgramError| refused(error.to_string()))?;
            if program.fd().is_err() {
                program.load().map_err(refused_program)?;
            }
            let path = self.pins.watch(tracepoint);
            // Two that watch would count twice.
            remove(&path)?;
            let attached = program.attach(tracepoint).and_then(|id| program.take_link(id));
            let link = attached.map_err(|error| match permission(&error) {
                Some(error) => Error::Privilege { call: "BPF_RAW_TRACEPOINT_OPEN", error },
                None => refused(innermost(&error)),
            })?;
            pin(FdLink::from(link), &path)?;
        }
        Ok(())
    }
}
