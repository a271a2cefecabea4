//! nginx as a real server.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::host::Host;
use super::process::Process;

/// Where Debian installs it.
const NGINX: &str = "/usr/sbin/nginx";

/// While this file is there, it isn't well.
const ILL: &str = "ill";

/// Whether it is installed. A test may need it; the lab itself doesn't.
///
/// # Errors
/// One line: what is missing and the mend.
pub(crate) fn require() -> Result<(), String> {
    if Path::new(NGINX).exists() { Ok(()) } else { Err(format!("{NGINX} is missing: install nginx-light")) }
}

/// Starts nginx in `host`, answering `I am Real-1` (or whatever the host's title is) at port 80 of all its addresses,
/// IPv4 and IPv6, and waits until it listens.
///
/// # Errors
/// When it can't be started; the message has its log.
pub fn start(host: &Host) -> Result<Process> {
    start_at(host, 80)
}

/// Has the nginx of a host answer 503 to `/health`, or 200 again. All other paths go on.
///
/// # Errors
/// The file that says so can't be made or removed.
pub fn set_ill(host: &Host, ill: bool) -> Result<()> {
    let file = host.dir().join("nginx").join(ILL);
    let done = if ill { fs::write(&file, "") } else { fs::remove_file(&file) };
    done.with_context(|| format!("{}", file.display()))
}

/// As [`start`], at another port. A host runs one nginx.
///
/// # Errors
/// When it can't be started; the message has its log.
pub fn start_at(host: &Host, port: u16) -> Result<Process> {
    start_with(host, port, "")
}

/// As [`start_at`], with more within its `http { … }`: further servers, say.
///
/// # Errors
/// When it can't be started; the message has its log.
pub fn start_with(host: &Host, port: u16, more: &str) -> Result<Process> {
    let dir = host.dir().join("nginx");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let file = dir.join("nginx.conf");
    let shown = dir.display();
    fs::write(&file, config(host.title(), &shown.to_string(), port, more))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let (file, prefix) = (file.display().to_string(), format!("{shown}/"));
    let mut nginx = host.spawn(NGINX, ["-e", "stderr", "-p", &prefix, "-c", &file])?;
    host.wait_for_listener(port)
        .with_context(|| format!("nginx's log: {}", nginx.log()))
        .inspect_err(|_| drop(nginx.kill()))?;
    Ok(nginx)
}

/// One process, in the foreground, with all its files in `dir`.
fn config(title: &str, dir: &str, port: u16, more: &str) -> String {
    format!(
        "daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log stderr;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 0.0.0.0:{port};
        listen [::]:{port} ipv6only=on;
        location = /health {{
            if (-f {dir}/{ILL}) {{ return 503; }}
            return 200 \"well\\n\";
        }}
        location / {{ return 200 \"I am {title}\\n\"; }}
    }}
{more}
}}
"
    )
}
