//! Plans of three, four and five directors, and of more, each looked at after every possible loss.

use std::path::Path;

use super::*;
use crate::config::parse;

fn demand(directors: usize, survive: usize, traffic: &str, link: &str) -> Demand {
    Demand { directors, survive, traffic: traffic.parse().unwrap(), link: link.parse().unwrap(), headroom: 20 }
}

fn sections() -> Sections {
    Sections { interface: "eth1".to_owned(), first_address: "172.28.128.210/24".parse().unwrap(), first_id: 1 }
}

/// Every set of at most `survive` directors, found by counting, not by the plan's own way.
fn every_loss(directors: usize, survive: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for _ in 0..survive {
        let longer: Vec<Vec<usize>> = all
            .iter()
            .flat_map(|loss: &Vec<usize>| {
                let from = loss.last().map_or(0, |last| last + 1);
                (from..directors).map(move |next| [loss.clone(), vec![next]].concat())
            })
            .collect();
        all.extend(longer);
        all.sort();
        all.dedup();
    }
    all
}

#[test]
fn three_vips_leave_a_survivor_full_and_six_do_not() {
    let lab = demand(3, 1, "1.5G", "1G");
    let three = plan_of(lab, 3).unwrap();
    assert_eq!(three.load(three.worst()).to_string(), "1 Gb/s");
    assert!(!three.fits());

    let six = plan(lab).unwrap();
    assert_eq!(six.trials, [Trial { vips: 3, worst: 2 }, Trial { vips: 6, worst: 3 }]);
    assert_eq!(six.load(six.worst()).to_string(), "750 Mb/s");
    for director in 0..3 {
        let own: Vec<_> = six.orders.iter().filter(|order| order[0] == director).collect();
        assert_eq!(own.len(), 2, "two VIPs for each director");
        assert_ne!(own[0][1], own[1][1], "their standbys are different directors");
    }
    for lost in 0..3 {
        let held: Vec<usize> = six.held(&[lost]).into_iter().flatten().collect();
        assert_eq!(held, [3, 3]);
    }
    // Links that may be full need no more than one VIP each.
    assert_eq!(plan(Demand { headroom: 0, ..lab }).unwrap().orders.len(), 3);
}

#[test]
fn every_plan_holds_after_every_loss() {
    for (directors, survive) in [(3, 1), (3, 2), (4, 1), (4, 2), (5, 1), (5, 2), (8, 3), (12, 2)] {
        let left = directors - survive;
        // Traffic that fills the survivors' links to 76 % of 80 % and more, if it is even.
        for part in [30, 50, 60, 70, 76] {
            let traffic = format!("{}M", left * part * 10);
            let demand = demand(directors, survive, &traffic, "1G");
            let plan = plan(demand).unwrap();
            let losses = every_loss(directors, survive);
            assert_eq!(plan.losses().len(), losses.len());
            for lost in losses {
                let held = plan.held(&lost);
                assert_eq!(held.iter().flatten().sum::<usize>(), plan.orders.len(), "no VIP is lost");
                for (director, count) in held.iter().enumerate() {
                    assert_eq!(count.is_none(), lost.contains(&director));
                    let load = plan.load(count.unwrap_or(0)).bits();
                    assert!(load <= 800_000_000, "{directors} - {lost:?}: {load} on {director} of {part} %");
                }
            }
            let peace: Vec<_> = plan.held(&[]);
            assert!(peace.iter().all(|count| *count == peace[0]), "all are equal in peace");
        }
    }
}

