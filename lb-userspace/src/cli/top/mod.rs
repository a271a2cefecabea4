//! `lb top`: services and reals live, with their rates, and what happens to them below.
//!
//! [`view`] is what is seen and what keys do, without terminal or socket; [`draw`] puts it on the screen. Tasks: one thread reads
//! keys, one task follows the events; both end with the verb.

mod draw;
mod view;

use std::io::{IsTerminal as _, stdout};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use ratatui::crossterm::event;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::exit::Code;
use super::output::Paint;
use crate::api::{self, ClientError};
use crate::events::{Event, Wanted};
use view::{Answer, Step, View};

/// What is shown first.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Enter this service at once.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Ask so often.
    #[arg(long, short, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

/// Not more often than the agent reads its counters.
fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 1s or 500ms"))?;
    let fits = (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&time);
    if fits { Ok(time) } else { Err("write 100ms to 1h".to_owned()) }
}

/// Of the time, so much at most goes into asking and drawing: a fiftieth.
const SHARE: u32 = 50;
/// After the agent has gone it is looked for so often.
const AGAIN: Duration = Duration::from_secs(1);

/// Shows it until the user has seen enough.
pub(super) async fn run(arguments: Arguments) -> Result<Code> {
    if !stdout().is_terminal() {
        bail!("lb top needs a terminal. `lb list --rate` and `lb events --follow` go anywhere");
    }
    // Who may not, or finds no agent, is told so on the usual screen.
    let first = ask().await?;
    let mut view = View::new(arguments.service, Paint::of_stdout());
    view.take(Ok(first));
    let mut screen = ratatui::try_init()?;
    let shown = show(&mut screen, view, arguments.interval).await;
    ratatui::restore();
    shown.map(|()| Code::Done)
}

async fn show(screen: &mut ratatui::DefaultTerminal, mut view: View, interval: Duration) -> Result<()> {
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (mut keys, mut events) = (keys(), follow());
    let mut next = Instant::now() + interval;
    loop {
        let began = Instant::now();
        screen.draw(|frame| draw::draw(frame, &view))?;
        let drew = began.elapsed();
        tokio::select! {
            key = keys.recv() => match key {
                // A terminal that is gone has no keys.
                None => return Ok(()),
                Some(event::Event::Key(key)) if key.kind != event::KeyEventKind::Release => {
                    if view.press(key) == Step::Leave {
                        return Ok(());
                    }
                }
                Some(_) => {}
            },
            Some(part) = events.recv() => view.happened(part),
            () = tokio::time::sleep_until(next.into()) => {
                let began = Instant::now();
                view.take(ask().await.map_err(|error| error.to_string()));
                next = Instant::now() + interval.max((began.elapsed() + drew) * SHARE);
            }
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
}

async fn ask() -> Result<Answer, ClientError> {
    let socket = api::socket();
    let status = api::status(&socket).await?;
    // Before VRRP is there, and at the agent's end, there are none.
    let routers = api::routers(&socket).await.unwrap_or_default();
    Ok(Answer { status, routers })
}

/// What is typed, by a thread that nobody waits for: it may wait for a key for ever.
fn keys() -> mpsc::Receiver<event::Event> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What happens, as long as anybody listens; of an agent that starts anew, too.
fn follow() -> mpsc::Receiver<Vec<Event>> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut after = None;
        while !sender.is_closed() {
            let wanted = Wanted { last: Some(view::EVENTS), after, follow: true, ..Wanted::default() };
            let take = |part: Vec<Event>| {
                after = part.last().map(|event| event.number).or(after);
                // Who draws too slowly misses some.
                !matches!(sender.try_send(part), Err(mpsc::error::TrySendError::Closed(_)))
            };
            // Why there is none, the status says.
            let _ = api::events(&api::socket(), &wanted, take).await;
            tokio::time::sleep(AGAIN).await;
        }
    });
    receiver
}

#[cfg(test)]
mod tests;
