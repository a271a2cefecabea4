//! Two directors that run one of the programs, and what can be done to the first of them.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lb_tests::agent::{self, Agent};
use lb_tests::directors::{PORT, Router, Way, config, start_reals, wait_until_holds};
use lb_tests::keepalived::{Keepalived, instance};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP};
use lb_tests::probe::{Echo, Probe, Report};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::fault::Fault;

/// B's priority.
const B: u8 = 100;
/// A gap is over when the backup has had its time and this much more.
const SETTLED: Duration = Duration::from_millis(300);

/// Who owns the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Program {
    /// lb, with its data plane and two reals.
    Lb,
    /// Debian's keepalived, with an echo on each director.
    Keepalived,
}

impl Program {
    pub(crate) const ALL: [Self; 2] = [Self::Lb, Self::Keepalived];
}

enum Running<'a> {
    Lb(Agent<'a>),
    Keepalived(Keepalived),
}

/// Directors A and B.
pub(crate) struct Team<'a> {
    lab: &'a Lab,
    program: Program,
    way: Way,
    /// A's priority.
    priority: u8,
    /// B's keeps running as it is.
    a: Option<Running<'a>>,
    _b: Running<'a>,
}

/// A lab for a team.
pub(crate) fn lab() -> Result<Lab> {
    Lab::builder().directors(2).build()
}

impl<'a> Team<'a> {
    /// Starts both, and waits until A, which has this priority, is master.
    pub(crate) fn start(lab: &'a Lab, program: Program, way: Way, priority: u8) -> Result<Self> {
        match program {
            Program::Lb => start_reals(lab)?,
            Program::Keepalived => {
                for host in lab.directors() {
                    lab.hold(Echo::beside(host, PORT)?);
                }
            }
        }
        let a = start(lab, lab.director(), program, way, priority)?;
        let b = start(lab, lab.host("director-b"), program, way, B)?;
        let team = Self { lab, program, way, priority, a: Some(a), _b: b };
        team.wait_until_a_is_master()?;
        Ok(team)
    }

    pub(crate) fn program(&self) -> Program {
        self.program
    }

    fn a(&self) -> &'a Host {
        self.lab.director()
    }

    fn b(&self) -> &'a Host {
        self.lab.host("director-b")
    }

    fn wait_until_a_is_master(&self) -> Result<()> {
        wait_until_holds(self.a(), VIP, true)?;
        wait_until_holds(self.b(), VIP, false)?;
        let probe = self.probe()?;
        self.wait_until_served_by(&probe, self.a())
    }

    fn wait_until_served_by(&self, probe: &Probe, host: &Host) -> Result<()> {
        match self.program {
            Program::Lb => probe.wait_until_through(host),
            Program::Keepalived => probe.wait_until_from(host),
        }
        .map(drop)
    }

    fn probe(&self) -> Result<Probe> {
        Probe::start(self.lab.client(), (VIP, PORT))
    }

    /// Lets A suffer this, and restores it: what the client saw until it was served again.
    pub(crate) fn suffer(&mut self, fault: Fault) -> Result<Report> {
        if !fault.is_return() {
            self.wait_until_a_is_master()?;
        }
        let probe = self.probe()?;
        match fault {
            Fault::Killed => self.kill_agent()?,
            Fault::KilledWithoutArp => {
                self.kill_agent()?;
                self.lab.client().ip(&format!("neighbour del {VIP} dev eth1"))?;
            }
            Fault::Stopped => self.stop()?,
            // keepalived's other process has started the next one.
            Fault::Restarted if self.program == Program::Keepalived => {}
            Fault::Restarted | Fault::Returned => self.start_a()?,
            Fault::Unplugged => self.lab.cable(self.a(), false)?,
            Fault::Replugged => self.lab.cable(self.a(), true)?,
            Fault::PowerLost => {
                self.freeze()?;
                self.lab.cable(self.a(), false)?;
            }
            Fault::Booted => {
                self.lab.cable(self.a(), true)?;
                self.start_a()?;
            }
            Fault::Flapped => {
                self.a().run("sh", &["-c", "ip link set eth1 down && sleep 0.02 && ip link set eth1 up"])?;
            }
        }
        if fault.is_return() {
            self.wait_until_served_by(&probe, self.a())?;
        } else {
            thread::sleep(self.way.down_interval(B));
        }
        thread::sleep(SETTLED);
        probe.wait_for_answers()?;
        if matches!(fault, Fault::Stopped | Fault::Unplugged | Fault::PowerLost) {
            self.wait_until_served_by(&probe, self.b())?;
        }
        let report = probe.finish();
        self.prepare_return(fault)?;
        Ok(report)
    }

    /// What has to be done before what is measured next.
    fn prepare_return(&mut self, fault: Fault) -> Result<()> {
        match (fault, self.program) {
            (Fault::KilledWithoutArp, Program::Lb) => self.start_a(),
            (Fault::PowerLost, program) => {
                match self.a.take() {
                    Some(Running::Lb(mut agent)) => agent.process().kill()?,
                    Some(Running::Keepalived(keepalived)) => keepalived.kill()?,
                    None => {}
                }
                // As a boot finds it.
                match program {
                    Program::Lb => drop(agent::lb(self.a(), &["detach"])?),
                    Program::Keepalived => drop(self.a().ip(&format!("address del {VIP}/24 dev eth1"))),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start_a(&mut self) -> Result<()> {
        self.a = Some(start(self.lab, self.a(), self.program, self.way, self.priority)?);
        Ok(())
    }

    fn kill_agent(&mut self) -> Result<()> {
        match self.a.as_mut().context("A doesn't run")? {
            Running::Lb(agent) => agent.process().kill(),
            Running::Keepalived(keepalived) => keepalived.signal_child(Signal::SIGKILL),
        }
    }

    fn freeze(&mut self) -> Result<()> {
        match self.a.as_mut().context("A doesn't run")? {
            Running::Lb(agent) => agent.process().signal(Signal::SIGSTOP),
            Running::Keepalived(keepalived) => keepalived.freeze(),
        }
    }

    fn stop(&mut self) -> Result<()> {
        match self.a.take().context("A doesn't run")? {
            Running::Lb(mut agent) => {
                let status = agent.process().terminate(Duration::from_secs(40))?;
                if !status.success() {
                    bail!("lb failed: {status}");
                }
                Ok(())
            }
            Running::Keepalived(keepalived) => keepalived.stop(DEADLINE),
        }
    }
}

fn start<'a>(lab: &'a Lab, host: &'a Host, program: Program, way: Way, priority: u8) -> Result<Running<'a>> {
    let router = Router::web(way, priority);
    Ok(match program {
        Program::Lb => Running::Lb(Agent::start(host, &config(lab, &[router]))?),
        Program::Keepalived => Running::Keepalived(Keepalived::start(host, &instance(&router, None, &[]))?),
    })
}
