use super::super::Resolved;
use super::super::event::Nud;
use super::*;
use crate::host::links::Vlan;
use crate::host::stations::Station;

/// Interfaces that are lost, come back, or are devices of others.
mod links;
/// Whatever comes, in any order.
mod property;

const REAL: &str = "192.0.2.40";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x40];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x41];
const ETH1: u32 = 3;

fn real() -> IpAddr {
    REAL.parse().unwrap()
}

fn link(index: u32, name: &str) -> Link {
    Link { index, name: name.to_owned(), mac: Some(mac_of_link(index)), up: true, running: true, ..Link::default() }
}

fn mac_of_link(index: u32) -> [u8; 6] {
    [2, 0, 0, 0, 1, u8::try_from(index).unwrap()]
}

fn entry(nud: Nud, mac: Option<[u8; 6]>) -> Input {
    Input::Neighbour(neighbour(nud, mac))
}

fn neighbour(nud: Nud, mac: Option<[u8; 6]>) -> Neighbour {
    Neighbour { address: real(), ifindex: ETH1, nud, mac }
}

fn on_eth1(mac: [u8; 6]) -> Option<Resolved> {
    Some(Resolved { mac, ifindex: ETH1, source_mac: mac_of_link(ETH1), vlan: None, by_kernel: false })
}

fn report(state: Option<Resolved>, why: &str) -> Action {
    Action::Report(NeighbourEvent { address: real(), state, why: why.to_owned() })
}

/// A machine and its clock.
struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    /// One real that nothing is known of, on a machine with eth1.
    fn new() -> Self {
        Self::with_interface(None)
    }

    fn with_interface(interface: Option<&str>) -> Self {
        let mut bench = Self { machine: Machine::new(1), now: Instant::now() };
        let addresses = HashMap::from([(real(), interface.map(str::to_owned))]);
        let actions = bench.machine.set_addresses(addresses, bench.now);
        assert_eq!(actions, [Action::Dump]);
        bench
    }

    /// The same, its route looked up and the kernel asked.
    fn asked() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.feed(Input::Dump(vec![link(ETH1, "eth1")], vec![], vec![])), []);
        assert_eq!(bench.feed(Input::Tick), [Action::LookUp(real(), 1)]);
        assert_eq!(bench.feed(Input::Route(real(), 1, Route::Segment(ETH1))), [Action::Resolve(real(), ETH1)]);
        bench
    }

    /// The same, resolved.
    fn resolved() -> Self {
        let mut bench = Self::asked();
        assert_eq!(bench.feed(entry(Nud::Usable, Some(MAC))), [report(on_eth1(MAC), "resolved on eth1")]);
        bench
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(input, self.now)
    }

    /// Lets the time pass, ticking at each deadline, and gives all actions.
    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut actions = Vec::new();
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(deadline);
            actions.extend(self.feed(Input::Tick));
        }
        self.now = end;
        actions
    }
}

