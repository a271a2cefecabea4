//! Rings through changes, sweeps and what other directors tell.

use lb_common::maps::Real;
use lb_common::ring::Member;
use zerocopy::FromZeros as _;

use super::super::Pool;
use super::*;

const SIZE: u32 = 251;

/// One ring over these reals; those of weight 0 only live.
fn desired(weights: &[(u16, u32)]) -> Desired {
    let address = |number: u16| lb_common::maps::mapped([10, 0, 0, number as u8]);
    let real = |(number, _): &(u16, u32)| (*number, Real { flags: Real::USABLE, ..Real::new_zeroed() });
    let member = |(number, weight): &(u16, u32)| Member { address: address(*number), weight: *weight, real: *number };
    let members = weights.iter().map(member).filter(|member| member.weight > 0).collect();
    Desired {
        pools: BTreeMap::from([(0, Pool { room: 8, reals: weights.iter().map(real).collect() })]),
        rings: BTreeMap::from([(
            4,
            Ring { pool: 0, seed: 0, size: SIZE, members, in_use: true, taken: None, holds: false },
        )]),
        ..Desired::default()
    }
}

fn now(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn states(words: &Vec<u32>) -> [usize; 3] {
    let count = |state| (4..4 + SIZE).filter(|index| Slot::of(words.word(*index)).state() == state).count();
    [State::Settled, State::Moving, State::Exceptions].map(count)
}

#[test]
fn a_real_that_joins_moves_its_share_and_leaves_the_rest() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    assert_eq!(states(&words), [251, 0, 0]);
    slots.write(&mut words, &desired(&[(1, 1), (2, 1), (3, 1)]), &BTreeSet::new(), now(1));
    let [settled, moving, _] = states(&words);
    assert!((84..=100).contains(&moving) && settled + moving == 251, "{moving}");
    assert!(!slots.give_up_bases(&mut words, now(900), now(900)), "not yet");
    assert!(slots.give_up_bases(&mut words, now(901), now(900)));
    assert_eq!(states(&words), [settled, 0, moving]);
    let open = slots.open(&words, now(900), FlowTimes::default());
    let (&one, &current) = open.rings[&4].1.iter().next().unwrap();
    assert_eq!((open.current(4, one), open.current(5, one), current), (Some(3), None, 3));
    slots.settle(&mut words, &open, &HashSet::from([(4, one)]));
    assert_eq!((states(&words), slots.unsettled()), ([250, 0, 1], 1));
}

#[test]
fn what_is_written_first_is_as_what_is_written_at_once() {
    let wanted =
        [&[(1, 1), (2, 1), (3, 2)][..], &[(1, 1), (2, 0), (3, 2)], &[(1, 1), (3, 2)], &[(1, 1), (2, 1), (3, 2)]];
    let mut sides = [(vec![0; 300], Slots::default()), (vec![0; 300], Slots::default())];
    for (second, wanted) in (0..).zip(wanted.into_iter().cycle().take(12)) {
        let wanted = desired(wanted);
        let [(words, slots), (other_words, other)] = &mut sides;
        slots.write_part(words, &Part { pools: wanted.pools.clone(), rings: wanted.rings.clone() }, now(second));
        if second > 0 {
            other.write(other_words, &wanted, &BTreeSet::new(), now(second));
            assert_eq!((&*words, slots.unsettled()), (&*other_words, other.unsettled()), "step {second}");
        }
        let before = words.clone();
        slots.write(words, &wanted, &BTreeSet::new(), now(second));
        other.write(other_words, &wanted, &BTreeSet::new(), now(second));
        assert!(second == 0 || *words == before, "step {second}: nothing is left to be done");
        assert_eq!(words, other_words, "step {second}");
    }
}

