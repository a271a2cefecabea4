//! A service of several ports.

use super::load;
use crate::config::{Condition, Protocol, is_meant, is_service};

const HEAD: &str = "[director]\ninterfaces = [\"eth1\"]\n";
const WEB: &str = "[service.web]\naddress = \"192.0.2.1\"\nports = [\"80/tcp\", \"443/tcp\", \"443/udp\"]\n\
    check = { type = \"http\", port = 80 }\nreals = [{ address = \"192.0.2.40\" }, { address = \"192.0.2.41\", weight = 2 }]\n";

#[test]
fn each_port_is_an_entry_and_they_share_the_rest() {
    let track = "[vrrp.v]\ninterface = \"eth1\"\nid = 1\naddresses = [\"192.0.2.1/24\"]\n\
        track = [{ service = \"web\", healthy = 2 }, { service = \"web:443/udp\" }]\n";
    let loaded = load(&format!("{HEAD}{WEB}{track}")).unwrap();
    let config = &loaded.config;
    let shown: Vec<(&str, Option<u16>, Protocol)> =
        config.services.iter().map(|one| (one.name.as_str(), one.port, one.protocol)).collect();
    assert_eq!(
        shown,
        [
            ("web:80/tcp", Some(80), Protocol::Tcp),
            ("web:443/tcp", Some(443), Protocol::Tcp),
            ("web:443/udp", Some(443), Protocol::Udp)
        ]
    );
    // One pool, as [pool.web] would be: checked and planned once.
    assert_eq!(config.pools.len(), 1);
    assert!(config.services.iter().all(|one| one.pool.as_deref() == Some("web") && one.reals == config.pools[0].reals));
    assert_eq!(config.owners().count(), 1);
    assert_eq!(config.pools[0].checks.iter().next().unwrap().port, 80);
    assert_eq!(loaded.places.pools[0].reals.len(), 2);
    let tracked: Vec<&Condition> = config.vrrp[0].track.iter().map(|track| &track.condition).collect();
    assert!(matches!(tracked[1], Condition::Service { name, .. } if name == "web:443/udp"), "{tracked:?}");
    let words = crate::config::describe(config, &[]);
    assert!(words.contains("web: for 3 services") && words.contains("UDP  192.0.2.1:443 mh"), "{words}");
}

#[test]
fn a_pool_may_be_named_and_clients_stay_on_a_real_across_ports() {
    let pool = "[pool.p]\nreals = [{ address = \"192.0.2.40\" }]\n[service.web]\naddress = \"[2001:db8::1]\"\n\
        ports = [\"53/tcp\", \"53/udp\"]\nscheduler = \"wlc\"\npersistence = \"5m\"\npool = \"p\"\n"
        .replace("192.0.2.40", "2001:db8::40");
    let config = load(&format!("{HEAD}{pool}")).unwrap().config;
    assert!(config.services.iter().all(|one| one.pool.as_deref() == Some("p")));
    let groups: Vec<Option<&str>> =
        config.services.iter().map(|one| one.persistence.as_ref().and_then(|kept| kept.group.as_deref())).collect();
    assert_eq!(groups, [Some("web"), Some("web")]);
    // A check without a port asks the one that all have.
    let same = WEB.replace("80/tcp\", \"443/tcp\"", "443/tcp\"").replace(", port = 80", "");
    let config = load(&format!("{HEAD}{same}")).unwrap().config;
    assert_eq!(config.pools[0].checks.iter().next().unwrap().port, 443);
    let any = WEB.replace("80/tcp", "any/tcp");
    assert_eq!(load(&format!("{HEAD}{any}")).unwrap().config.services[0].name, "web:any/tcp");
}

#[test]
fn what_clashes_is_told_at_its_place() {
    let rows = [
        (WEB.replace("443/udp", "80/tcp"), 5, "port 80/tcp is named twice, first on line 5"),
        (WEB.replace("192.0.2.1\"", "192.0.2.1:80\""), 4, "the service has `ports`, and port 80 here"),
        (WEB.replace("ports", "protocol = \"tcp\"\nports"), 5, "with `ports` each port has its own protocol"),
        (WEB.replace("443/udp", "443"), 5, "\"443\" is not a port with its protocol"),
        (WEB.replace("443/udp", "0/udp"), 5, "\"0/udp\" is not a port with its protocol"),
        (WEB.replace("[\"80/tcp\", \"443/tcp\", \"443/udp\"]", "[]"), 5, "`ports` is empty"),
        (WEB.replace(", port = 80", ""), 6, "[service.web] has ports 80, 443, so its check needs one"),
        (WEB.replace("check", "udp = \"quic\"\ncheck").replace(", \"443/udp\"", ""), 6, "`udp` says nothing"),
        (format!("{WEB}[pool.web]\nreals = [{{ address = \"192.0.2.50\" }}]\n"), 5, "[pool.web] is there"),
        (
            format!(
                "{WEB}[service.x]\naddress = \"192.0.2.1:443\"\nprotocol = \"udp\"\nreals = [{{ address = \"192.0.2.40\" }}]\n"
            ),
            9,
            "another service has this address, port and protocol, on line 5",
        ),
        (
            format!(
                "{WEB}[vrrp.v]\ninterface = \"e\"\nid = 1\naddresses = [\"192.0.2.1/24\"]\ntrack = [{{ service = \"web:81/tcp\" }}]\n"
            ),
            12,
            "there is no service \"web:81/tcp\"",
        ),
    ];
    for (text, line, message) in rows {
        let error = load(&format!("{HEAD}{text}")).unwrap_err();
        let found = error
            .diagnostics()
            .iter()
            .any(|one| one.message.contains(message) && error.position(one).is_some_and(|at| at.line == line));
        assert!(found, "{message} on line {line}: {error}");
        assert_eq!(error.diagnostics().len(), 1, "{error}");
    }
}

#[test]
fn a_name_means_the_whole_or_a_part() {
    assert!(is_meant("web:80/tcp", "web") && is_meant("web:80/tcp", "web:80/tcp") && is_meant("web", "web"));
    assert!(!is_meant("web:80/tcp", "web:80") && !is_meant("web2:80/tcp", "web") && !is_meant("web", "web:80/tcp"));
    assert!(is_service("web") && is_service("web:80/tcp") && is_service("web:any/udp"));
    assert!(!is_service("web:80") && !is_service("web:") && !is_service("we b") && !is_service(":80/tcp"));
}