/// Each state of the kernel's entry, as the first news of a real and as news of a resolved one:
/// what is done at once, and what within the time that an answer may take.
#[test]
fn each_state_of_an_entry() {
    let none = || report(None, "no answer to ARP requests on eth1");
    let is = |mac| report(on_eth1(mac), "resolved on eth1");
    let ask = || Action::Resolve(real(), ETH1);
    let again = || Action::Repeat(real(), ETH1);
    type Actions = Vec<Action>;
    #[rustfmt::skip]
    let table: Vec<(Input, [Actions; 2], [Actions; 2])> = vec![
        // (news, [at once of a new one, later], [at once of a resolved one, later])
        (entry(Nud::Incomplete, None), [vec![], vec![again(), again(), again(), none()]], [vec![again()], vec![again(), again(), again(), none()]]),
        (entry(Nud::Failed, None), [vec![], vec![ask(), ask(), ask(), none()]], [vec![ask()], vec![ask(), ask(), ask(), none()]]),
        (entry(Nud::Usable, Some(MAC)), [vec![is(MAC)], vec![]], [vec![], vec![]]),
        (entry(Nud::Probe, Some(MAC)), [vec![is(MAC)], vec![]], [vec![], vec![]]),
        (entry(Nud::Fixed, Some(MAC)), [vec![is(MAC)], vec![]], [vec![], vec![]]),
        (entry(Nud::Usable, Some(OTHER_MAC)), [vec![is(OTHER_MAC)], vec![]], [vec![is(OTHER_MAC)], vec![]]),
        (entry(Nud::Usable, None), [vec![], vec![ask(), ask(), ask(), none()]], [vec![ask()], vec![ask(), ask(), ask(), none()]]),
        (Input::NeighbourGone(real(), ETH1), [vec![], vec![ask(), ask(), ask(), none()]], [vec![ask()], vec![ask(), ask(), ask(), none()]]),
        (Input::NeighbourGone(real(), 9), [vec![], vec![ask(), ask(), ask(), none()]], [vec![], vec![]]),
    ];
    for (news, of_new, of_resolved) in table {
        for (mut bench, [at_once, later], name) in
            [(Bench::asked(), of_new, "new"), (Bench::resolved(), of_resolved, "resolved")]
        {
            assert_eq!(bench.feed(news.clone()), at_once, "{name}: {news:?}");
            let mut actions = bench.pass(ANSWER_WITHIN);
            actions.retain(|action| !matches!(action, Action::Confirm(..)));
            if matches!(news, Input::Neighbour(Neighbour { nud: Nud::Probe, .. })) {
                // Nobody answers the probe: `a_real_that_does_not_answer_at_its_mac_address_is_asked_for_by_a_broadcast`.
                actions.retain(|action| !matches!(action, Action::Repeat(..)));
            }
            assert_eq!(actions, later, "{name}, later: {news:?}");
        }
    }
}

#[test]
fn a_real_behind_a_bridge_is_followed_from_port_to_port() {
    let port = |index, name| Link { controller: Some(ETH1), ..link(index, name) };
    let bridge = Link { kind: Some("bridge".to_owned()), ..link(ETH1, "br0") };
    let station = |port| Station { bridge: ETH1, mac: MAC, vlan: 0, port };
    let by =
        |ifindex, by_kernel| Some(Resolved { mac: MAC, ifindex, source_mac: mac_of_link(ETH1), vlan: None, by_kernel });
    let mut bench = Bench::with_interface(Some("br0"));
    let links = vec![bridge, port(7, "eth7"), port(8, "eth8")];
    let known = vec![neighbour(Nud::Usable, Some(MAC))];
    assert_eq!(
        bench.feed(Input::Dump(links.clone(), known.clone(), vec![])),
        [report(by(ETH1, true), "resolved on br0, by br0 as a whole: br0 has not learned by which of its ports")]
    );
    let is = |port, name: &str| [report(by(port, false), &format!("resolved on br0, by {name}"))];
    assert_eq!(bench.feed(Input::Station(station(7))), is(7, "eth7"));
    assert_eq!(bench.feed(Input::Station(Station { mac: OTHER_MAC, ..station(8) })), [], "another one's");
    assert_eq!(bench.feed(Input::Station(station(8))), is(8, "eth8"), "moved");
    assert_eq!(bench.feed(Input::StationGone(station(7))), [], "the old one's end");
    assert_eq!(bench.feed(Input::StationGone(station(8))), [], "forgotten: it is learned from the next answer");
    let down = Link { running: false, ..port(8, "eth8") };
    assert_eq!(bench.feed(Input::Link(down)), is(7, "eth7"), "the only port that runs");
    assert_eq!(bench.feed(Input::Dump(links, known, vec![station(8)])), is(8, "eth8"));
}

#[test]
fn nothing_is_said_before_the_links_are_known() {
    let mut bench = Bench::new();
    assert_eq!(bench.feed(Input::Tick), [Action::LookUp(real(), 1)]);
    assert_eq!(bench.feed(Input::Route(real(), 1, Route::Segment(ETH1))), []);
    assert_eq!(bench.feed(entry(Nud::Usable, Some(MAC))), []);
    let links = vec![link(ETH1, "eth1")];
    assert_eq!(
        bench.feed(Input::Dump(links, vec![neighbour(Nud::Usable, Some(MAC))], vec![])),
        [report(on_eth1(MAC), "resolved on eth1")]
    );
}

