//! Words of keepalived and ipvsadm: what each is here, or that it isn't there.

/// (their key, the key that it is in the same table, the answer).
type Row = (&'static str, Option<&'static str>, &'static str);

#[rustfmt::skip]
const FILE: &[Row] = &[
    ("vrrp_instance", Some("vrrp"), "it is [vrrp.NAME] here"),
    ("vrrp_sync_group", Some("sync_group"), "give its members the same sync_group = \"NAME\"; its scripts are in [sync_group.NAME]"),
    ("vrrp_script", Some("script"), "it is [script.NAME] here, tracked by track = [{ script = \"NAME\" }] of a [vrrp.NAME]"),
    ("virtual_server", Some("service"), "it is [service.NAME] here"),
    ("global_defs", None, "remove it: what the director has of its own is in [director]"),
];

#[rustfmt::skip]
const VRRP: &[Row] = &[
    ("state", None, "remove it: of those that live, the one of the highest priority is master"),
    ("virtual_router_id", Some("id"), "it is `id` here: id = 210"),
    ("virtual_ipaddress", Some("addresses"), "it is `addresses` here: addresses = [\"192.0.2.1/24\"]"),
    ("virtual_ipaddress_excluded", None, "it isn't there yet: write these in a [vrrp.NAME] of their own, with one sync_group"),
    ("auth_pass", Some("password"), "it is `password` here, with version = 2"),
    ("auth_type", None, "remove it: a `password` is of type PASS; AH isn't there"),
    ("authentication", Some("password"), "it is one line here: password = \"…\", with version = 2"),
    ("advert_int", Some("advertise"), "it is `advertise` here: advertise = \"1s\""),
    ("nopreempt", Some("preempt"), "it is preempt = false here"),
    ("vrrp_version", Some("version"), "it is `version` here: version = 3"),
    ("unicast_peer", Some("peers"), "it is `peers` here: peers = [\"192.0.2.3\"]"),
    ("unicast_src_ip", None, "remove it: adverts leave with the interface's own address"),
    ("use_vmac", Some("virtual_mac"), "it is virtual_mac = true here"),
    ("track_interface", Some("track"), "it is track = [{ interface = \"eth2\" }] here"),
    ("track_script", Some("track"), "it is track = [{ script = [\"/path/check\"] }] here"),
    ("track_file", Some("track"), "it is track = [{ file = \"/path/file\" }] here"),
    ("track_process", Some("track"), "it is track = [{ process = \"haproxy\" }] here"),
    ("dont_track_primary", Some("track_link"), "it is track_link = false here"),
    ("track_bfd", None, "it isn't there yet"),
    ("garp_master_delay", Some("announce"), "it is announce = { delay = \"5s\" } here"),
    ("garp_master_repeat", Some("announce"), "it is announce = { repeat = 5 } here"),
    ("garp_master_refresh", Some("announce"), "it is announce = { refresh = \"60s\" } here"),
    ("lvs_sync_daemon", None, "it isn't there yet"),
    ("smtp_alert", None, "it isn't there: a `notify` script can send mail"),
    ("virtual_routes", None, "it isn't there: a `notify` script can add routes"),
    ("virtual_rules", None, "it isn't there: a `notify` script can add rules"),
    ("dev", Some("interface"), "it is `interface` here: interface = \"eth2\""),
];

#[rustfmt::skip]
const SERVICE: &[Row] = &[
    ("lb_algo", Some("scheduler"), "it is `scheduler` here: scheduler = \"wrr\""),
    ("lvs_sched", Some("scheduler"), "it is `scheduler` here: scheduler = \"wrr\""),
    ("lb_kind", None, "remove it: direct routing (DR) is the one way here"),
    ("lvs_method", None, "remove it: direct routing (DR) is the one way here"),
    ("persistence_timeout", Some("persistence"), "it is `persistence` here: persistence = \"6m\""),
    ("persistence_granularity", Some("persistence_prefix"), "it is `persistence_prefix` here: persistence_prefix = 24"),
    ("sorry_server", Some("fleet"), "it is fleet = { sorry = { address = \"192.0.2.9\" } } here"),
    ("quorum", Some("fleet"), "it is fleet = { quorum = 2 } here; a track = [{ service = \"NAME\", healthy = 2 }] of a [vrrp.NAME] gives the VIPs up"),
    ("quorum_up", Some("notify"), "one `notify` hears of every change: notify = [\"/path/script\"] here"),
    ("quorum_down", Some("notify"), "one `notify` hears of every change: notify = [\"/path/script\"] here"),
    ("notify_up", Some("notify"), "one `notify` hears of every change: notify = [\"/path/script\"] here"),
    ("notify_down", Some("notify"), "one `notify` hears of every change: notify = [\"/path/script\"] here"),
    ("hysteresis", Some("fleet"), "it is fleet = { quorum = 2, hysteresis = 1 } here"),
    ("sorry_server_inhibit", None, "remove it: a sorry server always keeps the connections that it has"),
    ("slow_start", Some("fleet"), "it is fleet = { slow_start = \"30s\" } here"),
    ("slowstart", Some("fleet"), "it is fleet = { slow_start = \"30s\" } here"),
    ("ha_suspend", None, "it isn't there yet"),
    ("alpha", None, "remove it: it is so here: a service takes no traffic until each of its reals was looked at"),
    ("omega", None, "remove it: when the agent ends the program forwards on, so that nothing goes down"),
    ("fwmark", None, "it isn't there: write a service for each address, with address = \"IP:any\" for all ports"),
    ("real_server", Some("reals"), "it is [[service.NAME.reals]] here"),
    ("delay_loop", Some("interval"), "it is `interval` of the check here: interval = \"6s\""),
    ("delay_before_retry", Some("fast"), "it is `fast` of the check here: fast = \"1s\""),
    ("retry", Some("fall"), "it is `fall` of the check here: fall = 3"),
    ("connect_timeout", Some("timeout"), "it is `timeout` of the check here: timeout = \"3s\""),
    ("connect_port", Some("port"), "it is `port` of the check here: port = 80"),
    ("connect_ip", Some("address"), "it is `address` of a real's own check here: address = \"10.0.0.40\""),
    ("bindto", Some("source"), "it is `source` of the check here: source = \"192.0.2.2\""),
    ("bind_if", Some("source"), "it is `source` of the check here: source = \"eth1\""),
    ("status_code", Some("status"), "it is `status` of the check here: status = [200]"),
    ("virtualhost", Some("host"), "it is `host` of the check here: host = \"www.example.org\""),
    ("url", Some("path"), "it is `path` of the check here: path = \"/\""),
    ("digest", Some("body"), "it isn't there: `body` of the check names a text that the answer has"),
    ("regex", Some("body_regex"), "it is `body_regex` of the check here: body_regex = 'pattern'"),
    ("enable_sni", Some("tls"), "remove it: a check with `tls` names its `host` to the real"),
    ("helo_name", Some("helo"), "it is `helo` of the check here: helo = \"lb1.example.org\""),
    ("warmup", None, "remove it: checks spread out by `jitter`"),
    ("misc_path", Some("command"), "it is `command` of the check here: command = [\"/path/check\", \"argument\"]"),
    ("misc_check", Some("check"), "it is check = { type = \"script\", command = [\"/path/check\"] } here"),
    ("misc_timeout", Some("timeout"), "it is `timeout` of the check here: timeout = \"3s\""),
    ("misc_dynamic", Some("dynamic_weight"), "it is dynamic_weight = true of the check here"),
    ("inhibit_on_failure", Some("on_failure"), "it is on_failure = \"quiesce\" here"),
    ("tcp_check", Some("check"), "it is check = { type = \"tcp\" } here"),
    ("http_get", Some("check"), "it is check = { type = \"http\" } here"),
    ("udp_check", Some("check"), "it is check = { type = \"udp\" } here"),
    ("ssl_get", Some("check"), "it is check = { type = \"http\", tls = { insecure = true } } here: keepalived verifies no certificate, tls = true does"),
    ("smtp_check", Some("check"), "it is check = { type = \"smtp\" } here"),
    ("dns_check", Some("check"), "it is check = { type = \"dns\", name = \"example.org\", record = \"SOA\" } here"),
    ("ping_check", Some("check"), "it is check = { type = \"ping\" } here"),
    ("bfd_check", None, "it isn't there yet"),
    ("file_check", None, "it isn't there yet"),
];

/// (key, their word for a value, the answer).
#[rustfmt::skip]
const VALUES: &[(&str, &str, &str)] = &[
    ("scheduler", "dh", "it isn't there, the nearest is sh"),
    ("scheduler", "lblc", "it isn't there: it is for caches by destination, the nearest is wlc"),
    ("scheduler", "lblcr", "it isn't there: it is for caches by destination, the nearest is wlc"),
    ("scheduler", "fo", "it isn't there: give one real all the weight"),
    ("scheduler", "ovf", "it isn't there, the nearest is wlc"),
    ("scheduler", "twos", "it isn't there, the nearest is wlc, which compares up to 32 reals"),
    ("scheduler", "maglev", "it is mh here"),
    ("type", "https", "it is type = \"http\" with tls = true here"),
    ("type", "ssl_get", "it is type = \"http\" with tls = true here"),
    ("type", "ssl", "it is type = \"http\" with tls = true here"),
    ("type", "tls", "it is type = \"http\" with tls = true here"),
    ("type", "http_get", "it is http here"),
    ("type", "tcp_check", "it is tcp here"),
    ("type", "connect", "it is tcp here"),
    ("type", "udp_check", "it is udp here"),
    ("type", "dns_check", "it is dns here"),
    ("type", "misc_check", "it is script here"),
    ("type", "smtp_check", "it is smtp here"),
    ("type", "ping_check", "it is ping here"),
    ("type", "icmp", "it is ping here"),
];

/// What is said of a key of theirs in a table called `title`, with the key that was meant, if it is of that table.
pub fn key(title: &str, word: &str) -> Option<(&'static str, Option<&'static str>)> {
    let rows = if title.contains("[vrrp.") {
        VRRP
    } else if title.contains("[service.") || title.contains("[pool.") {
        SERVICE
    } else {
        FILE
    };
    let row = rows.iter().find(|(theirs, ..)| theirs.eq_ignore_ascii_case(word))?;
    Some((row.2, row.1))
}

/// What is said of their word for a value of `key`.
pub fn value(key: &str, word: &str) -> Option<&'static str> {
    let mut rows = VALUES.iter();
    rows.find(|(of, theirs, _)| *of == key && theirs.eq_ignore_ascii_case(word)).map(|(.., answer)| *answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::Keys as _;
    use crate::config::section::check::{CheckKeys, kinds};
    use crate::config::section::service::ServiceKeys;
    use crate::config::section::vrrp::{VrrpKeys, vip::VipKeys};

    /// An answer names keys that are there.
    #[test]
    fn what_is_meant_is_a_key() {
        let vrrp = [VrrpKeys::NAMES, VipKeys::NAMES].concat();
        let mut service = [ServiceKeys::NAMES, CheckKeys::NAMES].concat();
        service.extend(kinds().flat_map(|kind| (kind.declared)()).map(|key| key.name));
        for (rows, names) in
            [(VRRP, &vrrp), (SERVICE, &service), (FILE, &vec!["vrrp", "service", "script", "sync_group"])]
        {
            for (theirs, ours, answer) in rows {
                assert!(ours.is_none_or(|ours| names.contains(&ours)), "{theirs}: {answer}");
                assert!(!names.contains(theirs), "{theirs} is a key here");
                let known = ["here", "isn't there", "remove it", "sync_group", "`notify`"];
                assert!(known.iter().any(|words| answer.contains(words)), "{theirs}: {answer}");
            }
        }
    }
}