#[test]
fn a_sweep_says_nothing_of_a_ring_that_changed_meanwhile() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    let both = desired(&[(1, 1), (2, 1)]);
    slots.write(&mut words, &both, &BTreeSet::new(), now(0));
    slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
    slots.write(&mut words, &both, &BTreeSet::new(), now(2));
    let open = slots.open(&words, now(900), FlowTimes::default());
    slots.write(&mut words, &desired(&[(1, 0), (2, 1)]), &BTreeSet::new(), now(3));
    slots.write(&mut words, &both, &BTreeSet::new(), now(4));
    let before = states(&words);
    slots.settle(&mut words, &open, &HashSet::new());
    assert_eq!(states(&words), before);
}

#[test]
fn slots_of_the_dead_are_no_base() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    // Quiesced, then dead.
    slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
    let [_, moving, _] = states(&words);
    assert_eq!(slots.named(&words, 4), BTreeSet::from([1, 2]));
    slots.write(&mut words, &desired(&[(1, 1)]), &BTreeSet::new(), now(2));
    assert_eq!(states(&words), [251 - moving, 0, moving]);
    assert_eq!(slots.named(&words, 4), BTreeSet::from([1]));
}

#[test]
fn what_a_dead_real_left_in_the_table_is_asked_for_until_a_sweep_has_ended_it() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    slots.write(&mut words, &desired(&[(1, 1)]), &BTreeSet::new(), now(1));
    let [settled, moving, exceptions] = states(&words);
    assert!(moving == 0 && exceptions > 100 && settled + exceptions == 251, "{exceptions}");
    let open = slots.open(&words, now(1), FlowTimes::default());
    slots.settle(&mut words, &open, &HashSet::new());
    assert_eq!(states(&words), [251, 0, 0]);
}

#[test]
fn what_was_pinned_goes_on() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
    let before = (words.clone(), slots.unsettled());
    let mut next = Slots::default();
    next.adopt(&words, 4, SIZE, now(100));
    next.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(100));
    assert_eq!((words.clone(), next.unsettled()), before);
    assert!(!next.give_up_bases(&mut words, now(950), now(900)));
    assert!(next.give_up_bases(&mut words, now(1000), now(900)));
}

#[test]
fn a_pool_that_outgrows_its_room_moves_nobody() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    let before = words.clone();
    // A third real, and the pool is at 8 now.
    let mut grown = desired(&[(1, 1), (2, 1), (3, 1)]);
    grown.pools = grown.pools.into_values().map(|pool| (8, pool)).collect();
    grown.rings.values_mut().for_each(|ring| ring.pool = 8);
    slots.write(&mut words, &grown, &BTreeSet::new(), now(1));
    let owner = |words: &Vec<u32>, index| Slot::of(words.word(index)).owner();
    assert!((4..4 + SIZE).all(|index| owner(&before, index) == owner(&words, index)));
    assert!(states(&words)[1] > 0, "the third has its share");
}

#[test]
fn a_ring_that_another_director_uses_is_always_settled() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    let unused = |mut desired: Desired| {
        desired.rings.values_mut().for_each(|ring| ring.in_use = false);
        desired
    };
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
    slots.write(&mut words, &unused(desired(&[(1, 1), (2, 0)])), &BTreeSet::new(), now(2));
    assert_eq!(states(&words), [251, 0, 0]);
    slots.write(&mut words, &unused(desired(&[(1, 1), (2, 1)])), &BTreeSet::new(), now(3));
    let before = words.clone();
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(4));
    assert_eq!((states(&words), words), ([251, 0, 0], before), "and is taken over as it is");
}

#[test]
fn a_ring_whose_flows_were_all_remembered_asks_the_table() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    let both = desired(&[(1, 1), (2, 1)]);
    slots.write(&mut words, &both, &BTreeSet::new(), now(0));
    slots.write(&mut words, &both, &BTreeSet::from([4]), now(1));
    assert_eq!(states(&words), [0, 0, 251]);
}

