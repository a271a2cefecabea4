//! Figures, and how they are printed: in 80 columns.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, TableStyle};
use lb_tests::directors::Way;
use lb_tests::probe::Report;
use serde::Serialize;

use crate::cpu::Share;
use crate::fault::Fault;
use crate::soak::Count;
use crate::team::Program;

/// What one probe saw.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    /// Datagrams lost.
    lost: usize,
    /// The longest gap in milliseconds.
    gap_ms: f64,
}

impl Figures {
    pub(crate) fn of(report: &Report) -> Self {
        Self { lost: report.lost(), gap_ms: milliseconds(report.gap()) }
    }
}

/// A fault of one program, round after round.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    way: String,
    fault: Fault,
    program: Program,
    /// The most that RFC and goal allow when the master dies without a word.
    down_interval_ms: f64,
    rounds: Vec<Figures>,
}

impl Row {
    pub(crate) fn new(way: Way, fault: Fault, program: Program) -> Self {
        let down_interval_ms = milliseconds(way.down_interval(100));
        Self { way: way.title(), fault, program, down_interval_ms, rounds: Vec::new() }
    }

    pub(crate) fn fault(&self) -> Fault {
        self.fault
    }

    pub(crate) fn program(&self) -> Program {
        self.program
    }

    pub(crate) fn push(&mut self, figures: Figures) {
        self.rounds.push(figures);
    }

    /// `median (least-most)` of a figure.
    fn spread(&self, figure: impl Fn(&Figures) -> f64) -> String {
        let mut all: Vec<f64> = self.rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        match (all.first(), all.get(all.len() / 2), all.last()) {
            (Some(least), Some(median), Some(most)) => format!("{median:.0} ({least:.0}-{most:.0})"),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {:?}", self.way, self.fault.title(), self.program)
    }
}

/// The median, least and most of every row, lb beside keepalived: a table for each way of speaking.
pub(crate) fn print_gaps(rows: &[Row]) {
    println!("The client's gap: median (least-most) of {} rounds", rows.first().map_or(0, |row| row.rounds.len()));
    for rows in rows.chunk_by(|a, b| a.way == b.way) {
        let mut table = Table::new();
        table.load_style(TableStyle::new());
        let way = rows.first().map(|row| row.way.clone()).unwrap_or_default();
        table.set_header([&way, "lb: packets lost", "lb: ms", "keepalived: ms"]);
        for pair in rows.chunks(2) {
            let [lb, keepalived] = pair else { continue };
            let [lost, gap] = [lb.spread(|figures| figures.lost as f64), lb.spread(|figures| figures.gap_ms)];
            table.add_row([lb.fault.title(), &lost, &gap, &keepalived.spread(|figures| figures.gap_ms)]);
        }
        if let Some(row) = rows.first() {
            table.add_row(["(3 adverts + skew)", "", &format!("{:.0}", row.down_interval_ms), ""]);
        }
        print(&mut table);
    }
}

/// False take-overs of each program.
pub(crate) fn print_soak(counts: &[Count]) {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(["", "false take-overs", "minutes"]);
    for count in counts {
        let minutes = format!("{:.1}", count.minutes);
        table.add_row([format!("{:?}", count.program), count.take_overs.to_string(), minutes]);
    }
    println!("v3 10ms, every core busy with something else");
    print(&mut table);
}

/// Shares of a core.
pub(crate) fn print_cpu(shares: &[Share]) {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(["", "as master", "as backup"]);
    for share in shares {
        let [master, backup] = [share.master, share.backup].map(|part| format!("{:.2} %", part * 100.0));
        table.add_row([format!("{:?}", share.program), master, backup]);
    }
    println!("CPU of 255 virtual routers at 100 ms, as a share of a core");
    print(&mut table);
}

fn print(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
