//! The command line: one file per verb.

mod check;
mod checks;
mod config;
mod connections;
mod detach;
mod diff;
mod doctor;
mod events;
mod exit;
mod generate;
mod import;
mod list;
mod order;
mod output;
mod peers;
mod plan;
mod real_server;
mod release;
mod reload;
mod status;
mod top;
mod trace;
mod vrrp;
mod which;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::log::Log;
use exit::Code;

/// An XDP load balancer: the director of IPVS's direct routing, with health checks, in one program.
#[derive(Debug, Parser)]
#[command(name = "lb", version, max_term_width = 80, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  lb check --here           what /etc/lb/lb.toml would do here, or what is wrong
  lb doctor                 what would cost traffic on this machine and segment
  lb run -c ./lb.toml       a director, until Ctrl-C
  lb diff                   what a reload would change, before it does
  lb reload                 after an edit of the file; says what changed
  lb status                 is all well? if not, what, and what to do
  watch lb list             the services, their reals, and who is down and why
  lb checks --failing       the health checks that aren't good, and why
  lb top                    the services live
  lb which 203.0.113.9:40000 192.0.2.1:80  the real of a client, and why
  lb trace 203.0.113.9:40000 192.0.2.1:80  each decision of the program's
  lb events --follow        what changes, and why, as it does
  lb drain 192.0.2.40 --deadline 10m  no new connections, as for maintenance
  lb vrrp release web       hand the VIPs of [vrrp.web] over, as for maintenance

Exit codes: 0 done, and good; 1 failed, or a bad state was found; 2 wrong
usage; 3 no agent answers; 4 not permitted. lb import: 5 in part, 6 to be
finished by hand. lb run: 6 the configuration file is wrong, 70 a part of the
agent failed.";

const LOG: &str = "\
The log goes to standard error; LB_LOG says what it has: debug, or as
warn,lb_userspace::vrrp=debug (default: info). SIGUSR1 writes the state there.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the director's agent until SIGTERM or Ctrl-C; the program then goes on forwarding.
    ///
    /// SIGHUP reads the configuration again; one with a fault leaves everything as it is.
    #[command(after_help = LOG)]
    Run(RunArgs),
    /// Check a configuration, and say what it would do; with --here against this machine too.
    Check(check::Arguments),
    /// Show the configuration with its defaults, or its schema.
    Config(config::Arguments),
    /// Show what a reload would change, and which connections it touches.
    Diff(diff::Arguments),
    /// List the services and reals, as ipvsadm does.
    ///
    /// Where no agent answers it lists what the pinned maps forward, and exits with 3.
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    /// Show the health checks: their last results, the next run, and how long answers take.
    Checks(checks::Arguments),
    /// Watch services and reals live: rates, states, and what happens.
    Top(top::Arguments),
    /// Tell which real has a client's connection, or would get it, and why.
    ///
    /// The agent computes it as the program does, by the live maps, and changes nothing. Exits with 1 where no real takes it,
    /// or where this director is a backup for the VIP.
    Which(which::Arguments),
    /// Tell a packet's way through the program: each decision in order, with the map entry behind it.
    #[command(after_help = trace::AFTER)]
    Trace(trace::Arguments),
    /// Show on one screen whether all is well, and what isn't.
    ///
    /// Exits with 0 where all is well, and with 1 where something is bad: for a monitor, with --quiet.
    Status(status::Arguments),
    /// Look for what costs traffic here, or will: before a director starts, and while it runs.
    #[command(after_help = doctor::AFTER)]
    Doctor(doctor::Arguments),
    /// Show the last changes of reals, VIPs and the agent, with their causes.
    ///
    /// They are kept over restarts. Where no agent answers it shows what the last one wrote down, and exits with 3.
    Events(events::Arguments),
    /// Give a real no new connections; those that it has go on.
    ///
    /// What this and the next four verbs set is kept over reloads, restarts and reboots, until `lb reset`. It is this
    /// director's alone: tell its backups too.
    #[command(after_help = order::CODES)]
    Drain(order::DrainArguments),
    /// Give a draining real new connections again.
    #[command(after_help = order::CODES)]
    Undrain(order::Which),
    /// Give a real another weight than the file does.
    #[command(after_help = order::CODES)]
    Weight(order::WeightArguments),
    /// Give a real no traffic at all: its connections break.
    #[command(after_help = order::CODES)]
    Disable(order::Which),
    /// Give a disabled real traffic again.
    #[command(after_help = order::CODES)]
    Enable(order::Which),
    /// Forget what was set by drain, weight and disable.
    #[command(after_help = order::CODES)]
    Reset(order::ResetArguments),
    /// Make a lb.toml of a keepalived.conf or of what ipvsadm prints, and report on every line.
    #[command(after_help = import::AFTER)]
    Import(import::Arguments),
    /// Compute the VIPs and priorities that several active directors need.
    Plan(plan::Arguments),
    /// On a real server: check, set up or take back what direct routing needs there.
    #[command(after_help = real_server::AFTER)]
    RealServer(real_server::Arguments),
    /// Show the virtual routers; release or reclaim their VIPs.
    Vrrp(vrrp::Arguments),
    /// Have the running agent read its configuration again, and say what changed.
    Reload,
    /// Take the VIPs off this host when its agent is dead; the program goes on forwarding.
    Release(release::Arguments),
    #[command(hide = true)]
    Guard(release::GuardArguments),
    #[command(hide = true)]
    Generate(generate::Arguments),
    /// End forwarding: remove the program, its maps and the VIPs that the agent added.
    Detach,
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/lb/lb.toml")]
    config: PathBuf,
}

