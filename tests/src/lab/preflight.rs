//! Whether this machine can carry the lab.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use super::bpf;

/// Whether the lab can run here.
///
/// # Errors
/// One line: what is missing and the mend. The answer does not change while the process runs.
pub fn require() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(check).clone()
}

fn check() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("the lab makes network namespaces: run it as root".to_owned());
    }
    for (program, package) in [("ip", "iproute2"), ("nsenter", "util-linux"), ("unshare", "util-linux")] {
        if !on_path(program) {
            return Err(format!("{program} is missing: install {package}"));
        }
    }
    bpf::probe().map_err(|error| {
        format!("bpf(2) is refused ({error}): run with CAP_BPF and CAP_NET_ADMIN on a kernel with BPF")
    })?;
    std::thread::spawn(namespaces).join().unwrap_or_else(|_| Err("the check of namespaces has failed".to_owned()))
}

/// Tries what the lab is made of in a namespace without a name, which ends with this thread.
fn namespaces() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("network namespaces are refused ({error}): run with CAP_SYS_ADMIN"))?;
    for (what, line) in [
        ("veth pairs", "link add name probe0 type veth peer name probe1"),
        ("bridges", "link add name probe2 type bridge"),
    ] {
        succeeds(Command::new("ip").args(line.split(' ')))
            .map_err(|error| format!("no {what} here ({error}): load the kernel's module"))?;
    }
    let mounts = "mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf";
    succeeds(Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", mounts]))
        .map_err(|error| format!("private mounts are refused ({error}): run with CAP_SYS_ADMIN"))
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    // As all that a lab starts: Ctrl-C must not end it as if it had failed.
    let output = command.process_group(0).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(stderr.lines().next().unwrap_or("no reason given").to_owned())
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
}
