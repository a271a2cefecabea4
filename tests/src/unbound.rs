//! unbound as a real server of names.

use std::fs;

use anyhow::{Context as _, Result};

use crate::lab::{Host, Process};

/// Where Debian installs it.
const UNBOUND: &str = "/usr/sbin/unbound";

/// What it knows: it asks nobody.
const ZONE: &str = "
    local-zone: \"example.org.\" static
    local-data: \"www.example.org. A 192.0.2.10\"
    local-data: \"www.example.org. AAAA 2001:db8::10\"
    local-data: \"example.org. MX 10 mail.example.org.\"
    local-zone: \"closed.example.\" refuse
";

/// Starts it in `host`, at port 53 of each of its addresses and VIPs, by UDP and TCP, and waits until
/// it listens. It knows `www.example.org` as 192.0.2.10 and 2001:db8::10, its mail server as
/// `10 mail.example.org`, and refuses `closed.example`.
///
/// # Errors
/// When it can't be started; the message has its log.
pub fn start(host: &Host) -> Result<Process> {
    // Of an address that isn't named an answer by UDP would come from another.
    let own = host.addresses().into_iter();
    let interfaces: String = own.map(|address| format!("    interface: {address}\n")).collect();
    let text = format!(
        "server:
{interfaces}    ip-freebind: yes
    access-control: 0.0.0.0/0 allow
    access-control: ::0/0 allow
    do-daemonize: no
    use-syslog: no
    logfile: \"\"
    chroot: \"\"
    username: \"\"
    pidfile: \"\"
    directory: \"/\"
    num-threads: 1
    module-config: \"iterator\"
{ZONE}"
    );
    let path = host.dir().join("unbound.conf");
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    let mut unbound = host.spawn(UNBOUND, ["-d", "-c", &path.display().to_string()])?;
    host.wait_for_listener(53)
        .with_context(|| format!("unbound's log: {}", unbound.log()))
        .inspect_err(|_| drop(unbound.kill()))?;
    Ok(unbound)
}
