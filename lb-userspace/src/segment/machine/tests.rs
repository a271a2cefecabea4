//! Histories of questions and answers.

use super::*;

const MAC: Mac = [2, 0, 0, 0, 0, 0x40];
const VIP: &str = "192.0.2.1";

fn vips(all: &[&str]) -> Vips {
    all.iter().map(|vip| (vip.parse().unwrap(), "eth1".to_owned())).collect()
}

fn says(address: &str, mac: Mac) -> Says {
    Says { address: address.parse().unwrap(), mac, is_answer: true }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Asks whenever it is due until `end`; stations answer where `answers` says so, at once. The seconds of questions, and
/// those at which the claims became others, with how many there are.
fn play(end: u64, answers: impl Fn(u64) -> Vec<Mac>) -> (Vec<u64>, Vec<(u64, usize)>) {
    let mut machine = Machine::default();
    machine.follow(&vips(&[VIP]), Duration::ZERO);
    let (mut asked, mut told, mut last) = (Vec::new(), Vec::new(), 0);
    while let Some(now) = machine.deadline().filter(|now| *now <= seconds(end)) {
        let second = now.as_secs();
        assert_eq!(machine.ask(now), [VIP.parse::<IpAddr>().unwrap()]);
        asked.push(second);
        let count = machine.claims().count();
        if count != last {
            told.push((second, count));
            last = count;
        }
        for mac in answers(second) {
            machine.heard(says(VIP, mac), now);
        }
    }
    (asked, told)
}

#[test]
fn questions_and_what_is_told() {
    type Row = (&'static str, fn(u64) -> Vec<Mac>, &'static [u64], &'static [(u64, usize)]);
    let table: [Row; 6] = [
        ("nobody", |_| vec![], &[0, 30, 60], &[]),
        ("one from the start", |_| vec![MAC], &[0, 1, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57], &[(2, 1)]),
        ("one that hands over", |second| if second == 0 { vec![MAC] } else { vec![] }, &[0, 1, 2, 32], &[]),
        (
            "one that is mended",
            |second| if second < 5 { vec![MAC] } else { vec![] },
            &[0, 1, 2, 7, 12, 13, 43],
            &[(2, 1), (13, 0)],
        ),
        (
            "an answer is lost",
            |second| if second == 7 { vec![] } else { vec![MAC] },
            &[0, 1, 2, 7, 12, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58],
            &[(2, 1)],
        ),
        (
            "two, and later",
            |second| if second < 30 { vec![] } else { vec![MAC, [2; 6]] },
            &[0, 30, 31, 32, 37, 42, 47, 52, 57],
            &[(32, 2)],
        ),
    ];
    for (name, answers, asked, told) in table {
        assert_eq!(play(60, answers), (asked.to_vec(), told.to_vec()), "{name}");
    }
}

#[test]
fn a_flood_is_bounded_and_other_addresses_are_nobodys() {
    let mut machine = Machine::default();
    machine.follow(&vips(&[VIP]), Duration::ZERO);
    for round in 0..3 {
        machine.ask(seconds(round));
        for last in 0..=255 {
            machine.heard(says(VIP, [2, 0, 0, 0, 0, last]), seconds(round));
            machine.heard(says("192.0.2.9", MAC), seconds(round));
        }
    }
    assert_eq!((machine.claims().count(), machine.vips.len()), (MOST, 1));
    // Nor does it make questions come faster.
    assert_eq!(machine.deadline(), Some(seconds(2) + CLAIMED));
}

#[test]
fn what_is_no_longer_had_is_forgotten_and_what_is_new_is_asked_for_at_once() {
    let mut machine = Machine::default();
    machine.follow(&vips(&[VIP, "2001:db8::1"]), Duration::ZERO);
    assert_eq!(machine.ask(Duration::ZERO).len(), 2);
    machine.follow(&vips(&["2001:db8::1", "192.0.2.2"]), seconds(9));
    assert_eq!(machine.ask(seconds(9)), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
    machine.heard(says(VIP, MAC), seconds(9));
    machine.follow(&Vips::new(), seconds(9));
    assert_eq!((machine.deadline(), machine.claims().count()), (None, 0));
}

#[test]
fn an_announcement_of_another_is_asked_about_soon_and_proves_nothing() {
    let mut machine = Machine::default();
    machine.follow(&vips(&[VIP]), Duration::ZERO);
    machine.ask(Duration::ZERO);
    for second in 10..20 {
        machine.heard(Says { is_answer: false, ..says(VIP, MAC) }, seconds(second));
        assert_eq!(machine.deadline(), Some(seconds(second + 1)));
        machine.ask(seconds(second + 1));
    }
    assert_eq!((machine.claims().count(), machine.deadline()), (0, Some(seconds(20) + INTERVAL)));
}
