//! `lb plan`: VIPs and priorities for several active directors.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use ipnet::IpNet;

use super::output::{print, print_json};
use crate::capacity::{Demand, File, Rate, Report, Sections, plan, plan_of};

/// What is planned.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directors, all active
    #[arg(long, value_name = "N")]
    directors: usize,
    /// All clients' traffic together, in bits per second, such as 1.5G
    #[arg(long, value_name = "RATE")]
    traffic: Rate,
    /// What one director's link carries, such as 1G
    #[arg(long, value_name = "RATE")]
    link: Rate,
    /// Directors that may be lost at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    survive: usize,
    /// Part of each link that must stay free
    #[arg(long, value_name = "PERCENT", default_value_t = 20)]
    headroom: u8,
    /// Plan with so many VIPs, instead of the fewest that fit
    #[arg(long, value_name = "N")]
    vips: Option<usize>,
    /// The first VIP with its prefix length; the others follow it
    #[arg(long, value_name = "ADDRESS/LENGTH", default_value = "172.28.128.210/24")]
    addresses: IpNet,
    /// The first virtual router id; the others follow it
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    id: u8,
    /// The directors' interface on the VIPs' segment
    #[arg(long, value_name = "NAME", default_value = "eth1")]
    interface: String,
    /// Write the [vrrp.*] sections of each director to DIR/director-a.toml and so on
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Print JSON, with rates in bits per second
    #[arg(long)]
    json: bool,
}

/// Prints the plan, and writes it where asked to. One that doesn't fit is printed too, and then an error.
pub(super) fn run(args: &Arguments) -> Result<()> {
    let demand = Demand {
        directors: args.directors,
        survive: args.survive,
        traffic: args.traffic,
        link: args.link,
        headroom: args.headroom,
    };
    let plan = match args.vips {
        Some(vips) => plan_of(demand, vips)?,
        None => plan(demand)?,
    };
    let sections = Sections { interface: args.interface.clone(), first_address: args.addresses, first_id: args.id };
    let report = Report::new(&plan, &sections.numbers(plan.orders.len())?);
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.to_string())?;
    }
    if !plan.fits() {
        bail!(
            "a link gets {}, above the {} that it may.\nNothing is written. Leave out --vips for a number that fits.",
            plan.load(plan.worst()),
            demand.limit(),
        );
    }
    if let Some(folder) = &args.write {
        let files = sections.files(&plan, &command())?;
        write(folder, &files)?;
        if !args.json {
            print(&format!("\n{} files are in {}.\n", files.len(), folder.display()))?;
        }
    }
    Ok(())
}

/// The command line, as the files quote it.
fn command() -> String {
    let words = std::env::args().skip(1).map(|word| word.replace(char::is_control, "?"));
    std::iter::once("lb".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Writes none where one of them would take the place of another text.
fn write(folder: &Path, files: &[File]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    for file in files {
        let path = folder.join(&file.name);
        ensure!(
            !path.exists(),
            "{} is there already, and may have been edited.\nRemove it, or give another --write.",
            path.display()
        );
    }
    for file in files {
        let path = folder.join(&file.name);
        fs::File::create_new(&path)
            .and_then(|mut target| target.write_all(file.text.as_bytes()))
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}
