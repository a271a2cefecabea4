//! The screen, in 80 columns.

use super::*;
use crate::api::MapStatus;
use crate::events::{Kind, Said};
use crate::findings::tests::{router, well};

fn overview(status: Status, routers: Vec<RouterStatus>) -> Overview {
    let findings = findings(&status, &routers, 1_000_065);
    let said = Said::new(Kind::Real, "service.web", "down").because("connection refused");
    let reals = vec!["2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap()];
    let event = Event { number: 1, at_ms: 1_000_000_000, said: Said { reals, ..said } };
    Overview { good: true, findings, vips: vips(&status, &routers), status, routers, events: vec![event] }
}

fn render(overview: &Overview) -> String {
    let page = Page { columns: 80, paint: Paint::plain(), now: 1_000_065 };
    let text = page.render(overview, "director-a");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    text
}

#[test]
fn a_director_that_is_well_is_one_screen() {
    let mut status = well();
    status.maps = vec![
        MapStatus { name: "flows".to_owned(), used: 5, size: 1000 },
        MapStatus { name: "reals".to_owned(), used: 2, size: 64 },
    ];
    let text = render(&overview(status, vec![router()]));
    let expected = format!(
        "\
lb {} on director-a: all is well
program on eth1 (native)
1 services, 2 of 2 reals take new connections; 0 connections/s, 0 packets/s, 0.0
  Mbit/s

VIPs
  192.0.2.1  MASTER for 0s (vrrp.web, priority 100): not started yet

Maps
  flows 5 of 1000 (0 %), reals 2 of 64 (3 %)

Last events (`lb events`)
  1970-01-12T13:46:40.000Z service.web real
      2001:db8:1111:2222:3333:4444:5555:6666: down: connection refused
",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn what_is_bad_stands_first_with_its_mend() {
    let mut status = well();
    status.verdicts.push(crate::api::VerdictStatus {
        verdict: "no-room".to_owned(),
        packets: 12,
        per_second: Some(1.5),
    });
    let text = render(&overview(status, vec![]));
    let start = "\
! verdict no-room: 1.5 packets/s, 12 packets so far: the frame has no room for
      the real's VLAN tag
    -> the driver leaves no headroom: set director.mode = \"generic\", or use a
       real without a vlan
";
    assert!(text.contains(start) && text.contains(": 1 TROUBLE\n"), "{text}");
    assert!(text.contains("  192.0.2.1  no [vrrp.*] has it"), "{text}");
}

#[test]
fn a_thousand_services_that_fail_are_still_a_screen() {
    let mut status = well();
    let mut service = status.services.remove(0);
    service.reals.clear();
    for n in 0..1000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n).into();
        status.services.push(crate::api::ServiceStatus { address, ..service.clone() });
    }
    let text = render(&overview(status, vec![router()]));
    assert!(text.contains(": 1000 TROUBLES\n") && text.contains("  and 985 more, 985 of them bad"), "{text}");
    assert!(text.contains("  and 989 more: 988 of no [vrrp.*], 1 MASTER (`lb vrrp`)\n"), "{text}");
    assert!(text.lines().count() < 60, "{text}");
}
