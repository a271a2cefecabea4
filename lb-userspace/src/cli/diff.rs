//! `lb diff`: what a reload would change, and which connections it touches.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::exit::Code;
use super::{ConfigArgs, output};
use crate::agent::Misconfigured;
use crate::api::{self, Estimate, Fate, RealStatus, Reloaded, Status, Touched};
use crate::config::Texts;

/// Which file is compared.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file, as by --config.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    args: ConfigArgs,
    /// Exit with 1 where something would change.
    #[arg(long)]
    exit_code: bool,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks the agent, and changes nothing.
pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    let path = arguments.file.unwrap_or(arguments.args.config);
    let texts = Texts::gather(&path).map_err(Misconfigured)?;
    let socket = api::socket();
    let differs = api::changes(&socket, &texts).await?;
    if arguments.json {
        output::print_json(&differs)?;
    } else {
        let status = api::status(&socket).await.ok();
        let same = differs.changes.is_empty();
        let head = if same { "a reload changes nothing that is in force" } else { "a reload changes" };
        output::print(&render(head, &differs, status.as_ref()))?;
    }
    let is_same = differs.changes.is_empty() && differs.without_effect.is_empty();
    Ok(if arguments.exit_code && !is_same { Code::Failed } else { Code::Done })
}

/// The changes below a headline, and the connections with their numbers by a status of before.
pub(super) fn render(head: &str, reloaded: &Reloaded, status: Option<&Status>) -> String {
    let Reloaded { changes, without_effect, touched } = reloaded;
    let heading = (!touched.is_empty()).then(|| "connections".to_owned());
    let touched = touched.iter().map(|one| format!("  {}", connections(one, status)));
    let lines = [head.to_owned()].into_iter().chain(changes.iter().map(|line| format!("  {line}")));
    let lines = lines.chain(heading).chain(touched).chain(without_effect.iter().map(|line| format!("note: {line}")));
    lines.map(|line| line + "\n").collect()
}

fn connections(touched: &Touched, status: Option<&Status>) -> String {
    let Touched { service, real, fate } = touched;
    let fate = match fate {
        Fate::Move => "move to other reals, which reset them".to_owned(),
        Fate::End => "end: nobody forwards them any more".to_owned(),
        Fate::Drain(None) => "stay as long as they live".to_owned(),
        Fate::Drain(Some(seconds)) => {
            let time = humantime::format_duration(std::time::Duration::from_secs(*seconds));
            format!("stay as long as they live, {time} at most")
        }
        Fate::Stay => "stay, and no new ones come".to_owned(),
    };
    let of = real.map_or_else(String::new, |real| format!(", real {real}"));
    let count =
        status.and_then(|status| count(status, service, touched)).map_or_else(String::new, |count| format!("{count} "));
    format!("service.{service}{of}: {count}{fate}")
}

/// The active connections of what is touched, with `~` where they are an estimate.
fn count(status: &Status, service: &str, touched: &Touched) -> Option<String> {
    let service = status.services.iter().find(|one| one.name.as_deref() == Some(service))?;
    let reals: Vec<&RealStatus> =
        service.reals.iter().filter(|real| touched.real.is_none_or(|address| real.address == address)).collect();
    let known: Option<u64> = reals.iter().map(|real| real.active_connections).sum();
    let estimate = || Estimate::sum(reals.iter().map(|real| real.estimated_connections));
    known.map(|count| count.to_string()).or_else(|| estimate().map(|of| format!("~{}", of.active)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_told_below_what_changes() {
        let real = "192.0.2.50".parse().ok();
        let touched = |real, fate| Touched { service: "web".to_owned(), real, fate };
        let reloaded = Reloaded {
            changes: vec!["service.web: real 192.0.2.50 removed".to_owned()],
            without_effect: vec!["[limits] has no effect yet".to_owned()],
            touched: vec![touched(real, Fate::Drain(Some(120))), touched(None, Fate::Move)],
        };
        let expected = "\
reloaded
  service.web: real 192.0.2.50 removed
connections
  service.web, real 192.0.2.50: stay as long as they live, 2m at most
  service.web: move to other reals, which reset them
note: [limits] has no effect yet
";
        assert_eq!(render("reloaded", &reloaded, None), expected);
        assert_eq!(render("reloaded: nothing", &Reloaded::default(), None), "reloaded: nothing\n");
    }
}
