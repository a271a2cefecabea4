//! The loaded program without a network: its maps filled through the agent's own writer, frames put through
//! it by BPF_PROG_TEST_RUN.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use lb_userspace::dataplane::{Dataplane, Desired, Pins, Sizes};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Why the kernel's side can't be tested here; `None` where it can.
pub fn lacking() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    lb_userspace::dataplane::object().err().map(|error| error.to_string())
}

/// Gives this thread its own mount namespace with its own bpffs, which goes when the thread ends.
///
/// # Errors
/// Not permitted.
pub fn private_bpffs() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare of the mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).context("mount of bpffs")
}

/// What the program did with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The XDP action's number.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// A loaded program that is attached to nothing.
pub struct Testbed {
    /// The agent's side of it.
    pub dataplane: Dataplane,
    /// Its pins.
    pub pins: Pins,
}

impl Testbed {
    /// Loads the program with these map sizes, in this thread's own bpffs.
    ///
    /// # Errors
    /// What the agent would say.
    pub fn new(sizes: Sizes) -> Result<Self> {
        private_bpffs()?;
        let pins = Pins::under(Path::new("/sys/fs/bpf"));
        Ok(Self { dataplane: Dataplane::open(pins.clone(), sizes)?, pins })
    }

    /// Fills the maps.
    ///
    /// # Errors
    /// What the agent would say.
    pub fn apply(&mut self, desired: &Desired) -> Result<()> {
        Ok(self.dataplane.apply(desired)?)
    }

    /// Puts one frame through the program, as if it came in by interface 1.
    ///
    /// # Errors
    /// The kernel refuses the frame: it is shorter than an Ethernet header, or longer than a page.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let mut out = vec![0; frame.len() + 64];
        let program = self.dataplane.xdp()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let result = program.test_run(options).map_err(|error| anyhow!("{error:?}"))?;
        let length = result.data_size_out as usize;
        if length > out.len() {
            bail!("the frame grew to {length} bytes");
        }
        out.truncate(length);
        Ok(Outcome { action: result.return_value, frame: out })
    }
}

/// Nanoseconds a frame of one run of `program` over `frame`, `repeat` times.
///
/// # Errors
/// The kernel refuses the run.
pub fn time(program: &Xdp, frame: &[u8], repeat: u32) -> Result<(u32, f64)> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = repeat;
    let result = program.test_run(options).map_err(|error| anyhow!("{error:?}"))?;
    Ok((result.return_value, result.duration.as_nanos() as f64))
}
