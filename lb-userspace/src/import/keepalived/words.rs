//! Words of keepalived's that nothing is made of here, and what is told of each. Those that `lb check` answers too are in
//! `config/report/foreign.rs`.

use super::tree::Node;
use crate::config::foreign;
use crate::import::ledger::{Fate, Ledger};

/// Where a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    Top,
    Global,
    Script,
    Vrrp,
    Group,
    Server,
    Real,
    Check,
}

use Context::{Check, Global, Group, Real, Script, Server, Top, Vrrp};

const NO_MAIL: &str = "lb sends none by itself: notify = [\"/usr/share/lb/notify-mail\", \"ADDRESS\"] of a [vrrp.NAME] or [service.NAME] does";
const ITS_OWN: &str = "nothing need be done: it is about keepalived's own processes";
const SNMP: &str = "it isn't there: /metrics of [metrics] has the same for Prometheus, and `lb list --json` for others";
const TAKES_ALL: &str =
    "nothing need be done: adverts are held against RFC 3768 and RFC 9568, and refused ones are counted (`lb vrrp`)";
const NETWORK: &str =
    "it isn't there: leave addresses, routes and rules that don't follow a VIP to the system's network configuration";
const CHECKED_BY: &str = "it isn't there: a check is sent from any port, and without a mark";
const SOURCE: &str = "`source` of the check names the address or the interface that it asks from";
const KERNEL: &str = "nothing need be done: lb has no table in the kernel's IPVS";
const LOAD: &str = "it isn't there: the schedulers wlc, sed and nq weigh by connections";

