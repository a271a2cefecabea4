//! The screen of `lb top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState};

use super::view::{Sort, View, id};
use crate::api::{ServiceStatus, State};
use crate::cli::events;
use crate::cli::output::Colour;
use crate::config::endpoint;
use crate::findings::{Vip, findings, vips};
use crate::rates::Rates;

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    let below = if area.height >= 30 { 10 } else { 7 }.min(area.height / 3);
    let [head, body, chosen, events, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(below),
        Constraint::Length(1),
    ])
    .areas(area);
    self::head(frame, view, head);
    match view.service() {
        Some(service) => reals(frame, view, service, body),
        None => services(frame, view, body),
    }
    frame.render_widget(Line::styled(about(view), dim(view)), chosen);
    self::events(frame, view, events);
    frame.render_widget(Line::styled(help(view), dim(view)), keys);
}

fn style(view: &View, colour: Colour) -> Style {
    if !view.paint.is_on() {
        return Style::new();
    }
    Style::new().fg(match colour {
        Colour::Good => Color::Green,
        Colour::Bad => Color::Red,
    })
}

fn dim(view: &View) -> Style {
    if view.paint.is_on() { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
}

/// Two lines: whether all is well, and how much goes on.
fn head(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let Some(answer) = &view.answer else { return };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let found = findings(&answer.status, &answer.routers, now);
    let bad: Vec<_> = found.iter().filter(|finding| finding.bad).collect();
    let state = match (&view.error, bad.as_slice()) {
        (Some(error), _) => Span::styled(error.clone(), style(view, Colour::Bad)),
        (None, []) => Span::styled("all is well", style(view, Colour::Good)),
        (None, [one]) => Span::styled(one.to_string(), style(view, Colour::Bad)),
        (None, [first, rest @ ..]) => {
            Span::styled(format!("{first} (+{}: lb status)", rest.len()), style(view, Colour::Bad))
        }
    };
    let title = Span::raw(format!("lb {}  ", answer.status.version));
    let sum =
        answer.status.services.iter().filter_map(|service| service.rates).fold(Rates::default(), |sum, one| Rates {
            connections: sum.connections + one.connections,
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
        });
    let masters = vips(&answer.status, &answer.routers).iter().filter(|vip| vip.word() == "MASTER").count();
    let totals = format!(
        "{} conn/s, {} pkts/s, {} Mbit/s; master of {masters} VIPs; sorted by {}{}",
        number(sum.connections),
        number(sum.packets),
        number(megabits(sum.bytes)),
        view.sort.label(),
        if view.reversed { ", reversed" } else { "" }
    );
    frame.render_widget(Paragraph::new(vec![Line::from(vec![title, state]), Line::raw(totals)]), area);
}

/// Columns of numbers, and the gaps beside them.
const NUMBERS: [Constraint; 3] = [Constraint::Length(7), Constraint::Length(7), Constraint::Length(7)];

fn services(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let services = view.services();
    let vips: Vec<Vip> = view.answer.as_ref().map(|answer| vips(&answer.status, &answer.routers)).unwrap_or_default();
    let name = |service: &ServiceStatus| service.name.clone().unwrap_or_else(|| service.protocol.to_uppercase());
    let at = |service: &ServiceStatus| endpoint(service.address, service.port);
    let names = services.iter().map(|service| name(service).chars().count()).max().unwrap_or_default();
    let ats = services.iter().map(|service| at(service).chars().count()).max().unwrap_or_default();
    // What is left of the line beside the other columns and a sparkline of ten.
    let room = usize::from(area.width).saturating_sub(6 + 7 + 3 * 7 + 7 + 10).max(12);
    let names = names.clamp(7, (room / 3).max(7));
    let ats = ats.clamp(7, room.saturating_sub(names).max(7));
    let spark = usize::from(area.width).saturating_sub(names + ats + 6 + 7 + 3 * 7 + 7);
    let widths = [length(names), length(ats), Constraint::Length(6), Constraint::Length(7)];
    let widths = widths.into_iter().chain(NUMBERS).chain([length(spark)]);
    let rows = services.iter().map(|service| {
        let own = || service.reals.iter().filter(|real| !real.sorry);
        let up = own().filter(|real| real.state == State::Up).count();
        let all = own().filter(|real| !real.left).count();
        let short = own().any(|real| real.state == State::Down) || up == 0;
        let reals = Cell::from(format!("{up}/{all}"));
        let vip = vips.iter().find(|vip| vip.address == service.address).map(Vip::word).unwrap_or_default();
        let cells = [
            Cell::from(shortened(&name(service), names)),
            Cell::from(shortened(&at(service), ats)),
            Cell::from(vip),
            if short { reals.style(style(view, Colour::Bad)) } else { reals },
        ];
        let line = (id(service), None);
        Row::new(cells.into_iter().chain(rates(service.rates)).chain([sparkline(&view.history(&line, spark))]))
    });
    let heads = ["Service", "Address", "VIP", "Reals", "Conn/s", "Pkts/s", "Mbit/s", "Pkts/s"];
    table(frame, view, area, (heads, 4), rows.collect(), widths.collect());
}

fn reals(frame: &mut Frame<'_>, view: &View, service: &ServiceStatus, area: Rect) {
    let reals = view.reals(service);
    let ats = reals.iter().map(|real| real.address.to_string().len()).max().unwrap_or_default();
    let fixed = 9 + 6 + 7 + 3 * 7 + 7;
    let ats = ats.clamp(7, usize::from(area.width).saturating_sub(fixed + 8).max(12));
    let spark = usize::from(area.width).saturating_sub(ats + fixed);
    let widths = [length(ats), Constraint::Length(9), Constraint::Length(6), Constraint::Length(7)];
    let widths = widths.into_iter().chain(NUMBERS).chain([length(spark)]);
    let rows = reals.iter().map(|real| {
        let bad = real.state == State::Down;
        let state = Cell::from(real.state.word());
        let active = real.active_connections.or(real.remembered_connections);
        let cells = [
            Cell::from(shortened(&real.address.to_string(), ats)),
            if bad { state.style(style(view, Colour::Bad)) } else { state },
            right(real.weight.to_string(), 6),
            right(active.map_or_else(|| "-".to_owned(), |active| active.to_string()), 7),
        ];
        let line = (id(service), Some(real.address));
        Row::new(cells.into_iter().chain(rates(real.rates)).chain([sparkline(&view.history(&line, spark))]))
    });
    let heads = ["Real", "State", "Weight", "Active", "Conn/s", "Pkts/s", "Mbit/s", "Pkts/s"];
    table(frame, view, area, (heads, 2), rows.collect(), widths.collect());
}

/// A table whose heads stand to the right over numbers: from the one of this index to the last but one.
fn table(
    frame: &mut Frame<'_>,
    view: &View,
    area: Rect,
    (heads, numbers): ([&str; 8], usize),
    rows: Vec<Row<'_>>,
    widths: Vec<Constraint>,
) {
    let last = heads.len() - 1;
    let head = |(index, text): (usize, &str)| match widths.get(index) {
        Some(Constraint::Length(width)) if (numbers..last).contains(&index) => {
            right(text.to_owned(), usize::from(*width))
        }
        _ => Cell::from(text.to_owned()),
    };
    let heads = Row::new(heads.into_iter().enumerate().map(head)).style(Style::new().add_modifier(Modifier::BOLD));
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    let table = Table::new(rows, widths).header(heads).row_highlight_style(chosen).column_spacing(1);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(view.chosen));
}

