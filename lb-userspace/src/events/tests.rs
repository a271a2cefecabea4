//! Events in words and in JSON, and which are wanted.

use super::*;

fn event(number: u64, kind: Kind, subject: &str, reals: &[&str], state: &str) -> Event {
    let reals = reals.iter().map(|real| real.parse().unwrap()).collect();
    Event { number, at_ms: 1000, said: Said { reals, ..Said::new(kind, subject, state) } }
}

#[test]
fn an_event_is_a_sentence_that_names_a_few_reals_and_counts_the_others() {
    let said = |reals: &[&str], more_reals| {
        let said = event(1, Kind::Real, "service.web", reals, "down").said;
        Said { more_reals, ..said }.because("connection refused").to_string()
    };
    assert_eq!(said(&["192.0.2.40"], 0), "service.web real 192.0.2.40: down: connection refused");
    assert_eq!(
        said(&["fd00::1", "fd00::2", "fd00::3", "fd00::4"], 20),
        "service.web real fd00::1, fd00::2, fd00::3 and 21 more: down: connection refused"
    );
    assert_eq!(Said::new(Kind::Agent, "lb", "started").because("").to_string(), "lb: started");
}

#[test]
fn json_is_read_back_and_has_no_empty_fields() {
    let events =
        [event(7, Kind::Real, "pool.a", &["192.0.2.40"], "up"), event(8, Kind::Vrrp, "vrrp.web", &[], "master")];
    for event in events {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["state"], event.said.state);
        assert_eq!(json.get("reals").is_some(), !event.said.reals.is_empty());
        assert!(json.get("cause").is_none() && json.get("more_reals").is_none());
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }
}

#[test]
fn what_is_wanted_fits_all_of_it_and_is_the_newest() {
    let events = [
        event(1, Kind::Real, "service.web", &["192.0.2.40"], "down"),
        event(2, Kind::Real, "pool.web", &["192.0.2.50", "192.0.2.40"], "up"),
        event(3, Kind::Vrrp, "vrrp.web", &[], "master"),
        event(4, Kind::Service, "service.dns", &[], "out"),
    ];
    let numbers = |wanted: Wanted| wanted.of(events.clone()).iter().map(|event| event.number).collect::<Vec<_>>();
    let real = |text: &str| Some(text.parse().unwrap());
    assert_eq!(numbers(Wanted::default()), [1, 2, 3, 4]);
    assert_eq!(numbers(Wanted { service: Some("web".to_owned()), ..Wanted::default() }), [1, 2]);
    assert_eq!(numbers(Wanted { real: real("192.0.2.40"), last: Some(1), ..Wanted::default() }), [2]);
    assert_eq!(numbers(Wanted { kind: Some(Kind::Vrrp), ..Wanted::default() }), [3]);
    assert_eq!(numbers(Wanted { after: Some(3), ..Wanted::default() }), [4]);
    let all = Wanted {
        kind: Some(Kind::Real),
        service: Some("web".to_owned()),
        real: real("fd00::1"),
        after: Some(3),
        last: Some(9),
        follow: true,
    };
    assert_eq!(all.query(), "kind=real&service=web&real=fd00::1&after=3&last=9&follow=true");
}

#[tokio::test]
async fn who_follows_hears_of_each_and_of_the_end() {
    let events = Events::default();
    let mut progress = events.progress();
    events.record_all([]);
    assert!(!progress.has_changed().unwrap());
    events.record(Said::new(Kind::Agent, "lb", "x".repeat(10_000)));
    progress.changed().await.unwrap();
    assert_eq!(*progress.borrow_and_update(), Progress { last: 1, closed: false });
    let held = events.all();
    assert!(held.iter().all(|event| event.said.state.chars().count() == LONGEST + 1));
    events.close();
    progress.changed().await.unwrap();
    assert!(progress.borrow().closed);
}
