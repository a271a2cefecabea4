//! The command line: one file per verb.

mod check;
mod detach;
mod list;
mod plan;
mod release;
mod run;
mod vrrp;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// An XDP load balancer: the director of IPVS's direct routing, with health checks, in one program.
#[derive(Debug, Parser)]
#[command(name = "lb", version, max_term_width = 80)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the director's agent until SIGTERM or Ctrl-C; the program then goes on forwarding.
    ///
    /// SIGHUP reads the configuration again; one with a fault leaves everything as it is.
    Run(ConfigArgs),
    /// Check a configuration against this machine, and say what it would do.
    Check(check::Arguments),
    /// List the services and reals, as ipvsadm does.
    #[command(visible_alias = "ls")]
    List(list::Arguments),
    /// Compute the VIPs and priorities that several active directors need.
    Plan(plan::Arguments),
    /// Show the virtual routers; release or reclaim their VIPs.
    Vrrp(vrrp::Arguments),
    /// Have the running agent read its configuration again.
    Reload,
    /// Take the VIPs off this host when its agent is dead; the program goes on forwarding.
    Release,
    #[command(hide = true)]
    Guard(release::GuardArguments),
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

impl Cli {
    /// Carries out the verb.
    ///
    /// # Errors
    /// The text says what, where, and the mend.
    pub fn run(self) -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let done = match self.verb {
            Verb::Run(args) => runtime.block_on(run::run(args.config)),
            Verb::Check(args) => runtime.block_on(check::run(args)),
            Verb::List(args) => runtime.block_on(list::run(args)),
            Verb::Plan(args) => plan::run(&args),
            Verb::Vrrp(args) => runtime.block_on(vrrp::run(args)),
            Verb::Reload => runtime.block_on(reload()),
            Verb::Release => release::release(),
            Verb::Guard(args) => release::guard(&args),
            Verb::Detach => runtime.block_on(detach::run()),
        };
        // A blocking part that outlives its verb must not hold up the end.
        runtime.shutdown_background();
        done.map(|()| ExitCode::SUCCESS)
    }
}

async fn reload() -> Result<()> {
    crate::api::reload(&crate::api::socket()).await?;
    println!("reloaded");
    Ok(())
}
