use super::*;

/// Each thing that can be wrong with the interface of a resolved real, and its end.
#[test]
fn each_state_of_the_link() {
    #[rustfmt::skip]
    let table = [
        (Link { up: false, running: false, ..link(ETH1, "eth1") }, "eth1 is down"),
        (Link { running: false, ..link(ETH1, "eth1") }, "eth1 has no carrier"),
        (Link { mac: None, ..link(ETH1, "tun0") }, "tun0 is no Ethernet interface"),
        (Link { vlan: Some(Vlan { parent: None, id: 5 }), ..link(ETH1, "eth1.5") },
            "the interface below the VLAN device eth1.5 is not in this network namespace"),
    ];
    for (bad, why) in table {
        let mut bench = Bench::resolved();
        let is_lost = !bad.running;
        let at_once = bench.feed(Input::Link(bad));
        if is_lost {
            assert_eq!(at_once, [], "it may be back soon");
            let later = bench.pass(FLAP);
            assert!(later.contains(&report(None, why)), "{later:?}");
        } else {
            assert_eq!(at_once, [report(None, why)]);
        }
        // The kernel drops its entries with the carrier.
        assert_eq!(bench.feed(Input::NeighbourGone(real(), ETH1)), []);
        let waiting = bench.pass(Duration::from_secs(60));
        assert!(
            waiting.iter().all(|action| matches!(action, Action::LookUp(..))),
            "nobody is asked meanwhile: {waiting:?}"
        );
        assert_eq!(
            bench.feed(Input::Link(link(ETH1, "eth1"))),
            [Action::Resolve(real(), ETH1)],
            "asked at once when {why} is over"
        );
        assert_eq!(bench.feed(entry(Nud::Usable, Some(MAC))), [report(on_eth1(MAC), "resolved on eth1")]);
    }
    let mut bench = Bench::resolved();
    assert_eq!(bench.feed(Input::LinkGone(ETH1)), [report(None, "eth1 is gone")]);
    let mut bench = Bench::resolved();
    assert_eq!(bench.feed(Input::Link(link(ETH1, "eth1"))), [], "no change");
    let changed = Link { mac: Some(OTHER_MAC), ..link(ETH1, "eth1") };
    let Some(expected) = on_eth1(MAC) else { unreachable!() };
    let expected = Resolved { source_mac: OTHER_MAC, ..expected };
    assert_eq!(
        bench.feed(Input::Link(changed)),
        [report(Some(expected), "resolved on eth1")],
        "the source of frames changed"
    );
}

/// Whatever the kernel tells of a link that is lost and comes back: its entries go, its route goes and comes, and a look-up
/// falls in between or doesn't.
#[test]
fn a_short_loss_of_the_link_leaves_a_real_as_it_was() {
    for (bad, look_up) in [
        (Link { running: false, ..link(ETH1, "eth1") }, false),
        (Link { up: false, running: false, ..link(ETH1, "eth1") }, false),
        (Link { up: false, running: false, ..link(ETH1, "eth1") }, true),
    ] {
        let mut bench = Bench::resolved();
        let mut told = bench.feed(Input::Link(bad));
        told.extend(bench.feed(Input::NeighbourGone(real(), ETH1)));
        if look_up {
            told.extend(bench.pass(LOOK_UPS_APART * 2));
            told.extend(bench.feed(Input::Route(real(), 2, Route::None("no route to it".to_owned()))));
        } else {
            told.extend(bench.pass(FLAP / 50));
        }
        told.extend(bench.feed(Input::Link(link(ETH1, "eth1"))));
        told.extend(bench.pass(LOOK_UPS_APART));
        told.extend(bench.feed(Input::Route(real(), 9, Route::Segment(ETH1))));
        assert!(told.contains(&Action::Resolve(real(), ETH1)), "asked as soon as it can be: {told:?}");
        told.extend(bench.feed(entry(Nud::Usable, Some(MAC))));
        told.extend(bench.pass(FLAP * 2));
        assert!(!told.iter().any(|action| matches!(action, Action::Report(_))), "{told:?}");
    }
}

