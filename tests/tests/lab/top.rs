//! `lb top` on a terminal of 80 by 24, as a user has it: keys go in, a screen comes out, and the terminal is given back.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, binary};
use lb_tests::client::Client;
use lb_tests::config::watched_web;
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, nginx, scenario, wait_until};

/// A verb on a terminal of its own (`script` of util-linux).
struct Terminal {
    child: Child,
    record: std::path::PathBuf,
}

impl Terminal {
    fn start(host: &Host, command: &str) -> Result<Self> {
        let record = host.dir().join("screen");
        let command = format!("stty rows 24 cols 80; exec {} {command}", binary()?.display());
        let record_name = record.display().to_string();
        let mut script = host.command("script", ["-q", "-e", "-f", "-c", &command, &record_name])?;
        script.env("TERM", "xterm").env_remove("NO_COLOR").stdin(Stdio::piped());
        let child = script.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("script")?;
        Ok(Self { child, record })
    }

    fn wait_for(&self, text: &str) -> Result<()> {
        let waited = wait_until(DEADLINE, text, || self.screen().contains(text));
        waited.map(drop).with_context(|| self.screen())
    }

    /// What a terminal shows by now.
    fn screen(&self) -> String {
        let mut terminal = vt100::Parser::new(24, 80, 0);
        terminal.process(&self.record());
        terminal.screen().contents()
    }

    fn record(&self) -> Vec<u8> {
        fs::read(&self.record).unwrap_or_default()
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("its input")?;
        input.write_all(keys.as_bytes())?;
        Ok(input.flush()?)
    }

    /// Its exit code.
    fn end(mut self) -> Result<(Option<i32>, String)> {
        let mut code = None;
        wait_until(DEADLINE, "its end", || {
            code = self.child.try_wait().ok().flatten();
            code.is_some()
        })?;
        let record = String::from_utf8_lossy(&self.record()).into_owned();
        Ok((code.and_then(|code| code.code()), record))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_user_sees_services_enters_one_and_has_the_terminal_back() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let mut reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(host, &watched_web(lab))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let mut terminal = Terminal::start(host, "top --interval 200ms")?;
        terminal.wait_for("all is well")?;
        terminal.wait_for(&format!("{VIP}:80"))?;
        terminal.wait_for("MASTER")?;
        terminal.press("p\r")?;
        terminal.wait_for("Esc back")?;
        terminal.wait_for(&lab.real(1).v4().to_string())?;
        let busy = || {
            let _ = client.get_many((VIP, 80), 5);
            terminal.screen().contains('█')
        };
        wait_until(DEADLINE, "a bar of a sparkline", busy)?;
        drop(reals.pop());
        terminal.wait_for("connection refused")?;
        terminal.wait_for("DOWN")?;
        terminal.press("q")?;
        let (code, seen) = terminal.end()?;
        // The screen before it is there again.
        ensure!(code == Some(0) && seen.contains("\u{1b}[?1049h") && seen.contains("\u{1b}[?1049l"), "{code:?} {seen}");

        // It outlives the agent, and says so; without one it doesn't begin.
        let mut terminal = Terminal::start(host, "top web")?;
        terminal.wait_for("Esc back")?;
        agent.stop()?;
        terminal.wait_for("no agent answers")?;
        terminal.press("q")?;
        ensure!(terminal.end()?.0 == Some(0));
        let output = host.output(&binary()?.display().to_string(), &["top"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains("lb top needs a terminal"), "{said}");
        let (code, seen) = Terminal::start(host, "top")?.end()?;
        ensure!(code == Some(3) && seen.contains("no agent answers") && !seen.contains("1049h"), "{code:?} {seen}");
        Ok(())
    });
}