#[test]
fn what_changed_is_told_to_whom_has_heard_and_all_to_whom_hasnt() {
    let (mut words, mut slots, mut told) = (vec![0; 300], Slots::default(), BTreeMap::new());
    let service = |port| Service {
        key: ServiceKey { port: [0, port], ..ServiceKey::new_zeroed() },
        ring: 4,
        ring_size: SIZE,
        ..Service::FREE
    };
    let one = BTreeMap::from([(4, vec![service(80)])]);
    let both = BTreeMap::from([(4, vec![service(80), service(81)])]);
    let count = |news: Vec<SlotNews>| -> Vec<_> {
        let ports = |news: &SlotNews| news.services.iter().map(|service| service.key.port[1]).collect::<Vec<_>>();
        news.iter().map(|news| (ports(news), news.whole, news.slots.len())).collect()
    };
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    assert_eq!(count(slots.news(&words, &one, &mut told)), [(vec![80], true, 0)]);
    slots.write(&mut words, &desired(&[(1, 1), (2, 1), (3, 1)]), &BTreeSet::new(), now(1));
    let moving = states(&words)[1];
    assert_eq!(count(slots.news(&words, &one, &mut told)), [(vec![80], false, moving)]);
    assert!(slots.news(&words, &one, &mut told).is_empty());
    assert_eq!(count(slots.news(&words, &both, &mut told)), [(vec![81], true, moving)]);
    // Each of them gets another word, or is settled again: it is told once.
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(2));
    let news = slots.news(&words, &both, &mut told);
    assert!(news.iter().all(|news| news.slots.iter().all(|(slot, held)| held.word() == words[4 + *slot as usize])));
    assert_eq!(count(news), [(vec![80, 81], false, moving)]);
}

#[test]
fn flows_that_were_opening_without_keys_are_waited_for() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    let both = desired(&[(1, 1), (2, 1)]);
    slots.write(&mut words, &both, &BTreeSet::new(), now(0));
    slots.write(&mut words, &both, &BTreeSet::from([4]), now(1));
    assert!(slots.open(&words, now(61), FlowTimes::default()).is_empty());
    assert!(!slots.open(&words, now(130), FlowTimes::default()).is_empty());
}

#[test]
fn slots_of_a_ring_that_isnt_in_use_wait_for_whoever_has_it() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    let mut idle = desired(&[(1, 1), (2, 1)]);
    let mut of_the_first = (0..).zip(idle.rings[&4].targets()).filter(|(_, real)| *real == 1).map(|(slot, _)| slot);
    let told = [2, 0].map(|base| (of_the_first.next().unwrap(), Slot { current: 1, base }));
    let told = told.to_vec();
    let ring = idle.rings.get_mut(&4).unwrap();
    let taken = super::super::Taken { members: ring.members.clone(), slots: told, loose: false };
    (ring.in_use, ring.taken) = (false, Some(taken));
    slots.write(&mut words, &idle, &BTreeSet::new(), now(0));
    assert_eq!(states(&words), [249, 1, 1]);
    assert!(slots.open(&words, now(2000), FlowTimes::default()).is_empty());
    assert!(!slots.give_up_bases(&mut words, now(2000), now(900)));
    // It takes over: flows of the base may have spoken until now.
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(2000));
    assert!(!slots.give_up_bases(&mut words, now(2899), now(900)));
    assert!(slots.give_up_bases(&mut words, now(2900), now(900)));
    assert!(!slots.open(&words, now(2900), FlowTimes::default()).is_empty());
}

#[test]
fn a_real_that_isnt_known_here_leaves_others_their_slots() {
    let mut idle = desired(&[(1, 1), (2, 1)]);
    let all = desired(&[(1, 1), (2, 1), (3, 1)]).rings[&4].clone();
    let ring = idle.rings.get_mut(&4).unwrap();
    let mut members = all.members.clone();
    members[2].real = 0;
    ring.taken = Some(super::super::Taken { members, ..Default::default() });
    for ((held, there), own) in ring.idle().into_iter().zip(all.targets()).zip(ring.targets()) {
        let expected = if there == 3 { Slot { current: own, base: 0 } } else { Slot::settled(there) };
        assert_eq!(held, expected);
    }
    // Where every connection is remembered there, and not here.
    ring.taken.as_mut().unwrap().loose = true;
    assert!(ring.idle().iter().all(|slot| slot.state() == State::Exceptions));
}

