//! A host's kernel side: a named network namespace, and for some hosts a mount namespace of their own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;

/// Where iproute2 keeps named namespaces.
const NETNS: &str = "/run/netns";

/// What the private mount namespace of a host holds: its own view of sysfs (which shows its own interfaces), its own
/// bpffs for pins, and its own /run for sockets.
const PRIVATE_MOUNTS: &str = "mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf && \
     mount -t tmpfs -o mode=0755 tmpfs /run && echo ready && exec sleep infinity";

/// A network namespace by its name, and the process that holds its mount namespace where it has one.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    holder: Option<Holder>,
}

/// A sleeping process. The mount namespace, and every pin in it, lives exactly as long as this does, whatever
/// becomes of the programs that run in it.
#[derive(Debug)]
struct Holder {
    child: Child,
    mounts: File,
}

impl Namespace {
    /// Takes hold of the network namespace `name`, which exists, and gives it mounts of its own if `private`.
    pub(crate) fn open(name: String, private: bool) -> Result<Self> {
        let holder = private.then(|| Holder::start(&name)).transpose()?;
        Ok(Self { name, holder })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The id of the process that holds the mount namespace.
    pub(crate) fn holder(&self) -> Option<u32> {
        self.holder.as_ref().map(|holder| holder.child.id())
    }

    /// A command that runs inside.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", path(&self.name).display()));
        if let Some(holder) = self.holder() {
            command.arg(format!("--mount=/proc/{holder}/ns/mnt"));
        }
        command.arg("--").arg(program);
        command
    }

    /// Runs `work` on a fresh thread inside. Sockets that it makes stay inside for good.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let net = path(&self.name);
        let net = File::open(&net).with_context(|| format!("cannot open {}", net.display()))?;
        let mounts = self.holder.as_ref().map(|holder| &holder.mounts);
        let enter = || -> Result<()> {
            setns(&net, CloneFlags::CLONE_NEWNET)?;
            if let Some(mounts) = mounts {
                // Only a thread with a root and directory of its own may change its mounts.
                unshare(CloneFlags::CLONE_FS)?;
                setns(mounts, CloneFlags::CLONE_NEWNS)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter().with_context(|| format!("cannot enter {}", self.name))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Ends the holder, and with it the mount namespace.
    pub(crate) fn release(&mut self) {
        if let Some(mut holder) = self.holder.take() {
            // It has ended already if these fail.
            let _ = holder.child.kill();
            let _ = holder.child.wait();
        }
    }
}

impl Holder {
    fn start(name: &str) -> Result<Self> {
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", path(name).display()))
            .args(["--", "unshare", "--mount", "--propagation", "private"])
            .args(["sh", "-c", PRIVATE_MOUNTS])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .current_dir("/")
            .spawn()
            .context("cannot start nsenter (install util-linux)")?;
        let stdout = child.stdout.take().context("no pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            let output = child.wait_with_output()?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("cannot make the private mounts of {name}: {}", stderr.trim());
        }
        let mounts = File::open(format!("/proc/{}/ns/mnt", child.id()))?;
        Ok(Self { child, mounts })
    }
}

/// The file of a named network namespace.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(NETNS).join(name)
}

/// Names of all network namespaces on this machine.
pub(crate) fn names() -> Vec<String> {
    fs::read_dir(NETNS).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Processes whose network namespace is one of `names`, apart from this one.
pub(crate) fn processes(names: &[String]) -> Vec<Pid> {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let wanted: Vec<_> = names.iter().filter_map(|name| fs::metadata(path(name)).ok()).map(identity).collect();
    let own = Pid::this();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| *pid != own)
        .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|meta| wanted.contains(&identity(meta))))
        .collect()
}

/// Removes the name. The namespace itself goes with its last process and socket.
pub(crate) fn remove(name: &str) -> Result<()> {
    let path = path(name);
    // Not a mount: a creation was cut short, and the file is all there is.
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(anyhow!(error).context(format!("cannot remove {}", path.display())))
        }
        _ => Ok(()),
    }
}
