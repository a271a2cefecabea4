//! What to do with a lab that was left up.

use std::io::{self, Write};

use anyhow::Result;

use crate::agent;
use crate::lab::{Lab, VIP};

/// Leaves the lab up and prints how to look into it. To be called from within
/// [`undisturbed`](super::screen::undisturbed).
///
/// # Errors
/// It can't be left; it is removed then.
pub(crate) fn leave(lab: Lab) -> Result<()> {
    let program = agent::binary()?;
    let log = lab.director().dir().join("lb.log");
    let client = lab.client().namespace().to_owned();
    let director = lab.director().how_to_enter();
    let other = lab.host("director-b").how_to_enter();
    let hosts = lab.keep()?;
    let mut out = io::stdout().lock();
    writeln!(out, "\nThe lab stays up. A shell on each host, as root:\n")?;
    for (name, enter) in hosts {
        writeln!(out, "  {name:<11} {enter}")?;
    }
    let lb = program.display();
    writeln!(
        out,
        "\nTo try from a shell of this machine, as root. First, short names:\n
  director() {{ {director} \"$@\"; }}
  client() {{ ip netns exec {client} \"$@\"; }}
  lb() {{ director {lb} \"$@\"; }}
  other() {{ {other} {lb} \"$@\"; }}

Then:

  {ask}
  lb list
  lb list --verdicts
  lb vrrp
  other vrrp
  lb vrrp release web     # director B takes the VIP; `reclaim` takes it back
  tail {log}
  director bpftool net
  director bpftool map dump pinned {pins}/services
  director bpftool map lookup pinned {pins}/reals key 1 0 0 0

Take it down with:

  cargo xtask lab remove",
        ask = ask(),
        log = log.display(),
        pins = lb_userspace::dataplane::Pins::default().directory().display(),
    )?;
    Ok(())
}

/// A command that asks the VIP with what this machine has.
fn ask() -> String {
    let has = |program: &str| {
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
    };
    if has("curl") {
        format!("client curl -s http://{VIP}/")
    } else {
        let request = r#"printf "GET / HTTP/1.1\r\nConnection: close\r\n\r\n""#;
        format!("client bash -c 'exec 3<>/dev/tcp/{VIP}/80; {request} >&3; cat <&3'")
    }
}