#[test]
fn an_order_names_every_director_once() {
    for directors in 2..=MAX_DIRECTORS {
        for vips in [1, directors - 1, directors, 3 * directors + 1, 60] {
            for mut order in order::orders(directors, vips, vips) {
                order.sort_unstable();
                assert_eq!(order, (0..directors).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn three_to_six_directors_spread_as_evenly_as_numbers_allow() {
    let mut off = Vec::new();
    for (directors, survive) in [(3, 1), (3, 2), (4, 1), (4, 2), (4, 3), (5, 1), (5, 2), (5, 3), (6, 1), (6, 2)] {
        for round in 1..=20 {
            let demand = Demand { headroom: 0, ..demand(directors, survive, "1M", "1G") };
            let plan = plan_of(demand, round * directors).unwrap();
            let even = plan.orders.len().div_ceil(directors - survive);
            if plan.worst() > even {
                off.push((directors, survive, plan.orders.len(), plan.worst(), even));
            }
        }
    }
    // Of 12 VIPs over 6 directors, an even spread after each loss of two asks for standbys that serve one director
    // alone, of which there would have to be 12.
    assert_eq!(off, [(6, 2, 12, 4, 3)]);
}

#[test]
fn what_cannot_be_done_is_said_with_what_would_do() {
    let cases = [
        (
            demand(3, 2, "1.5G", "1G"),
            "it can't be done: 1.5 Gb/s over 1 director is 1.5 Gb/s on each link,\n\
             but 20 % headroom leaves 800 Mb/s of its 1 Gb/s.\nPlan with --directors 4, or with a smaller --survive.",
        ),
        (
            Demand { headroom: 0, ..demand(2, 0, "3G", "1G") },
            "it can't be done: 3 Gb/s over 2 directors is 1.5 Gb/s on each link,\nbut a link carries 1 Gb/s.\n\
             Plan with --directors 3.",
        ),
        (
            demand(3, 1, "1.9G", "1G"),
            "it can't be done: 1.9 Gb/s over 2 directors is 950 Mb/s on each link,\n\
             but 20 % headroom leaves 800 Mb/s of its 1 Gb/s.\nPlan with --directors 4, or with less --headroom.",
        ),
        (
            demand(3, 1, "100G", "1G"),
            "it can't be done: 100 Gb/s over 2 directors is 50 Gb/s on each link,\n\
             but 20 % headroom leaves 800 Mb/s of its 1 Gb/s.\nPlan with faster links.",
        ),
        (demand(1, 0, "1G", "1G"), "1 directors can't be planned: give 2 to 12"),
        (demand(3, 3, "1G", "1G"), "of 3 directors, 3 can't be lost: give --survive 0 to 2"),
        (Demand { headroom: 95, ..demand(3, 1, "1G", "1G") }, "a headroom of 95 % is out of range: give 0 to 90"),
    ];
    for (demand, expected) in cases {
        assert_eq!(plan(demand).unwrap_err().to_string(), expected);
    }
    assert!(plan_of(demand(3, 1, "1G", "1G"), 256).is_err());
    // 800 Mb/s on each link fit only if all 12 spread to the bit.
    let error = plan(demand(12, 5, "5.599G", "1G")).unwrap_err().to_string();
    assert!(error.starts_with("it can't be done: the best spread, with "), "{error}");
}

#[test]
fn the_files_are_accepted_and_agree() {
    for (directors, survive) in [(3, 1), (4, 2), (5, 2)] {
        let demand = demand(directors, survive, "1.5G", "1G");
        let plan = plan(demand).unwrap();
        let files = sections().files(&plan, "lb plan").unwrap();
        assert_eq!(files.len(), directors);
        let configs: Vec<_> = files
            .iter()
            .map(|file| {
                let text = format!("[director]\ninterfaces = [\"eth1\"]\n{}", file.text);
                parse(Path::new(&file.name), &text).unwrap().config
            })
            .collect();
        for (number, order) in plan.orders.iter().enumerate() {
            let routers: Vec<_> = configs.iter().map(|config| &config.vrrp[number]).collect();
            assert!(routers.iter().all(|one| one.id == routers[0].id && one.addresses == routers[0].addresses));
            let mut by_priority: Vec<usize> = (0..directors).collect();
            by_priority.sort_by_key(|&director| std::cmp::Reverse(routers[director].priority));
            assert_eq!(by_priority, *order);
        }
    }
}

#[test]
fn addresses_and_ids_that_run_out_are_told_so() {
    let near = Sections { first_address: "172.28.128.250/24".parse().unwrap(), ..sections() };
    assert_eq!(near.numbers(5).unwrap()[4].0.to_string(), "172.28.128.254/24");
    assert_eq!(
        near.numbers(6).unwrap_err().to_string(),
        "6 VIPs from 172.28.128.250/24 on don't fit in 172.28.128.0/24: give a lower --addresses"
    );
    let late = Sections { first_id: 250, ..sections() };
    assert_eq!(late.numbers(6).unwrap()[5].1, 255);
    assert_eq!(late.numbers(7).unwrap_err().to_string(), "7 ids from 250 on go beyond 255: give --id 249 or less");
    let alone = Sections { first_address: "192.0.2.255/32".parse().unwrap(), ..sections() };
    assert_eq!(alone.numbers(2).unwrap()[1].0.to_string(), "192.0.3.0/32");
}

#[test]
fn the_report_fits_80_columns() {
    let long = Sections { first_address: "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1/112".parse().unwrap(), ..sections() };
    for (directors, survive, traffic, link) in
        [(2, 1, "1k", "2k"), (3, 1, "1.5G", "1G"), (12, 3, "600G", "100G"), (12, 1, "6.9T", "999G")]
    {
        let plan = plan(demand(directors, survive, traffic, link)).unwrap();
        let low = Sections { first_address: "172.28.128.1/24".parse().unwrap(), ..sections() };
        for sections in [low, long.clone()] {
            let numbers = sections.numbers(plan.orders.len()).unwrap();
            let text = Report::new(&plan, &numbers).to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}

#[test]
fn the_page_shows_what_is_printed() {
    let plan = plan(demand(3, 1, "1.5G", "1G")).unwrap();
    let report = Report::new(&plan, &sections().numbers(6).unwrap()).to_string();
    let page = include_str!("../../../docs/plan.md");
    assert!(page.contains(&report), "{report}");
    let file = &sections().files(&plan, "lb plan --directors 3 --traffic 1.5G --link 1G --write plan").unwrap()[0];
    let first: String = file.text.split_inclusive('\n').take(9).collect();
    assert!(page.contains(&first), "{first}");
}