#[test]
fn the_words_stay_while_nobody_says_that_he_has_the_ring() {
    let (mut words, mut slots) = (vec![0; 300], Slots::default());
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    let mut idle = desired(&[(1, 1), (2, 1), (3, 1)]);
    slots.write(&mut words, &idle, &BTreeSet::new(), now(1));
    let before = words.clone();
    let ring = idle.rings.get_mut(&4).unwrap();
    (ring.in_use, ring.holds) = (false, true);
    slots.write(&mut words, &idle, &BTreeSet::new(), now(2));
    assert_eq!(words, before);
    idle.rings.get_mut(&4).unwrap().in_use = true;
    slots.write(&mut words, &idle, &BTreeSet::new(), now(3));
    assert_eq!(words, before, "it has it again");
}

#[test]
fn another_ring_in_the_same_place_is_told() {
    let (mut words, mut slots, mut told) = (vec![0; 300], Slots::default(), BTreeMap::new());
    let service = Service { ring: 4, ring_size: SIZE, ..Service::FREE };
    let all = BTreeMap::from([(4, vec![service])]);
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    slots.news(&words, &all, &mut told);
    slots.write(&mut words, &Desired::default(), &BTreeSet::new(), now(1));
    let mut other = desired(&[(1, 1), (2, 1)]);
    let ring = other.rings.get_mut(&4).unwrap();
    let slot = (3, Slot { current: 1, base: 2 });
    let taken = super::super::Taken { members: ring.members.clone(), slots: vec![slot], loose: false };
    (ring.in_use, ring.taken) = (false, Some(taken));
    slots.write(&mut words, &other, &BTreeSet::new(), now(2));
    let news = slots.news(&words, &all, &mut told);
    assert_eq!(news.first().map(|news| news.slots.clone()), Some(vec![slot]));
}

#[test]
fn a_copy_goes_on_as_the_ring_that_it_is_of() {
    let (mut words, mut slots) = (vec![0; 600], Slots::default());
    slots.write(&mut words, &desired(&[(1, 1), (2, 1)]), &BTreeSet::new(), now(0));
    slots.write(&mut words, &desired(&[(1, 1), (2, 0)]), &BTreeSet::new(), now(1));
    let before = words.clone();
    let mut two = desired(&[(1, 1), (2, 0)]);
    let ring = Ring { pool: 8, ..two.rings[&4].clone() };
    two.pools.insert(8, two.pools[&0].clone());
    two.rings.insert(300, ring);
    two.copies.insert(300, 4);
    assert!(!slots.are_equal(&words, 4, 300));
    slots.write(&mut words, &two, &BTreeSet::new(), now(2));
    assert_eq!(words[300..300 + SIZE as usize], before[4..4 + SIZE as usize]);
    assert!(!slots.are_equal(&words, 4, 300), "some flows are remembered");
    // From now on each is its own.
    let mut apart = two.clone();
    apart.rings.get_mut(&300).unwrap().members.clear();
    slots.write(&mut words, &apart, &BTreeSet::new(), now(3));
    assert_eq!(words[..300], before[..300]);
    assert_ne!(words[300..300 + SIZE as usize], before[4..4 + SIZE as usize]);
    slots.write(&mut words, &two, &BTreeSet::new(), now(4));
    assert!(slots.give_up_bases(&mut words, now(2000), now(900)));
    let open = slots.open(&words, now(2000), FlowTimes::default());
    slots.settle(&mut words, &open, &HashSet::new());
    assert!(slots.are_equal(&words, 4, 300));
}
