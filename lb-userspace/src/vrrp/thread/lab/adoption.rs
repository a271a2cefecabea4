//! What an agent that was killed leaves behind, and what the next one does with it.

use super::*;

const VIP: &str = "10.77.0.100/24";

#[test]
fn a_killed_agent_adopts_its_addresses_when_it_comes_back() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, "3 1000 200 10.77.0.100/24");
    high.wait_for("master");
    let mut low = lab.runner(B, "3 1000 100 10.77.0.100/24");
    low.wait_for("backup");
    drop(high);
    assert!(lab.holds(A, VIP), "nobody removed it");
    let mut high = lab.runner(A, "3 1000 200 10.77.0.100/24");
    high.wait_for("backup: found its addresses on the interface");
    assert!(lab.holds(A, VIP), "it stays meanwhile");
    high.wait_for("master: found its addresses on the interface");
    // Two intervals' adverts later the backup has seen no reason to move.
    low.command("status");
    let seen = low.wait_for("status").received;
    while low.status_after(Duration::from_millis(100)).received < seen + 2 {}
    assert_eq!(low.status_after(Duration::ZERO).state, "backup");

    drop(high);
    low.wait_for("master: the master was not heard any more");
}

#[test]
fn a_killed_agent_displaces_nobody_that_it_may_not() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, &format!("meek 3 100 200 {VIP}"));
    high.wait_for("master");
    let mut low = lab.runner(B, &format!("meek 3 100 100 {VIP}"));
    low.wait_for("backup");
    drop(high);
    low.wait_for("master: the master was not heard any more");
    assert!(lab.holds(A, VIP), "two have it");
    let mut high = lab.runner(A, &format!("meek 3 100 200 {VIP}"));
    high.wait_for("backup: found its addresses on the interface");
    lab.until("it is given up", || !lab.holds(A, VIP));
    for _ in 0..10 {
        assert_eq!(high.status_after(Duration::from_millis(50)).state, "backup");
        assert_eq!(low.status_after(Duration::ZERO).state, "master");
    }
    assert!(lab.holds(B, VIP));
    drop(low);
    high.wait_for("master: the master was not heard any more");
}

#[test]
fn a_release_outlives_its_agent() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, &format!("3 100 200 {VIP}"));
    high.wait_for("master");
    let mut low = lab.runner(B, &format!("3 100 100 {VIP}"));
    low.wait_for("backup");
    high.command("release");
    high.wait_for("backup: its successor was heard");
    low.wait_for("master");
    drop(high);
    let mut high = lab.runner(A, &format!("3 100 200 {VIP}"));
    high.wait_for("backup: started");
    for _ in 0..10 {
        assert_eq!(high.status_after(Duration::from_millis(100)).state, "backup");
    }
    high.command("reclaim");
    high.wait_for("master: the master had a lower priority");
    drop(high);
    low.wait_for("master");
    let mut high = lab.runner(A, &format!("3 100 200 {VIP}"));
    high.wait_for("master: the master had a lower priority");
}

#[test]
fn an_agent_that_is_killed_behind_an_address_leaves_none_that_is_nobodys() {
    let Some(lab) = Lab::new() else { return };
    let mut high = lab.runner(A, &format!("dies 3 100 200 {VIP}"));
    assert!(!high.ends());
    assert!(lab.holds(A, VIP));
    // Its section is gone from the configuration that the next one reads.
    let mut other = lab.runner(A, "3 100 200 10.77.0.101/24");
    other.wait_for("master");
    assert!(!lab.holds(A, VIP));
}

#[test]
fn an_address_that_was_there_before_is_no_killed_agents() {
    let Some(lab) = Lab::new() else { return };
    lab.ip(A, &format!("addr add {VIP} dev eth0"));
    let mut high = lab.runner(A, &format!("dies 3 100 200 {VIP}"));
    assert!(!high.ends());
    let mut other = lab.runner(A, "3 100 200 10.77.0.101/24");
    other.wait_for("master");
    assert!(lab.holds(A, VIP));
}