/// Each answer of the route look-up.
#[test]
fn each_route() {
    for (route, why) in [
        (
            Route::Gateway("192.0.2.1".to_owned()),
            "not on a segment of this director: its route goes by the gateway 192.0.2.1",
        ),
        (Route::None("no route to it".to_owned()), "no route to it"),
        (Route::Segment(99), "its interface is gone"),
    ] {
        let mut bench = Bench::new();
        bench.feed(Input::Dump(vec![link(ETH1, "eth1")], vec![], vec![]));
        bench.feed(Input::Tick);
        assert_eq!(bench.feed(Input::Route(real(), 1, route.clone())), [report(None, why)], "{route:?} for a new one");
        let mut bench = Bench::resolved();
        bench.feed(Input::RoutesChanged);
        let looked_up = bench.pass(LOOK_UPS_APART * 2);
        assert!(looked_up.contains(&Action::LookUp(real(), 2)), "{looked_up:?}");
        let why = if matches!(route, Route::Segment(_)) { "eth1 is gone" } else { why };
        assert_eq!(
            bench.feed(Input::Route(real(), 2, route.clone())),
            [report(None, why)],
            "{route:?} for a resolved one"
        );
        assert_eq!(bench.feed(Input::Route(real(), 1, Route::Segment(ETH1))), [], "an answer to an older question");
        assert_eq!(
            bench.feed(Input::Route(real(), 3, Route::Segment(ETH1))),
            [report(on_eth1(MAC), "resolved on eth1")],
            "and back"
        );
    }
}

#[test]
fn an_interface_that_the_configuration_names_needs_no_route() {
    let mut bench = Bench::with_interface(Some("eth1"));
    assert_eq!(bench.pass(Duration::from_secs(1)), [], "no look-up, and no word without the links");
    assert_eq!(
        bench.feed(Input::Dump(vec![link(9, "eth9")], vec![], vec![])),
        [report(None, "there is no interface eth1")]
    );
    assert_eq!(bench.feed(Input::Link(link(ETH1, "eth1"))), [Action::Resolve(real(), ETH1)]);
    bench.feed(entry(Nud::Usable, Some(MAC)));
    assert_eq!(bench.feed(Input::Route(real(), 9, Route::Segment(9))), [], "a route's answer changes nothing");
    assert_eq!(bench.feed(Input::Link(link(ETH1, "lan"))), [report(None, "there is no interface eth1")], "renamed");
}

#[test]
fn a_refusal_is_told_in_its_words_until_the_kernel_has_an_entry() {
    let mut bench = Bench::asked();
    let refused = Input::ResolveRefused(real(), ETH1, "the table is full".to_owned());
    assert_eq!(bench.feed(refused), []);
    let later = bench.pass(ANSWER_WITHIN);
    assert_eq!(later.last(), Some(&report(None, "the table is full")));
    assert_eq!(bench.feed(entry(Nud::Incomplete, None)), [report(None, "no answer to ARP requests on eth1")]);
}

#[test]
fn a_resolved_real_is_confirmed_in_its_turn() {
    let mut bench = Bench::resolved();
    let actions = bench.pass(PERIOD * 10);
    let confirms = actions.len();
    assert!((10..=11).contains(&confirms), "{confirms}");
    assert!(actions.iter().all(|action| *action == Action::Confirm(real(), ETH1)));
    bench.feed(entry(Nud::Fixed, Some(MAC)));
    assert_eq!(bench.pass(PERIOD * 3), [], "what is fixed needs none");
    bench.feed(entry(Nud::Usable, Some(MAC)));
    assert_eq!(bench.feed(Input::ConfirmRefused(real(), ETH1)), [Action::Resolve(real(), ETH1)]);
}