/// (where, the word, what becomes of it, what is told).
#[rustfmt::skip]
const WORDS: &[(&[Context], &str, Fate, &str)] = &[
    (&[Top], "static_ipaddress", Fate::Left, NETWORK),
    (&[Top], "static_routes", Fate::Left, NETWORK),
    (&[Top], "static_rules", Fate::Left, NETWORK),
    (&[Top], "static_track_group", Fate::Left, NETWORK),
    (&[Top], "bfd_instance", Fate::Left, "BFD isn't there: track a script that asks for the peer, or the link"),
    (&[Top], "garp_group", Fate::Left, "announce = { pace = N } of a [vrrp.NAME] bounds the frames a second of its interface"),
    (&[Top], "linkbeat_interfaces", Fate::Changed, "nothing need be done: the kernel tells of links"),
    (&[Top], "interface_up_down_delays", Fate::Left, "it isn't there: a tracked script with `rise` and `fall` can wait"),
    (&[Top], "SSL", Fate::Left, "certificates of keepalived's own checks have no place: a check needs none"),
    (&[Top, Global], "net_namespace", Fate::Left, "start lb's unit in that namespace: NetworkNamespacePath= of systemd"),
    (&[Top, Global], "net_namespace_ipvs", Fate::Left, "lb forwards in the namespace that it is started in"),
    (&[Top], "namespace_with_ipsets", Fate::Changed, ITS_OWN),
    (&[Top], "instance", Fate::Changed, ITS_OWN),
    (&[Top], "use_pid_dir", Fate::Changed, ITS_OWN),
    (&[Top], "linkbeat_use_polling", Fate::Changed, "nothing need be done: the kernel tells of links"),
    (&[Top], "child_wait_time", Fate::Changed, ITS_OWN),
    (&[Top, Global], "include_check", Fate::Changed, "lb import refuses includes that can't be read"),
    (&[Global], "router_id", Fate::Changed, "nothing need be done: a director is known by its addresses"),
    (&[Global], "lvs_id", Fate::Changed, "nothing need be done: a director is known by its addresses"),
    (&[Global], "notification_email", Fate::Left, NO_MAIL),
    (&[Global], "notification_email_from", Fate::Left, NO_MAIL),
    (&[Global], "smtp_server", Fate::Left, NO_MAIL),
    (&[Global], "smtp_helo_name", Fate::Left, NO_MAIL),
    (&[Global], "smtp_connect_timeout", Fate::Left, NO_MAIL),
    (&[Global], "smtp_alert_vrrp", Fate::Left, NO_MAIL),
    (&[Global], "smtp_alert_checker", Fate::Left, NO_MAIL),
    (&[Global, Vrrp, Group, Server, Real], "smtp_alert", Fate::Left, NO_MAIL),
    (&[Global], "no_email_faults", Fate::Changed, "nothing need be done: no mail is sent"),
    (&[Global], "checker_log_all_failures", Fate::Changed, "LB_LOG=debug of the agent says more"),
    (&[Check], "log_all_failures", Fate::Changed, "LB_LOG=debug of the agent says more"),
    (&[Global], "enable_script_security", Fate::Changed, "it is always so: scripts that others than root can write aren't run"),
    (&[Global], "vrrp_strict", Fate::Changed, TAKES_ALL),
    (&[Vrrp], "strict_mode", Fate::Changed, TAKES_ALL),
    (&[Global], "vrrp_skip_check_adv_addr", Fate::Changed, TAKES_ALL),
    (&[Vrrp], "skip_check_adv_addr", Fate::Changed, TAKES_ALL),
    (&[Global], "vrrp_check_unicast_src", Fate::Changed, "it is always so: with `peers` only they are heard"),
    (&[Vrrp], "check_unicast_src", Fate::Changed, "it is always so: with `peers` only they are heard"),
    (&[Vrrp], "unicast_fault_no_peer", Fate::Changed, "nothing need be done: `peers` without one is refused"),
    (&[Vrrp], "unicast_ttl", Fate::Changed, "nothing need be done: adverts are sent with a TTL of 255"),
    (&[Global], "vrrp_mcast_group4", Fate::Left, "adverts go to 224.0.0.18, or to `peers`: keep the other director's group as it is by default"),
    (&[Global], "vrrp_mcast_group6", Fate::Left, "adverts go to ff02::12, or to `peers`: keep the other director's group as it is by default"),
    (&[Vrrp], "mcast_dst_ip", Fate::Left, "adverts go to 224.0.0.18 or ff02::12, or to `peers`"),
    (&[Global], "vrrp_iptables", Fate::Changed, "nothing need be done: lb makes no firewall rules"),
    (&[Global], "vrrp_ipsets", Fate::Changed, "nothing need be done: lb makes no firewall rules"),
    (&[Global], "nftables", Fate::Changed, "nothing need be done: lb makes no firewall rules"),
    (&[Global], "nftables_ipvs", Fate::Changed, "nothing need be done: lb makes no firewall rules"),
    (&[Global], "max_auto_priority", Fate::Changed, ITS_OWN),
    (&[Global], "min_auto_priority_delay", Fate::Changed, ITS_OWN),
    (&[Global], "vrrp_priority", Fate::Changed, ITS_OWN),
    (&[Global], "checker_priority", Fate::Changed, ITS_OWN),
    (&[Global], "vrrp_no_swap", Fate::Changed, ITS_OWN),
    (&[Global], "checker_no_swap", Fate::Changed, ITS_OWN),
    (&[Global], "vrrp_rt_priority", Fate::Changed, ITS_OWN),
    (&[Global], "vrrp_rlimit_rttime", Fate::Changed, ITS_OWN),
    (&[Global], "checker_rt_priority", Fate::Changed, ITS_OWN),
    (&[Global], "vrrp_cpu_affinity", Fate::Changed, ITS_OWN),
    (&[Global], "checker_cpu_affinity", Fate::Changed, ITS_OWN),
    (&[Global], "process_names", Fate::Changed, ITS_OWN),
    (&[Global], "process_name", Fate::Changed, ITS_OWN),
    (&[Global], "use_pid_dir", Fate::Changed, ITS_OWN),
    (&[Global], "use_symlink_paths", Fate::Changed, ITS_OWN),
    (&[Global], "tmp_config_directory", Fate::Changed, ITS_OWN),
    (&[Global], "config_save_dir", Fate::Changed, ITS_OWN),
    (&[Global], "reload_time_file", Fate::Changed, ITS_OWN),
    (&[Global], "reload_repeat", Fate::Changed, ITS_OWN),
    (&[Global], "instance", Fate::Changed, ITS_OWN),
    (&[Global], "umask", Fate::Changed, ITS_OWN),
    (&[Global], "startup_script", Fate::Left, "it isn't there: ExecStartPre= of lb's unit runs one"),
    (&[Global], "shutdown_script", Fate::Left, "it isn't there: ExecStopPost= of lb's unit runs one"),
    (&[Global], "startup_script_timeout", Fate::Left, "it isn't there: ExecStartPre= of lb's unit runs one"),
    (&[Global], "shutdown_script_timeout", Fate::Left, "it isn't there: ExecStopPost= of lb's unit runs one"),
    (&[Global], "dynamic_interfaces", Fate::Changed, "it is always so: interfaces that aren't there yet are waited for"),
    (&[Global], "disable_local_igmp", Fate::Changed, ITS_OWN),
    (&[Global], "vrrp_notify_fifo", Fate::Left, "it isn't there: one `notify` hears of every change"),
    (&[Global], "vrrp_notify_fifo_script", Fate::Left, "it isn't there: one `notify` hears of every change"),
    (&[Global], "lvs_notify_fifo", Fate::Left, "it isn't there: `lb list --json` tells how reals are"),
    (&[Global], "lvs_notify_fifo_script", Fate::Left, "it isn't there: `lb list --json` tells how reals are"),
    (&[Global], "notify_fifo", Fate::Left, "it isn't there: one `notify` hears of every change"),
    (&[Global], "notify_fifo_script", Fate::Left, "it isn't there: one `notify` hears of every change"),
    (&[Global], "enable_snmp_vrrp", Fate::Left, SNMP),
    (&[Global], "enable_snmp_checker", Fate::Left, SNMP),
    (&[Global], "enable_snmp_keepalived", Fate::Left, SNMP),
    (&[Global], "enable_snmp_rfc", Fate::Left, SNMP),
    (&[Global], "enable_snmp_rfcv2", Fate::Left, SNMP),
    (&[Global], "enable_snmp_rfcv3", Fate::Left, SNMP),
    (&[Global], "enable_traps", Fate::Left, SNMP),
    (&[Global], "snmp_server", Fate::Left, SNMP),
    (&[Global], "snmp_socket", Fate::Left, SNMP),
    (&[Global], "enable_dbus", Fate::Left, "it isn't there: `lb vrrp` and `lb list --json` tell, `lb vrrp release` acts"),
    (&[Global], "enable_sni", Fate::Changed, "nothing need be done"),
    (&[Global], "lvs_flush", Fate::Changed, KERNEL),
    (&[Global], "lvs_flush_on_stop", Fate::Changed, KERNEL),
    (&[Global], "lvs_flush_onstop", Fate::Changed, KERNEL),
    (&[Global], "lvs_netlink_cmd_rcv_bufs", Fate::Changed, KERNEL),
    (&[Global], "vrrp_lower_prio_no_advert", Fate::Changed, "it isn't so here: a master answers an advert of lower priority at once"),
    (&[Vrrp], "lower_prio_no_advert", Fate::Changed, "it isn't so here: a master answers an advert of lower priority at once"),
    (&[Global], "vrrp_higher_prio_send_advert", Fate::Left, "it isn't there: a master that hears a higher one gives way without a word"),
    (&[Vrrp], "higher_prio_send_advert", Fate::Left, "it isn't there: a master that hears a higher one gives way without a word"),
    (&[Global], "vrrp_garp_lower_prio_delay", Fate::Changed, "it is always so: a master that hears one of lower priority announces its VIPs again, by `announce`"),
    (&[Global], "vrrp_garp_lower_prio_repeat", Fate::Changed, "it is always so: a master that hears one of lower priority announces its VIPs again, by `announce`"),
    (&[Vrrp], "garp_lower_prio_delay", Fate::Changed, "it is always so: a master that hears one of lower priority announces its VIPs again, by `announce`"),
    (&[Vrrp], "garp_lower_prio_repeat", Fate::Changed, "it is always so: a master that hears one of lower priority announces its VIPs again, by `announce`"),
    (&[Vrrp], "garp_extra_if", Fate::Left, "it isn't there: VIPs are announced on the interface that they are on"),
    (&[Global], "vrrp_down_timer_adverts", Fate::Left, "it isn't there: a master is dead after 3 intervals, as the RFCs have it"),
    (&[Vrrp], "down_timer_adverts", Fate::Left, "it isn't there: a master is dead after 3 intervals, as the RFCs have it"),
    (&[Global], "vrrp_rx_bufs_policy", Fate::Changed, ITS_OWN),
    (&[Global], "vrrp_rx_bufs_multiplier", Fate::Changed, ITS_OWN),
    (&[Vrrp], "kernel_rx_buf_size", Fate::Changed, ITS_OWN),
    (&[Vrrp], "debug", Fate::Changed, "LB_LOG=debug of the agent says more"),
    (&[Vrrp], "native_ipv6", Fate::Changed, "nothing need be done: the VIPs' family says it"),
    (&[Vrrp], "linkbeat_use_polling", Fate::Changed, "nothing need be done: the kernel tells of links"),
    (&[Vrrp], "accept", Fate::Carried, ""),
    (&[Vrrp], "no_accept", Fate::Left, "it isn't there: a master's own stack has the VIPs. A firewall can drop what is for them alone"),
    (&[Vrrp], "preempt", Fate::Carried, ""),
    (&[Vrrp], "promote_secondaries", Fate::Left, "set net.ipv4.conf.IF.promote_secondaries = 1 by sysctl"),
    (&[Vrrp], "track_src_ip", Fate::Left, "it isn't there: adverts leave with the interface's own address, whichever that is"),
    (&[Vrrp], "mcast_src_ip", Fate::Changed, "adverts leave with the interface's own address"),
    (&[Vrrp], "unicast_src_ip", Fate::Changed, "adverts leave with the interface's own address: the other directors' `peers` must name that"),
    (&[Vrrp], "vmac_xmit_base", Fate::Changed, "nothing need be done with virtual_mac = true"),
    (&[Vrrp], "use_vmac_addr", Fate::Left, "virtual_mac = true is for VIPs on the interface of the adverts"),
    (&[Vrrp], "use_ipvlan", Fate::Left, "ipvlan isn't there: VIPs are put on the interface, or with virtual_mac on a macvlan"),
    (&[Vrrp], "vrf", Fate::Left, "it isn't there: an interface says which VRF it is in"),
    (&[Vrrp], "lvs_sync_daemon_interface", Fate::Left, "IPVS's connection sync isn't there; [peers] shares connections between directors that run lb"),
    (&[Vrrp], "notify_master_rx_lower_pri", Fate::Left, "it isn't there: `notify` hears of changes alone"),
    (&[Vrrp, Group], "notify_priority_changes", Fate::Changed, "nothing need be done: `notify` hears of states alone"),
    (&[Vrrp, Group], "notify_deleted", Fate::Changed, "nothing need be done: a virtual router that a reload removes is told as one that ends"),
    (&[Vrrp], "old_unicast_checksum", Fate::Changed, "checksum = \"auto\" takes both forms"),
    (&[Vrrp], "thread_timer_expired", Fate::Changed, ITS_OWN),
    (&[Group], "global_tracking", Fate::Changed, "nothing need be done: what members track gives up the whole group"),
    (&[Group], "sync_group_tracking_weight", Fate::Changed, "nothing need be done: members keep the weights of what they track"),
    (&[Server], "net_mask", Fate::Left, "it isn't there: sh goes by the client's whole address"),
    (&[Server], "nat_mask", Fate::Changed, "nothing need be done: keepalived itself ignores it"),
    (&[Server], "persistence_engine", Fate::Left, "persistence by an engine (SIP) isn't there"),
    (&[Server], "snmp_name", Fate::Changed, SNMP),
    (&[Real], "snmp_name", Fate::Changed, SNMP),
    (&[Server], "ops", Fate::Left, "one-packet scheduling isn't there: datagrams of one client and port go to one real"),
    (&[Server], "sh-fallback", Fate::Changed, "it is always so: a slot of a real that is down goes to another"),
    (&[Server], "mh-fallback", Fate::Changed, "it is always so: a slot of a real that is down goes to another"),
    (&[Server], "flag-1", Fate::Left, "it isn't known which scheduler's flag is meant: look at the scheduler that was written"),
    (&[Server], "flag-2", Fate::Left, "it isn't known which scheduler's flag is meant: look at the scheduler that was written"),
    (&[Server], "flag-3", Fate::Left, "it isn't known which scheduler's flag is meant: look at the scheduler that was written"),
    (&[Server], "ip_family", Fate::Changed, "nothing need be done: the VIP says it"),
    (&[Server], "sorry_server_inhibit", Fate::Changed, "it is so here: a sorry server keeps the connections that it has"),
    (&[Server], "omega", Fate::Changed, "nothing need be done: when the agent ends the program forwards on, so that nothing goes down"),
    (&[Server], "est_timeout", Fate::Changed, KERNEL),
    (&[Server, Real, Check], "alpha", Fate::Changed, "it is so here: a service takes no traffic until each of its reals was looked at, and no real that has failed"),
    (&[Server], "ha_suspend", Fate::Left, "it isn't there: a backup checks its reals too, to be ready"),
    (&[Real], "uthreshold", Fate::Left, LOAD),
    (&[Real], "lthreshold", Fate::Left, LOAD),
    (&[Check], "bindto", Fate::Left, SOURCE),
    (&[Check], "bind_if", Fate::Left, SOURCE),
    (&[Check], "bind_port", Fate::Left, CHECKED_BY),
    (&[Check], "fwmark", Fate::Left, CHECKED_BY),
    (&[Check], "http_protocol", Fate::Changed, "checks speak HTTP/1.1"),
    (&[Check], "fast_recovery", Fate::Changed, "it is so here: a real is up after `rise` good answers, `fast` apart"),
    (&[Check], "enable_sni", Fate::Changed, "nothing need be done"),
];

