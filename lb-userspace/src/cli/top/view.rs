//! What `lb top` shows, and what keys do to it.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::api::{RealStatus, RouterStatus, ServiceStatus, Status};
use crate::cli::output::Paint;
use crate::config::endpoint;
use crate::events::Event;
use crate::rates::Rates;

/// Events that are kept.
pub const EVENTS: usize = 100;
/// Rates of each line that are kept: a sparkline is no wider.
const HISTORY: usize = 200;

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What `lb list` shows.
    pub status: Status,
    /// What `lb vrrp` shows.
    pub routers: Vec<RouterStatus>,
}

/// By what lines are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// As the agent has them.
    Address,
    /// The name.
    Name,
    /// Connections per second.
    Connections,
    /// Packets per second.
    Packets,
    /// Bytes per second.
    Bytes,
}

impl Sort {
    /// Each with its key.
    pub const KEYS: [(char, Self, &'static str); 5] = [
        ('a', Self::Address, "address"),
        ('n', Self::Name, "name"),
        ('c', Self::Connections, "conn/s"),
        ('p', Self::Packets, "pkts/s"),
        ('b', Self::Bytes, "Mbit/s"),
    ];

    /// In a word.
    pub fn label(self) -> &'static str {
        Self::KEYS.iter().find(|(_, sort, _)| *sort == self).map_or("", |(_, _, label)| label)
    }
}

/// Names a line: a service's, and one of its reals'.
pub type Line = (String, Option<IpAddr>);

/// What is to be done after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Stay,
    /// The user has seen enough.
    Leave,
}

/// All that is seen.
pub struct View {
    /// The last answer.
    pub answer: Option<Answer>,
    /// Why there is no newer one.
    pub error: Option<String>,
    /// The last events, the newest last.
    pub events: VecDeque<Event>,
    /// What it is sorted by, the highest first where it is a rate.
    pub sort: Sort,
    /// The other way round.
    pub reversed: bool,
    /// Which line is chosen, counted from the first.
    pub chosen: usize,
    /// The service whose reals are seen, by its [`id`].
    pub entered: Option<String>,
    /// Whether there are colours.
    pub paint: Paint,
    wanted: Option<String>,
    history: HashMap<Line, VecDeque<f64>>,
}

/// Names a service, also where no agent gives it a name.
pub fn id(service: &ServiceStatus) -> String {
    format!("{} {}", service.protocol.to_uppercase(), endpoint(service.address, service.port))
}

impl View {
    /// Nothing is known yet; the service of this name is entered when it is.
    pub fn new(service: Option<String>, paint: Paint) -> Self {
        Self {
            answer: None,
            error: None,
            events: VecDeque::new(),
            sort: Sort::Address,
            reversed: false,
            chosen: 0,
            entered: None,
            paint,
            wanted: service,
            history: HashMap::new(),
        }
    }

    /// There is news, or why there is none.
    pub fn take(&mut self, answer: Result<Answer, String>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.error = error.lines().next().map(str::to_owned);
                return;
            }
        };
        self.error = None;
        let mut history = std::mem::take(&mut self.history);
        let mut note = |line: Line, rates: Option<Rates>| {
            let mut held = history.remove(&line).unwrap_or_default();
            held.push_back(rates.map_or(0.0, |rates| rates.packets));
            held.drain(..held.len().saturating_sub(HISTORY));
            self.history.insert(line, held);
        };
        for service in &answer.status.services {
            let id = id(service);
            service.reals.iter().for_each(|real| note((id.clone(), Some(real.address)), real.rates));
            note((id, None), service.rates);
        }
        if let Some(wanted) = self.wanted.take() {
            let named = answer.status.services.iter().find(|service| service.name.as_ref() == Some(&wanted));
            self.entered = named.map(id);
            if self.entered.is_none() {
                self.error = Some(format!("there is no service {wanted}"));
            }
        }
        self.answer = Some(answer);
        self.chosen = self.chosen.min(self.lines().saturating_sub(1));
    }

    /// Something happened.
    pub fn happened(&mut self, part: Vec<Event>) {
        self.events.extend(part);
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Step {
        let last = self.lines().saturating_sub(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Step::Leave,
            KeyCode::Char('q') => return Step::Leave,
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace | KeyCode::Char('h') => {
                let Some(entered) = self.entered.take() else {
                    return if key.code == KeyCode::Esc { Step::Leave } else { Step::Stay };
                };
                self.chosen = self.services().iter().position(|service| id(service) == entered).unwrap_or_default();
            }
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') if self.entered.is_none() => {
                self.entered = self.services().get(self.chosen).map(|service| id(service));
                self.chosen = 0;
            }
            KeyCode::Up | KeyCode::Char('k') => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.chosen = (self.chosen + 1).min(last),
            KeyCode::PageUp => self.chosen = self.chosen.saturating_sub(10),
            KeyCode::PageDown => self.chosen = (self.chosen + 10).min(last),
            KeyCode::Home | KeyCode::Char('g') => self.chosen = 0,
            KeyCode::End | KeyCode::Char('G') => self.chosen = last,
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char(letter) => {
                if let Some((_, sort, _)) = Sort::KEYS.iter().find(|(key, _, _)| *key == letter) {
                    self.sort = *sort;
                    self.chosen = 0;
                }
            }
            _ => {}
        }
        Step::Stay
    }

    fn lines(&self) -> usize {
        match self.service() {
            Some(service) => service.reals.len(),
            None => self.answer.as_ref().map_or(0, |answer| answer.status.services.len()),
        }
    }

    /// The service that was entered, while there is one.
    pub fn service(&self) -> Option<&ServiceStatus> {
        let (answer, entered) = self.answer.as_ref().zip(self.entered.as_ref())?;
        answer.status.services.iter().find(|service| id(service) == *entered)
    }

    /// The services in their order.
    pub fn services(&self) -> Vec<&ServiceStatus> {
        let mut all: Vec<&ServiceStatus> = self.answer.iter().flat_map(|answer| &answer.status.services).collect();
        all.sort_by(|a, b| match self.sort {
            Sort::Address => Ordering::Equal,
            Sort::Name => a.name.cmp(&b.name),
            _ => self.rate(b.rates).total_cmp(&self.rate(a.rates)),
        });
        if self.reversed {
            all.reverse();
        }
        all
    }

    /// The reals of a service in their order.
    pub fn reals<'s>(&self, service: &'s ServiceStatus) -> Vec<&'s RealStatus> {
        let mut all: Vec<&RealStatus> = service.reals.iter().collect();
        all.sort_by(|a, b| match self.sort {
            Sort::Address | Sort::Name => a.address.cmp(&b.address),
            _ => self.rate(b.rates).total_cmp(&self.rate(a.rates)),
        });
        if self.reversed {
            all.reverse();
        }
        all
    }

    fn rate(&self, rates: Option<Rates>) -> f64 {
        let rates = rates.unwrap_or_default();
        match self.sort {
            Sort::Connections => rates.connections,
            Sort::Bytes => rates.bytes,
            _ => rates.packets,
        }
    }

    /// The last packets per second of a line, so many at most, the newest last.
    pub fn history(&self, line: &Line, most: usize) -> Vec<f64> {
        let held = self.history.get(line);
        held.map(|held| held.iter().skip(held.len().saturating_sub(most)).copied().collect()).unwrap_or_default()
    }
}
