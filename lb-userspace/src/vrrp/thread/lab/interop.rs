//! lb and Debian's keepalived, each as master with the other as its backup.

use std::time::Duration;

use super::segment::{A, B, KEEPALIVED, Lab};

/// One way of running the protocol, in both programs' words.
struct Way {
    version: u8,
    milliseconds: u64,
    vip: &'static str,
    password: Option<&'static str>,
    unicast: bool,
    virtual_mac: bool,
}

const V3: Way =
    Way { version: 3, milliseconds: 100, vip: "10.77.0.100/24", password: None, unicast: false, virtual_mac: false };

impl Way {
    fn ours(&self, priority: u8) -> String {
        let Self { version, milliseconds, vip, .. } = self;
        let password = self.password.unwrap_or("-");
        let peer = if self.unicast { "10.77.0.12" } else { "-" };
        let mac = if self.virtual_mac { "mac " } else { "" };
        format!("{mac}{version} {milliseconds} {priority} {vip} {password} {peer}")
    }

    fn theirs(&self, priority: u8) -> String {
        let Self { version, milliseconds, vip, .. } = self;
        let seconds = *milliseconds as f64 / 1000.0;
        let password = self
            .password
            .map_or(String::new(), |password| format!("authentication {{\nauth_type PASS\nauth_pass {password}\n}}\n"));
        let mac = if self.virtual_mac { "use_vmac\n" } else { "" };
        let peer = if self.unicast { "unicast_peer {\n10.77.0.11\n}\n" } else { "" };
        format!(
            "global_defs {{\nvrrp_version {version}\n}}\nvrrp_instance web {{\nstate BACKUP\n\
             interface eth0\nvirtual_router_id 51\npriority {priority}\nadvert_int {seconds}\n\
             {mac}{password}{peer}virtual_ipaddress {{\n{vip}\n}}\n}}\n"
        )
    }

    fn take_over_both_ways(&self) {
        let Some(lab) = Lab::new() else { return };
        if !std::path::Path::new(KEEPALIVED).exists() {
            crate::skip::skip(&format!("{KEEPALIVED} is not installed"));
            return;
        }
        self.lb_follows_keepalived(&lab);
        self.keepalived_follows_lb(&lab);
    }

    fn lb_follows_keepalived(&self, lab: &Lab) {
        let ours = || lab.holds(A, self.vip) && !lab.holds(B, self.vip);
        let theirs = || lab.holds(B, self.vip) && !lab.holds(A, self.vip);
        // keepalived's macvlan has the interface's link-local address, or none.
        lab.until("a link-local address", || lab.has_link_local(B));
        let keepalived = lab.keepalived(B, &self.theirs(200));
        lab.until("keepalived holds the VIP", theirs);
        let mut lb = lab.runner(A, &self.ours(100));
        lb.wait_for("backup");
        lab.until_heard(&mut lb, 3);
        assert_eq!(lb.status_after(Duration::ZERO).state, "backup");
        keepalived.stop();
        lb.wait_for("master: the master resigned");
        lab.until("lb alone holds the VIP", ours);
        let keepalived = lab.keepalived(B, &self.theirs(200));
        lb.wait_for("backup: a master of higher standing was heard");
        lab.until("keepalived alone holds the VIP", theirs);
        assert_eq!(lb.status_after(Duration::ZERO).refused, 0);
        drop(lb);
        keepalived.stop();
        lab.until("nobody holds the VIP", || !lab.holds(B, self.vip));
    }

    fn keepalived_follows_lb(&self, lab: &Lab) {
        let ours = || lab.holds(A, self.vip) && !lab.holds(B, self.vip);
        let theirs = || lab.holds(B, self.vip) && !lab.holds(A, self.vip);
        let keepalived = lab.keepalived(B, &self.theirs(100));
        lab.until("keepalived holds the VIP", theirs);
        let mut lb = lab.runner(A, &self.ours(200));
        lb.wait_for("master: the master had a lower priority");
        lab.until("lb alone holds the VIP", ours);
        lb.command("shutdown");
        lb.wait_for("initialize: its successor was heard");
        lab.until("keepalived alone holds the VIP", theirs);
        keepalived.stop();
    }
}

#[test]
fn version_2_with_a_password() {
    let password = Some("s3cret77");
    Way { version: 2, milliseconds: 1000, password, ..V3 }.take_over_both_ways();
}

#[test]
fn version_3_over_ipv4() {
    V3.take_over_both_ways();
}

#[test]
fn version_3_over_ipv6() {
    Way { vip: "fe80::100/64", ..V3 }.take_over_both_ways();
}

#[test]
fn unicast() {
    Way { unicast: true, ..V3 }.take_over_both_ways();
}

#[test]
fn a_virtual_mac_over_ipv4() {
    Way { virtual_mac: true, ..V3 }.take_over_both_ways();
}

#[test]
fn a_virtual_mac_in_version_2() {
    let password = Some("s3cret77");
    Way { version: 2, milliseconds: 1000, password, virtual_mac: true, ..V3 }.take_over_both_ways();
}

#[test]
fn a_virtual_mac_over_ipv6() {
    Way { vip: "fe80::100/64", virtual_mac: true, ..V3 }.take_over_both_ways();
}
