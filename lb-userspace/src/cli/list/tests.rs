//! The list as it is printed, in 80 columns.

use super::*;
use crate::api::{InterfaceStatus, VerdictStatus, VipOwner};
use crate::dataplane::Hook;

fn real(address: &str, state: State) -> RealStatus {
    RealStatus {
        since: (state == State::Down).then_some(1_000_000),
        why: (state == State::Down).then(|| "connection refused".to_owned()),
        counters: Counters { connections: 500, packets: 3500, bytes: 25_000_000 },
        ..RealStatus::new(address.parse().unwrap(), 1, state)
    }
}

fn service(name: &str, address: &str, scheduler: &str, reals: Vec<RealStatus>) -> ServiceStatus {
    ServiceStatus {
        pool: None,
        vrrp: None,
        fleet: None,
        name: Some(name.to_owned()),
        protocol: "tcp".to_owned(),
        address: address.parse().unwrap(),
        port: Some(80),
        scheduler: scheduler.to_owned(),
        persistence: None,
        counters: Counters { connections: 1000, packets: 7000, bytes: 50_000_000 },
        rates: None,
        reals,
    }
}

fn list(services: Vec<ServiceStatus>, fault: Option<&str>, awaited: Option<&str>, stats: bool) -> String {
    let of = |name: &str, awaited: Option<&str>| InterfaceStatus {
        name: name.to_owned(),
        mode: awaited.is_none().then_some(Hook::Native),
        awaited: awaited.map(str::to_owned),
        since: awaited.map(|_| 1_000_000),
    };
    let bond = awaited.map(|why| of("bond0", Some(why)));
    let status = Status {
        version: "0.1.0".to_owned(),
        agent: true,
        observe: false,
        interfaces: std::iter::once(of("eth1", None)).chain(bond).collect(),
        services,
        drops: vec![DropStatus { interface: "eth2".to_owned(), refused: 3, unsent: 12_345_678 }],
        verdicts: vec![VerdictStatus { verdict: "forwarded".to_owned(), packets: 7000, per_second: None }],
        fault: fault.map(str::to_owned),
        peers: None,
        claims: Vec::new(),
        checks: None,
        log_dropped: 0,
        maps: Vec::new(),
        program: None,
        rates_over: None,
    };
    let arguments = Arguments { stats, verdicts: true, ..Arguments::default() };
    let text = render(&status, &arguments, 1_000_065, Shape { columns: 80, paint: Paint::plain() });
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    text
}