#[test]
fn a_real_that_does_not_answer_at_its_mac_address_is_asked_for_by_a_broadcast() {
    let mut bench = Bench::resolved();
    let start = bench.now;
    let again = || Action::Repeat(real(), ETH1);
    while bench.feed(Input::Tick) != [Action::Confirm(real(), ETH1)] {
        bench.now = bench.machine.deadline().unwrap();
    }
    // The kernel's probe goes to the old address; nobody answers there.
    assert_eq!(bench.feed(entry(Nud::Probe, Some(MAC))), []);
    assert_eq!(bench.pass(CONFIRM_WITHIN), [again()]);
    assert!(bench.now - start <= PERIOD + CONFIRM_WITHIN);
    // The broadcast's answer: nothing was told of the time between.
    assert_eq!(bench.feed(entry(Nud::Incomplete, None)), [again()]);
    assert_eq!(bench.feed(entry(Nud::Usable, Some(OTHER_MAC))), [report(on_eth1(OTHER_MAC), "resolved on eth1")]);
    // One that answers in time is left alone.
    let actions = bench.pass(PERIOD * 4);
    assert!(actions.iter().all(|action| *action == Action::Confirm(real(), ETH1)), "{actions:?}");
}

#[test]
fn a_lost_notification_is_made_up_for_by_the_dump() {
    let mut bench = Bench::resolved();
    let links = || vec![link(ETH1, "eth1")];
    let with = |mac| Input::Dump(links(), vec![neighbour(Nud::Usable, Some(mac))], vec![]);
    assert_eq!(bench.feed(with(MAC)), [], "nothing was lost");
    assert_eq!(bench.feed(with(OTHER_MAC)), [report(on_eth1(OTHER_MAC), "resolved on eth1")]);
    assert_eq!(bench.feed(Input::Dump(links(), vec![], vec![])), [Action::Resolve(real(), ETH1)], "the entry is gone");
    assert_eq!(bench.feed(Input::Dump(vec![], vec![], vec![])), [report(None, "eth1 is gone")]);
}

#[test]
fn ten_thousand_reals_are_probed_at_the_pace_and_looked_up_once_per_burst() {
    let mut bench = Bench::new();
    let addresses: HashMap<IpAddr, Option<String>> =
        (0..10_000u32).map(|n| (IpAddr::from((0x0a00_0000 + n).to_be_bytes()), None)).collect();
    bench.machine.set_addresses(addresses.clone(), bench.now);
    let entries =
        addresses.keys().map(|address| Neighbour { address: *address, ..neighbour(Nud::Usable, Some(MAC)) }).collect();
    bench.feed(Input::Dump(vec![link(ETH1, "eth1")], entries, vec![]));
    assert_eq!(bench.pass(Duration::ZERO).len(), 10_000, "look-ups");
    for address in addresses.keys() {
        let told = bench.feed(Input::Route(*address, 1, Route::Segment(ETH1)));
        assert_eq!(told.len(), 1);
    }
    bench.pass(Duration::from_secs(20));
    for second in 0..20 {
        let count = bench.pass(Duration::from_secs(1)).len();
        assert!((700..1300).contains(&count), "{count} in second {second}");
    }
    for _ in 0..100 {
        bench.feed(Input::RoutesChanged);
    }
    let actions = bench.pass(Duration::from_secs(5));
    let look_ups = actions.iter().filter(|action| matches!(action, Action::LookUp(..)));
    assert_eq!(look_ups.count(), 10_000);
}

#[test]
fn addresses_that_stay_keep_their_state_and_those_that_go_are_forgotten() {
    let mut bench = Bench::resolved();
    let other: IpAddr = "192.0.2.50".parse().unwrap();
    let actions = bench.machine.set_addresses(HashMap::from([(real(), None), (other, None)]), bench.now);
    assert_eq!(actions, [Action::Dump]);
    let actions = bench.machine.set_addresses(HashMap::from([(real(), None)]), bench.now);
    assert_eq!(actions, []);
    bench.feed(Input::Tick);
    assert_eq!(bench.feed(Input::Route(other, 2, Route::Segment(ETH1))), []);
    assert_eq!(bench.feed(entry(Nud::Usable, Some(OTHER_MAC))), [report(on_eth1(OTHER_MAC), "resolved on eth1")]);
    bench.machine.set_addresses(HashMap::new(), bench.now);
    assert_eq!(bench.pass(PERIOD * 2), []);
    assert_eq!(bench.machine.deadline(), None);
}
