//! What can go wrong at the kernel's side, with the mend.

use std::io;
use std::path::PathBuf;

use super::Hook;

/// A failure of the data plane. The text says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary was built without the BPF toolchain.
    #[error("this lb was built without its BPF program.\nBuild it with `cargo xtask build`.")]
    NoObject,
    /// bpffs isn't mounted where the pins go.
    #[error("no BPF filesystem at {path}: the maps can't be pinned.\nMount it with `mount -t bpf bpf {path}`.")]
    NoBpffs {
        /// Where it was expected.
        path: PathBuf,
    },
    /// Not allowed to load programs.
    #[error(
        "not permitted to load BPF programs ({call}: {error}).\n\
         Run as root, or with the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON."
    )]
    Privilege {
        /// The system call.
        call: &'static str,
        /// Its error.
        error: io::Error,
    },
    /// The kernel lacks what there is no way without.
    #[error("this kernel lacks {missing}; it is {release}.\nBoot one that has it: Linux 5.15 and later do.")]
    Kernel {
        /// What it lacks, each with the first release that has it.
        missing: String,
        /// The running release.
        release: String,
    },
    /// The kernel refused the program or a map.
    #[error("the kernel refused {what}: {error}")]
    Refused {
        /// The program or map.
        what: String,
        /// Its words.
        error: String,
    },
    /// A pinned map isn't what this version makes.
    #[error(
        "{path} was pinned with another layout ({what}).\n\
         Stop the director's traffic and run `lb detach`, then start again."
    )]
    Layout {
        /// The pin.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// No such interface.
    #[error("no interface {name} on this machine.\nSee `ip link`, and `interfaces` in the configuration.")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// The interface can't run the program in the mode asked for.
    #[error("{interface}: the program can't be attached ({}): {error}.\n{mend}", hook.name())]
    Attach {
        /// The interface.
        interface: String,
        /// Where it was to run.
        hook: Hook,
        /// The kernel's words.
        error: String,
        /// What to do.
        mend: String,
    },
    /// The interface's driver has no XDP.
    #[error(
        "{interface}: its driver has no native XDP: {error}.\n\
         Set director.mode = \"auto\" or \"generic\", which runs behind the kernel's socket buffers."
    )]
    NoNative {
        /// The interface.
        interface: String,
        /// The kernel's words.
        error: String,
    },
    /// More entries than a map holds.
    #[error(
        "{map} holds {size} entries, and {needed} are needed.\n\
         Raise `{limit}` under [limits]; the new size takes effect after `lb detach`."
    )]
    Full {
        /// The map.
        map: &'static str,
        /// Its size.
        size: u32,
        /// What is needed.
        needed: u64,
        /// The key under `[limits]`.
        limit: &'static str,
    },
    /// A map could not be read or written.
    #[error("map {map}: {error}")]
    Map {
        /// The map.
        map: String,
        /// What happened.
        error: String,
    },
    /// A file or directory of the pins.
    #[error("{path}: {error}")]
    Pin {
        /// Which.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
}

impl Error {
    /// A failure of the named map.
    pub(super) fn map(map: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::Map { map: map.into(), error: error.to_string() }
    }

    /// A failure at a pin's path.
    pub(super) fn pin(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Pin { path: path.into(), error }
    }
}
