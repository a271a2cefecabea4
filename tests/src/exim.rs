//! Exim as a real mail server.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::certificates::Issued;
use crate::lab::{Host, Process};

/// Where Debian installs it.
const EXIM: &str = "/usr/sbin/exim4";

/// Starts it in `host`, at port 25 with STARTTLS and this certificate, and at port 26 without, and waits until it listens.
/// It takes no mail, and asks no other host.
///
/// # Errors
/// When it can't be started; the message has what it said.
pub fn start(host: &Host, issued: &Issued) -> Result<Process> {
    let dir = host.dir().join("exim");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    // It logs as a user of its own.
    fs::set_permissions(&dir, Permissions::from_mode(0o1777))?;
    let here = dir.display();
    let text = format!(
        "primary_hostname = mail.example.org
spool_directory = {here}
log_file_path = {here}/%slog
pid_file_path = {here}/exim.pid
daemon_smtp_ports = 25 : 26
tls_advertise_hosts = ${{if eq{{$received_port}}{{25}}{{*}}{{}}}}
tls_certificate = {here}/mail.pem
tls_privatekey = {here}/mail.key
host_lookup =
rfc1413_hosts =
keep_environment =
log_selector = +smtp_connection
"
    );
    for (name, text) in [("mail.pem", &issued.cert), ("mail.key", &issued.key), ("exim.conf", &text)] {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    let mut exim = host.spawn(EXIM, ["-bdf", "-C", &dir.join("exim.conf").display().to_string()])?;
    let ready = host.wait_for_listener(25).and_then(|()| host.wait_for_listener(26));
    ready.with_context(|| format!("exim's log: {}", exim.log())).inspect_err(|_| drop(exim.kill()))?;
    Ok(exim)
}

/// A `sendmail` of Exim's own, which delivers whatever mail into one file: the program, and that file.
///
/// # Errors
/// Its files can't be written.
pub fn sendmail(host: &Host) -> Result<(PathBuf, PathBuf)> {
    let dir = host.dir().join("sendmail");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    // It delivers as a user of its own: with another configuration than Debian's it gives up root.
    fs::set_permissions(&dir, Permissions::from_mode(0o1777))?;
    let here = dir.display();
    let text = format!(
        "primary_hostname = director.example.org
spool_directory = {here}/spool
log_file_path = {here}/%slog
keep_environment =
begin routers
inbox:
  driver = accept
  transport = inbox
begin transports
inbox:
  driver = appendfile
  file = {here}/inbox
  user = Debian-exim
  group = Debian-exim
"
    );
    let (config, program) = (dir.join("exim.conf"), dir.join("sendmail"));
    fs::write(&config, text)?;
    fs::write(&program, format!("#!/bin/sh\nexec {EXIM} -C {} -odi \"$@\"\n", config.display()))?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    Ok((program, dir.join("inbox")))
}

/// Its log of who came.
#[must_use]
pub fn log(host: &Host) -> PathBuf {
    host.dir().join("exim").join("mainlog")
}