/// How the agent runs.
#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    args: ConfigArgs,
    /// Count what would be forwarded, and pass every frame: to be run beside IPVS before a change-over. VIPs and VRRP are left to
    /// keepalived.
    #[arg(long)]
    observe: bool,
}

impl Cli {
    /// Carries out the verb, and says on standard error why it failed.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let is_agent = matches!(self.verb, Verb::Run(_));
        let log = Log::start(if is_agent { "info" } else { "warn" });
        let code = self.obey().unwrap_or_else(|error| {
            // The agent's end must not wait for whoever reads its log.
            if is_agent {
                log.say(&output::words(&error, std::io::stderr().is_terminal()))
            } else {
                output::tell(&error)
            }
            Code::of(&error)
        });
        drop(log);
        ExitCode::from(code as u8)
    }

    fn obey(self) -> Result<Code> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let done = match self.verb {
            Verb::Run(args) => runtime.block_on(crate::agent::run(args.args.config, args.observe)).map(|()| Code::Done),
            Verb::Config(args) => config::run(args).map(|()| Code::Done),
            Verb::Diff(args) => runtime.block_on(diff::run(args)),
            Verb::Check(args) => runtime.block_on(check::run(args)).map(|()| Code::Done),
            Verb::List(args) => runtime.block_on(list::run(args)),
            Verb::Checks(args) => runtime.block_on(checks::run(args)).map(|()| Code::Done),
            Verb::Top(args) => runtime.block_on(top::run(args)),
            Verb::Which(args) => runtime.block_on(which::run(args)),
            Verb::Trace(args) => runtime.block_on(trace::run(args)),
            Verb::Status(args) => runtime.block_on(status::run(args)),
            Verb::Doctor(args) => runtime.block_on(doctor::run(args)),
            Verb::Events(args) => runtime.block_on(events::run(args)),
            Verb::Drain(args) => runtime.block_on(order::run(args.into())).map(|()| Code::Done),
            Verb::Undrain(args) => runtime.block_on(order::run(args.undrain())).map(|()| Code::Done),
            Verb::Weight(args) => runtime.block_on(order::run(args.into())).map(|()| Code::Done),
            Verb::Disable(args) => runtime.block_on(order::run(args.disable())).map(|()| Code::Done),
            Verb::Enable(args) => runtime.block_on(order::run(args.enable())).map(|()| Code::Done),
            Verb::Reset(args) => runtime.block_on(order::run(args.into())).map(|()| Code::Done),
            Verb::Import(args) => import::run(&args),
            Verb::Plan(args) => plan::run(&args).map(|()| Code::Done),
            Verb::RealServer(args) => runtime.block_on(real_server::run(args)),
            Verb::Vrrp(args) => runtime.block_on(vrrp::run(args)).map(|()| Code::Done),
            Verb::Reload => runtime.block_on(reload::run()).map(|()| Code::Done),
            Verb::Release(args) => release::release(&args).map(|()| Code::Done),
            Verb::Generate(args) => generate::run(&args).map(|()| Code::Done),
            Verb::Guard(args) => release::guard(&args).map(|()| Code::Done),
            Verb::Detach => runtime.block_on(detach::run()).map(|()| Code::Done),
        };
        // A blocking part that outlives its verb must not hold up the end.
        runtime.shutdown_background();
        done
    }
}
