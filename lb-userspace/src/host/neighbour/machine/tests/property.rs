use proptest::prelude::*;

use super::*;

fn any_input() -> impl Strategy<Value = Input> {
    let nud =
        prop_oneof![Just(Nud::Incomplete), Just(Nud::Usable), Just(Nud::Probe), Just(Nud::Fixed), Just(Nud::Failed)];
    let entry = (nud, any::<bool>()).prop_map(|(nud, other)| {
        let has = !matches!(nud, Nud::Incomplete | Nud::Failed);
        neighbour(nud, has.then_some(if other { OTHER_MAC } else { MAC }))
    });
    let eth1 = (any::<bool>(), any::<bool>()).prop_map(|(up, running)| Link { up, running, ..link(ETH1, "eth1") });
    let route = prop_oneof![
        Just(Route::Segment(ETH1)),
        Just(Route::Gateway("192.0.2.1".to_owned())),
        Just(Route::None("no route to it".to_owned())),
    ];
    prop_oneof![
        (prop::collection::vec(eth1.clone(), 0..2), prop::collection::vec(entry.clone(), 0..2))
            .prop_map(|(links, entries)| Input::Dump(links, entries, vec![])),
        eth1.prop_map(Input::Link),
        Just(Input::LinkGone(ETH1)),
        entry.prop_map(Input::Neighbour),
        Just(Input::NeighbourGone(real(), ETH1)),
        Just(Input::RoutesChanged),
        (0u64..20, route).prop_map(|(number, route)| Input::Route(real(), number, route)),
        Just(Input::ResolveRefused(real(), ETH1, "refused".to_owned())),
        Just(Input::ConfirmRefused(real(), ETH1)),
        Just(Input::Tick),
    ]
}

proptest! {
    /// Whatever comes in whatever order: no report is repeated; what was told last follows, a while later, from the state alone;
    /// and the machine is never busy (a tick moves its deadline on).
    #[test]
    fn what_is_told_follows_from_what_is(
        steps in prop::collection::vec((any_input(), 0u64..3_000), 0..60),
    ) {
        let mut bench = Bench::new();
        let mut told: Option<NeighbourEvent> = None;
        let mut hear = |actions: Vec<Action>| {
            for action in actions {
                if let Action::Report(event) = action {
                    assert_ne!(told.as_ref(), Some(&event), "told twice");
                    told = Some(event);
                }
            }
        };
        for (input, wait) in steps {
            hear(bench.feed(input));
            hear(bench.pass(Duration::from_millis(wait)));
            if let Some(deadline) = bench.machine.deadline() {
                prop_assert!(deadline > bench.now);
            }
        }
        hear(bench.pass(ANSWER_WITHIN * 2));
        let known = &bench.machine.reals[&real()];
        let good = bench.machine.links.all.get(&ETH1).is_some_and(|link| link.up && link.running);
        let expected = match known.path {
            Path::Unknown => return Ok(()),
            _ if !bench.machine.dumped => return Ok(()),
            Path::Segment(_) if good => known.entry().and_then(|(_, mac)| mac),
            Path::Segment(_) | Path::None(_) => None,
        };
        prop_assert_eq!(
            told.as_ref().map(|event| event.state.map(|state| state.mac)),
            Some(expected)
        );
    }
}