#[test]
fn the_list_has_ipvsadms_shape_in_80_columns() {
    let reals = vec![real("172.28.128.40", State::Up), real("172.28.128.50", State::Down)];
    let text =
        list(vec![service("web", "172.28.128.210", "rr", reals)], None, Some("there is no interface bond0"), true);
    let expected = "\
lb 0.1.0, director on eth1 (native)
WAITED FOR: bond0 since 1970-01-12T13:46:40Z (1m 5s):
  there is no interface bond0
NOT SENT: eth2: 3 frames not handed on, 12345K not taken by its driver
Prot LocalAddress:Port Scheduler VIP     Service
  -> RemoteAddress              State    Weight     Conns    InPkts   InBytes
TCP  172.28.128.210:80 rr                web         1000      7000    50000K
  -> 172.28.128.40:80           up            1       500      3500    25000K
  -> 172.28.128.50:80           DOWN          1       500      3500    25000K
     DOWN since 1970-01-12T13:46:40Z (1m 5s): connection refused

Verdict               Packets  Of what
forwarded                7000  a packet for a service
";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn connections_drains_and_what_was_set_are_told() {
    let live = |of: RealStatus| RealStatus { active_connections: Some(12), inactive_connections: Some(3), ..of };
    let mut rr = vec![live(real("172.28.128.40", State::Draining)), live(real("172.28.128.50", State::Up))];
    (rr[0].since, rr[0].until, rr[0].set_at_run_time) = (Some(1_000_000), Some(1_000_605), true);
    (rr[1].file_weight, rr[1].weight, rr[1].set_at_run_time) = (Some(1), 65_535, true);
    let mut mh = vec![real("2001:db8:aaaa:bbbb:cccc:dddd:eeee:40", State::Draining), real("fd28::50", State::Disabled)];
    (mh[0].since, mh[0].left, mh[0].remembered_connections) = (Some(1_000_000), true, Some(7));
    mh.push(RealStatus { quiesced: true, ..real("fd28::60", State::Down) });
    let services = vec![service("web", "172.28.128.210", "rr", rr), service("v6", "fd28::210", "mh", mh)];
    let text = list(services, None, None, false);
    let expected = "\
lb 0.1.0, director on eth1 (native)
NOT SENT: eth2: 3 frames not handed on, 12345K not taken by its driver
Prot LocalAddress:Port Scheduler VIP     Service
  -> RemoteAddress              State    Weight ActiveConn InActConn       Conns
TCP  172.28.128.210:80 rr                web            24         6        1000
  -> 172.28.128.40:80           draining      1         12         3         500
     draining since 1970-01-12T13:46:40Z (1m 5s)
       15 connections left, given up at 1970-01-12T13:56:45Z (in 9m)
     set at run time (`lb reset` goes back to the file)
  -> 172.28.128.50:80           up        65535         12         3         500
     set at run time; the file has weight 1 (`lb reset` goes back to it)
TCP  [fd28::210]:80 mh                   v6              -         -        1000
  -> [2001:db8:aaaa:bbbb:cccc:dddd:eeee:40]:80
                                draining      1          -         -         500
     draining since 1970-01-12T13:46:40Z (1m 5s), it left the file
       7 remembered connections left, no deadline
  -> [fd28::50]:80              disabled      1          -         -         500
     DISABLED: takes nothing
  -> [fd28::60]:80              DOWN          1          -         -         500
     DOWN since 1970-01-12T13:46:40Z (1m 5s): connection refused
       its connections go on, new ones go elsewhere

Verdict               Packets  Of what
forwarded                7000  a packet for a service
";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn what_reals_do_together_is_told() {
    use crate::api::{PanicStatus, QuorumStatus};
    let mut reals = vec![real("172.28.128.40", State::Up), real("172.28.128.50", State::Down)];
    (reals[0].slow_start, reals[1].panic) = (Some(40), true);
    let panics = FleetStatus { panic: Some(PanicStatus { healthy: 1, of: 4 }), ..FleetStatus::default() };
    let panics = ServiceStatus { fleet: Some(panics), ..service("web", "172.28.128.210", "mh", reals) };
    let mut reals = vec![real("172.28.128.40", State::Standby), real("172.28.128.99", State::Up)];
    reals[1].sorry = true;
    let quorum = Some(QuorumStatus { met: false, weight: 1, needed: 2 });
    let lost = FleetStatus { quorum, sorry: Some(true), panic: None };
    let lost = ServiceStatus { fleet: Some(lost), ..service("lost", "172.28.128.211", "mh", reals) };
    let mut waits = service("met", "172.28.128.212", "mh", vec![real("172.28.128.99", State::Standby)]);
    waits.fleet =
        Some(FleetStatus { quorum: Some(QuorumStatus { met: true, weight: 2, needed: 2 }), ..FleetStatus::default() });
    waits.reals[0].sorry = true;
    let text = list(vec![panics, lost, waits], None, None, false);
    let expected = "\
TCP  172.28.128.210:80 mh                web             -         -        1000
     panic: 1 of 4 healthy, all in
  -> 172.28.128.40:80           up            1          -         -         500
     slow start: 40 % of its share
  -> 172.28.128.50:80           DOWN          1          -         -         500
     DOWN since 1970-01-12T13:46:40Z (1m 5s): connection refused
       takes new connections all the same, since too few are healthy
TCP  172.28.128.211:80 mh                lost            -         -        1000
     quorum lost: 1 of 2, sorry server answers
  -> 172.28.128.40:80           standby       1          -         -         500
     healthy, but new connections go to the sorry server
  -> 172.28.128.99:80           up            1          -         -         500
     sorry server: takes all new connections
TCP  172.28.128.212:80 mh                met             -         -        1000
  -> 172.28.128.99:80           standby       1          -         -         500
     sorry server: takes new connections when the quorum is lost
";
    assert!(text.contains(expected), "\n{text}");
}