fn length(width: usize) -> Constraint {
    Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX))
}

fn right(text: String, width: usize) -> Cell<'static> {
    Cell::from(format!("{text:>width$}"))
}

fn rates(rates: Option<Rates>) -> [Cell<'static>; 3] {
    let shown = |value: Option<f64>| right(value.map_or_else(|| "-".to_owned(), number), 7);
    [
        shown(rates.map(|rates| rates.connections)),
        shown(rates.map(|rates| rates.packets)),
        shown(rates.map(|rates| megabits(rates.bytes))),
    ]
}

fn megabits(bytes: f64) -> f64 {
    bytes * 8.0 / 1e6
}

/// In six letters at most.
fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{value:.1}"),
        ..100_000.0 => format!("{value:.0}"),
        ..100_000_000.0 => format!("{:.0}K", value / 1e3),
        _ => format!("{:.0}M", value / 1e6),
    }
}

/// Values as bars, against the largest of them.
fn sparkline(values: &[f64]) -> Cell<'static> {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        let eighths = if most > 0.0 { (value / most * 8.0).ceil() } else { 0.0 };
        // It is 0 to 8.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of eight")]
        BARS.get(eighths.clamp(0.0, 8.0) as usize).copied().unwrap_or(' ')
    };
    Cell::from(values.iter().map(bar).collect::<String>())
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The chosen line whole: what the table has no room for.
fn about(view: &View) -> String {
    let of = |service: &ServiceStatus| {
        let name = service.name.clone().unwrap_or_default();
        let pool = service.pool.as_ref().map(|pool| format!(", pool {pool}")).unwrap_or_default();
        format!("{} {name} ({}{pool})", id(service), service.scheduler)
    };
    match view.service() {
        None => view.services().get(view.chosen).map(|service| of(service)).unwrap_or_default(),
        Some(service) => match view.reals(service).get(view.chosen) {
            None => of(service),
            Some(real) => {
                let why = real.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("{}: {} {}{why}", service.name.clone().unwrap_or_default(), real.address, real.state.word())
            }
        },
    }
}

fn events(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let block = Block::new().borders(Borders::TOP).title(" events ");
    let rows = usize::from(block.inner(area).height);
    let skipped = view.events.len().saturating_sub(rows);
    let lines: Vec<Line<'_>> = view
        .events
        .iter()
        .skip(skipped)
        // The time of the day will do.
        .map(|event| Line::raw(events::line(event).chars().skip(11).collect::<String>()))
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn help(view: &View) -> String {
    let sorts: Vec<String> = Sort::KEYS.iter().map(|(key, _, label)| format!("{key} {label}")).collect();
    let way = if view.entered.is_some() { "Esc back" } else { "Enter reals" };
    format!("q quit  {way}  {}  r reverse", sorts.join(", "))
}