/// Its process was stopped, or its machine suspended, while the link was lost; the news of its return is unread yet.
#[test]
fn one_that_slept_asks_how_things_are_before_it_says_that_a_real_is_lost() {
    let lost = Link { running: false, ..link(ETH1, "eth1") };
    for gone in [false, true] {
        let mut bench = Bench::resolved();
        assert_eq!(bench.feed(Input::Link(lost.clone())), []);
        if gone {
            bench.feed(Input::NeighbourGone(real(), ETH1));
        }
        bench.now += FLAP * 5;
        let told = bench.feed(Input::Tick);
        assert_eq!(told.iter().filter(|action| **action == Action::Dump).count(), 1, "{told:?}");
        assert!(!told.iter().any(|action| matches!(action, Action::Report(_))), "{told:?}");

        let mut told = bench.feed(Input::Dump(vec![link(ETH1, "eth1")], vec![], vec![]));
        assert!(told.contains(&Action::Resolve(real(), ETH1)), "{told:?}");
        // What was told while it slept comes after what is.
        told.extend(bench.feed(Input::Link(lost.clone())));
        told.extend(bench.feed(Input::Link(link(ETH1, "eth1"))));
        told.extend(bench.feed(entry(Nud::Usable, Some(MAC))));
        told.extend(bench.pass(FLAP * 2));
        assert!(!told.iter().any(|action| matches!(action, Action::Report(_))), "{told:?}");
    }
    // One whose link is lost is lost.
    let mut bench = Bench::resolved();
    bench.feed(Input::Link(lost.clone()));
    bench.now += FLAP * 5;
    bench.feed(Input::Tick);
    let told = bench.feed(Input::Dump(vec![lost], vec![], vec![]));
    assert!(told.contains(&report(None, "eth1 has no carrier")), "{told:?}");
}

#[test]
fn one_that_slept_gives_a_real_its_time_to_answer() {
    let mut bench = Bench::asked();
    bench.now += ANSWER_WITHIN * 4;
    let told = bench.feed(Input::Tick);
    assert!(!told.iter().any(|action| matches!(action, Action::Report(_))), "{told:?}");
    let told = bench.feed(Input::Dump(vec![link(ETH1, "eth1")], vec![], vec![]));
    assert_eq!(told, [Action::Resolve(real(), ETH1)]);
    let told = bench.pass(ANSWER_WITHIN);
    assert!(told.contains(&report(None, "no answer to ARP requests on eth1")), "{told:?}");
}

#[test]
fn a_vlan_devices_frames_leave_by_its_parent_with_its_tag() {
    let vlan = |index, parent| Link { vlan: Some(Vlan { parent: Some(parent), id: 42 }), ..link(index, "eth0.42") };
    let mut bench = Bench::new();
    let links = vec![link(2, "eth0"), vlan(ETH1, 2)];
    bench.feed(Input::Dump(links, vec![neighbour(Nud::Usable, Some(MAC))], vec![]));
    bench.feed(Input::Tick);
    let expected = Resolved { mac: MAC, ifindex: 2, source_mac: mac_of_link(2), vlan: Some(42), by_kernel: false };
    assert_eq!(
        bench.feed(Input::Route(real(), 1, Route::Segment(ETH1))),
        [report(Some(expected), "resolved on eth0.42")]
    );
    let down = Link { up: false, ..link(2, "eth0") };
    assert_eq!(bench.feed(Input::Link(down)), []);
    assert!(bench.pass(FLAP).contains(&report(None, "eth0 is down")));
    bench.feed(Input::Link(vlan(2, 1)));
    bench.feed(Input::Link(link(1, "eth0")));
    let actions = bench.feed(Input::Link(Link { name: "q".to_owned(), ..vlan(ETH1, 2) }));
    assert_eq!(actions, [report(None, "q is a VLAN device on a VLAN device: only one is supported")]);
}
