//! The screen of `lb top` at the sizes of usual terminals, and what keys do to it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::api::ServiceStatus;
use crate::events::{Kind, Said};
use crate::findings::tests::{router, well};
use crate::rates::Rates;
use view::Sort;

fn rates(packets: f64) -> Option<Rates> {
    Some(Rates { connections: packets / 10.0, packets, bytes: packets * 1000.0 })
}

/// Three services: the lab's, one of IPv6 with a long name, and a busy one.
fn answer(packets: f64) -> Answer {
    let mut status = well();
    let mut web = status.services.remove(0);
    web.rates = rates(packets);
    web.reals[0].rates = rates(packets);
    let six = ServiceStatus {
        name: Some("a-name-that-is-longer-than-it-should-be".to_owned()),
        address: "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(),
        rates: None,
        ..web.clone()
    };
    let busy =
        ServiceStatus { name: Some("busy".to_owned()), port: Some(443), rates: rates(1_234_567.0), ..web.clone() };
    status.services = vec![web, busy, six];
    Answer { status, routers: vec![router()] }
}

fn view() -> View {
    let mut view = View::new(None, Paint::plain());
    (0..30).for_each(|n| view.take(Ok(answer(f64::from(n)))));
    let said = Said::new(Kind::Real, "service.web", "down").because("connection refused");
    let reals = vec!["192.0.2.50".parse().unwrap()];
    view.happened(
        (1..=200)
            .map(|number| Event { number, at_ms: 1000 * number, said: Said { reals: reals.clone(), ..said.clone() } })
            .collect(),
    );
    view
}

fn screen(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, view)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width.max(1)));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

fn press(view: &mut View, code: KeyCode) -> Step {
    view.press(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn a_terminal_of_80_columns_has_all_of_it() {
    let text = screen(&view(), 80, 24);
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows[0], format!("lb {}  all is well", env!("CARGO_PKG_VERSION")), "{text}");
    assert_eq!(
        rows[1],
        "123460 conn/s, 1235K pkts/s, 9877 Mbit/s; master of 1 VIPs; sorted by address".replace("123460", "123K")
    );
    assert_eq!(rows[2], "Service   Address              VIP    Reals    Conn/s  Pkts/s  Mbit/s Pkts/s", "{text}");
    assert!(rows[3].starts_with("web       192.0.2.1:80         MASTER 2/2         2.9      29     0.2 "), "{text}");
    assert!(
        rows[3].ends_with("▇▇████")
            && rows[4].starts_with("busy      192.0.2.1:443        MASTER 2/2        123K   1235K    9877"),
        "{text}"
    );
    assert!(rows[5].starts_with("a-name-t… [2001:db8:1111:2222…"), "{text}");
    assert!(text.contains("TCP 192.0.2.1:80 web (rr)\n"), "{text}");
    assert!(
        text.contains(" events ─")
            && text.contains("00:03:20.000Z service.web real 192.0.2.50: down: connection refused\n"),
        "{text}"
    );
    assert!(
        rows[23].starts_with("q quit  Enter reals  a address, n name, c conn/s, p pkts/s, b Mbit/s  r reverse"),
        "{text}"
    );
}

#[test]
fn a_wide_terminal_shows_names_and_addresses_whole() {
    let text = screen(&view(), 120, 40);
    assert!(text.contains("[2001:db8:1111:2222:3333:44") && text.lines().count() == 40, "{text}");
    assert!(text.matches("connection refused").count() == 9, "{text}");
    let wide = screen(&view(), 200, 40);
    assert!(
        wide.contains("a-name-that-is-longer-than-it-should-be [2001:db8:1111:2222:3333:4444:5555:6666]:80"),
        "{wide}"
    );
}

#[test]
fn no_size_is_too_small() {
    let mut view = view();
    for entered in [false, true] {
        for (width, height) in [(1, 1), (5, 3), (20, 5), (40, 8), (300, 2), (79, 23)] {
            let _ = screen(&view, width, height);
        }
        if !entered {
            press(&mut view, KeyCode::Enter);
        }
    }
    let _ = screen(&View::new(None, Paint::plain()), 80, 24);
}

#[test]
fn keys_sort_and_enter_and_leave() {
    let mut view = view();
    let first = |view: &View| view.services().first().and_then(|service| service.name.clone()).unwrap_or_default();
    press(&mut view, KeyCode::Char('p'));
    assert_eq!((view.sort, first(&view).as_str()), (Sort::Packets, "busy"));
    press(&mut view, KeyCode::Char('r'));
    assert_ne!(first(&view), "busy");
    press(&mut view, KeyCode::Char('r'));
    press(&mut view, KeyCode::Char('n'));
    assert!(first(&view).starts_with("a-name"));
    press(&mut view, KeyCode::Char('a'));
    press(&mut view, KeyCode::Down);
    assert_eq!(press(&mut view, KeyCode::Enter), Step::Stay);
    assert_eq!(view.service().and_then(|service| service.name.clone()).as_deref(), Some("busy"));
    let text = screen(&view, 80, 24);
    assert!(text.contains("Real       State     Weight  Active  Conn/s  Pkts/s  Mbit/s Pkts/s\n"), "{text}");
    assert!(text.contains("192.0.2.40 up             1       -     2.9      29     0.2"), "{text}");
    assert!(text.contains("busy: 192.0.2.40 up\n") && text.contains("q quit  Esc back"), "{text}");
    for _ in 0..5 {
        press(&mut view, KeyCode::Down);
    }
    assert_eq!(view.chosen, 1);
    assert_eq!(press(&mut view, KeyCode::Esc), Step::Stay);
    assert_eq!((view.service().is_none(), view.chosen), (true, 1));
    assert_eq!(press(&mut view, KeyCode::Esc), Step::Leave);
    assert_eq!(press(&mut view, KeyCode::Char('q')), Step::Leave);
    assert_eq!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Step::Leave);
}

#[test]
fn an_agent_that_has_gone_is_told_and_what_was_known_stays() {
    let mut view = view();
    view.take(Err("no agent answers on /run/lb/lb.sock (refused).\nIs `lb run` running?".to_owned()));
    let text = screen(&view, 80, 24);
    assert!(text.contains("no agent answers on /run/lb/lb.sock (refused).") && text.contains("busy"), "{text}");
    view.take(Ok(answer(1.0)));
    assert!(screen(&view, 80, 24).contains("all is well"));
    // One that is named is entered at once; one that isn't there is told.
    let mut named = View::new(Some("busy".to_owned()), Paint::plain());
    named.take(Ok(answer(1.0)));
    assert!(named.service().is_some());
    let mut unknown = View::new(Some("wbe".to_owned()), Paint::plain());
    unknown.take(Ok(answer(1.0)));
    assert!(screen(&unknown, 80, 24).contains("there is no service wbe"));
}

#[test]
fn intervals_have_bounds() {
    assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
    assert!(["0s", "10ms", "2h", "x"].into_iter().all(|text| interval(text).is_err()));
}