#[test]
fn what_is_too_long_for_its_column_has_a_line_of_its_own() {
    let reals = vec![real("2001:db8:aaaa:bbbb:cccc:dddd:eeee:40", State::Quiesced), real("fd28::50", State::Up)];
    let services = vec![
        service("a-name-that-is-longer-than-its-column", "172.28.128.210", "rr", Vec::new()),
        service("v6", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:210", "mh", reals),
        service(&"n".repeat(63), "fd28::210", "mh", Vec::new()),
    ];
    let text = list(services, Some("the reload was refused:\nline 1\nline 2"), None, true);
    let expected = "\
lb 0.1.0, director on eth1 (native)
NOT SENT: eth2: 3 frames not handed on, 12345K not taken by its driver
FAULT: the reload was refused:
  line 1
  … (`lb check` and `lb list --json` have all of it)
Prot LocalAddress:Port Scheduler VIP     Service
  -> RemoteAddress              State    Weight     Conns    InPkts   InBytes
TCP  172.28.128.210:80 rr
          a-name-that-is-longer-than-its-column      1000      7000    50000K
TCP  [2001:db8:aaaa:bbbb:cccc:dddd:eeee:210]:80 mh
                                         v6          1000      7000    50000K
  -> [2001:db8:aaaa:bbbb:cccc:dddd:eeee:40]:80
                                quiesced      1       500      3500    25000K
     quiesced: its connections go on, new ones go elsewhere
  -> [fd28::50]:80              up            1       500      3500    25000K
TCP  [fd28::210]:80 mh
     nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn
                                                     1000      7000    50000K

Verdict               Packets  Of what
forwarded                7000  a packet for a service
";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn rates_owners_and_a_wide_terminal_have_their_places_and_colours_their_terminal() {
    let rates = |packets: f64| Some(Rates { connections: packets / 10.0, packets, bytes: 1e9 });
    let mut web = service("web", "172.28.128.210", "rr", vec![real("172.28.128.40", State::Up)]);
    web.rates = rates(123_456.4);
    web.vrrp = Some(VipOwner { router: "web".to_owned(), state: crate::vrrp::State::Master });
    let mut six = service("six", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:210", "wrr", vec![real("fd28::50", State::Down)]);
    six.vrrp = Some(VipOwner { router: "six".to_owned(), state: crate::vrrp::State::Backup });
    let status: Status = serde_json::from_value(serde_json::json!({
        "version": "0.1.0", "agent": true, "interfaces": [], "services": [web, six], "verdicts": [], "fault": null,
    }))
    .unwrap();
    let arguments = Arguments { rate: true, ..Arguments::default() };
    let of = |columns, paint| render(&status, &arguments, 1_000_065, Shape { columns, paint });
    let expected = "\
lb 0.1.0, director on no interface yet
Prot LocalAddress:Port Scheduler VIP     Service
  -> RemoteAddress              State    Weight       CPS     InPPS     InBPS
TCP  172.28.128.210:80 rr MASTER         web        12346    123456     1000M
  -> 172.28.128.40:80           up            1         -         -         -
TCP  [2001:db8:aaaa:bbbb:cccc:dddd:eeee:210]:80 wrr BACKUP
                                         six            -         -         -
  -> [fd28::50]:80              DOWN          1         -         -         -
     DOWN since 1970-01-12T13:46:40Z (1m 5s): connection refused
";
    let text = of(80, Paint::plain());
    assert_eq!(text, expected, "\n{text}");
    let wide = of(132, Paint::plain());
    let six =
        "TCP  [2001:db8:aaaa:bbbb:cccc:dddd:eeee:210]:80 wrr BACKUP                                   six            -";
    assert!(wide.contains(six) && wide.lines().all(|line| line.chars().count() <= 132), "{wide}");
    let painted = of(80, Paint::bright());
    assert!(
        painted.contains("\x1b[31m     DOWN since") && painted.replace("\x1b[31m", "").replace("\x1b[0m", "") == text
    );
}