/// Tells of a statement that nothing is made of, with all that is in it.
pub(super) fn stranger(context: Context, node: &Node, ledger: &mut Ledger) {
    let word = node.word();
    let row = WORDS.iter().find(|(of, theirs, ..)| of.contains(&context) && *theirs == word);
    let (fate, how) = match row {
        Some((.., fate, how)) => (*fate, *how),
        None => match foreign::key(title(context), word) {
            Some((answer, _)) if answer.starts_with("remove it") => (Fate::Changed, answer),
            Some((answer, _)) => (Fate::Left, answer),
            None => (Fate::Unknown, ""),
        },
    };
    ledger.note(&node.all(), fate, node.what(), how);
}

/// A table of `lb`'s whose words answer for this context.
fn title(context: Context) -> &'static str {
    match context {
        Vrrp | Group => "[vrrp.NAME]",
        Server | Real | Check => "[service.NAME]",
        Top | Global | Script => "the file",
    }
}

/// Tells that a statement is in the file as it was meant.
pub(super) fn carried(node: &Node, ledger: &mut Ledger) {
    ledger.note(&node.own(), Fate::Carried, "", "");
}

/// Tells how a statement is in the file.
pub(super) fn changed(node: &Node, how: impl Into<String>, ledger: &mut Ledger) {
    ledger.note(&node.own(), Fate::Changed, node.what(), how);
}

/// Tells that a statement isn't in the file, with all that is in it.
pub(super) fn left(node: &Node, how: impl Into<String>, ledger: &mut Ledger) {
    ledger.note(&node.all(), Fate::Left, node.what(), how);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_one_answer() {
        for (number, (contexts, word, fate, how)) in WORDS.iter().enumerate() {
            assert_eq!(how.is_empty(), *fate == Fate::Carried, "{word}");
            for (others, other, ..) in WORDS.iter().skip(number + 1) {
                assert!(word != other || !contexts.iter().any(|one| others.contains(one)), "{word} stands there twice");
            }
        }
    }
}
