//! Files that are accepted, and what they say.

use std::time::Duration;

use super::{REFERENCE, load};
use crate::config::{
    Announce, Backup, Check, CheckKind, Checks, Checksum, Condition, Config, Damping, Director, Flows, Header, Http,
    Identity, Join, Limits, Mode, Origin, Peers, Protocol, Real, Scheduler, Script, Scripts, Service, Tcp, Tls, Track,
    Udp, Vip, Vrrp, WhenAgentDies,
};

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.to_owned() }
}

fn file(path: &str) -> toml::Spanned<std::path::PathBuf> {
    toml::Spanned::new(0..0, path.into())
}

fn plain_real(address: &str) -> Real {
    Real { address: address.parse().unwrap(), weight: 1, mac: None, interface: None, vlan: None, checks: None }
}

fn alone(check: Check) -> Checks {
    Checks::new(vec![check], Join::All)
}

#[test]
fn the_shipped_file_is_the_reference_lab() {
    let loaded = load(REFERENCE).unwrap();
    let expected = Config {
        path: "lb.toml".into(),
        director: Director {
            interfaces: vec!["eth1".to_owned()],
            mode: Mode::Auto,
            hash_seed: 0,
            vlans: None,
            when_agent_dies: WhenAgentDies::Forward,
        },
        flows: Flows::default(),
        limits: Limits::default(),
        peers: None,
        metrics: None,
        vrrp: vec![Vrrp {
            name: "web".to_owned(),
            interface: "eth1".to_owned(),
            id: 210,
            version: 2,
            priority: 1,
            advertise: Duration::from_secs(1),
            password: Some("PassW0rD".into()),
            addresses: vec!["172.28.128.210/24".parse().unwrap()],
            peers: vec![],
            minimum_ttl: None,
            preempt: true,
            preempt_delay: Duration::ZERO,
            handover: None,
            checksum: Checksum::Auto,
            virtual_mac: false,
            backup: Backup::Forward,
            sync_group: None,
            announce: Announce {
                repeat: 5,
                delay: Duration::from_secs(5),
                delayed_repeat: 5,
                refresh: None,
                pace: 10_000,
            },
            track: vec![],
            track_link: true,
            scripts: Scripts { timeout: Duration::from_secs(10), ..Scripts::default() },
        }],
        sync_groups: vec![],
        pools: vec![],
        services: vec![Service {
            pool: None,
            name: "web".to_owned(),
            address: "172.28.128.210".parse().unwrap(),
            port: Some(80),
            protocol: Protocol::Tcp,
            scheduler: Scheduler::Rr,
            persistence: None,
            udp: crate::config::section::service::Udp::Session,
            ring_size: 65_537,
            checks: alone(Check {
                kind: CheckKind::Http(Http::default()),
                port: 80,
                interval: Duration::from_secs(2),
                fast: Duration::from_secs(2),
                timeout: Duration::from_millis(100),
                rise: 1,
                fall: 1,
                jitter: 10,
                via: crate::config::Via::Real,
                address: None,
                source: None,
                damping: None,
            }),
            on_failure: None,
            drain_deadline: None,
            fleet: None,
            notify: None,
            reals: vec![plain_real("172.28.128.40"), plain_real("172.28.128.50")].into(),
        }],
        observed: None,
    };
    assert_eq!(loaded.config, expected);
}

#[test]
fn no_debug_shows_a_password() {
    let loaded = load(REFERENCE).unwrap();
    let shown = format!("{loaded:?} {loaded:#?}");
    assert!(shown.contains("password: Some(") && !shown.contains("PassW0rD"), "{shown}");
}

#[test]
fn places_name_what_the_file_says() {
    let loaded = load(REFERENCE).unwrap();
    let source = &loaded.source;
    let text = |span: &std::ops::Range<usize>| source.get(span).unwrap();
    let places = &loaded.places;
    assert_eq!(text(&places.interfaces[0]), "\"eth1\"");
    assert_eq!(text(&places.vrrp[0].header), "[vrrp.web]");
    assert_eq!(text(&places.vrrp[0].interface), "\"eth1\"");
    assert_eq!(text(&places.vrrp[0].addresses[0]), "\"172.28.128.210/24\"");
    assert_eq!(text(&places.services[0].header), "[service.web]");
    assert_eq!(text(&places.services[0].address), "\"172.28.128.210:80\"");
    assert_eq!(text(&places.services[0].reals[1].address), "\"172.28.128.50\"");
    assert_eq!(places.services[0].reals[1].interface, None);
}

#[test]
fn every_key_reaches_the_model() {
    let config = load(
        r#"
[director]
interfaces = ["eth1", "eth2"]
mode = "native"
hash_seed = 0xffff_ffff_ffff_ffff
[flows]
tcp = "1h"
udp = "1m"
opening = "10s"
closing = "20s"
[limits]
services = 2
reals = 3
flows = 4096
[vrrp.six]
interface = "eth2"
id = 1
version = 3
priority = 255
advertise = "40s 950ms"
addresses = ["fe80::1/64", "2001:db8::1/64"]
[service.dns]
address = "[2001:db8::1]:53"
protocol = "udp"
scheduler = "sh"
ring_size = 251
check = { type = "tcp", port = 53, interval = "500ms", fast = "100ms", rise = 2, fall = 3, jitter = 0 }
reals = [{ address = "2001:db8::2", weight = 0, mac = "02-00-00-00-00-2A", interface = "eth2", vlan = 7 }]
[service.web]
address = "192.0.2.1"
protocol = "tcp"
[service.web.check]
type = "http"
port = 8080
method = "HEAD"
path = "/alive?deep=1"
host = "www.example.org"
status = [204, "301", "400-499"]
headers = { Authorization = "Bearer T0ken", X-Check = "lb" }
body_limit = 2048
[service.web.check.tls]
sni = "inner.example.org"
ca = "/etc/lb/ca.pem"
cert = "/etc/lb/check.pem"
key = "/etc/lb/check.key"
certificate_days = 14
[[service.web.reals]]
address = "192.0.2.3"
[[service.web.reals]]
address = "192.0.2.2"
"#,
    )
    .unwrap()
    .config;
    assert_eq!(config.director.interfaces, ["eth1", "eth2"]);
    assert_eq!(config.director.mode, Mode::Native);
    assert_eq!(config.director.hash_seed, u64::MAX);
    let [tcp, udp, opening, closing] = [3600, 60, 10, 20].map(Duration::from_secs);
    assert_eq!(config.flows, Flows { tcp, udp, opening, closing });
    assert_eq!(config.limits, Limits { services: 2, reals: 3, slots: 1 << 22, flows: 4096 });
    let six = &config.vrrp[0];
    assert_eq!((six.id, six.version, six.priority), (1, 3, 255));
    assert_eq!(six.advertise, Duration::from_millis(40_950));
    assert_eq!((six.addresses.len(), &six.password), (2, &None));
    let dns = &config.services[0];
    assert_eq!((dns.port, dns.protocol), (Some(53), Protocol::Udp));
    assert_eq!((dns.scheduler, dns.ring_size), (Scheduler::Sh, 251));
    assert_eq!(
        *dns.reals,
        [Real {
            address: "2001:db8::2".parse().unwrap(),
            weight: 0,
            mac: Some([2, 0, 0, 0, 0, 0x2a]),
            interface: Some("eth2".to_owned()),
            vlan: Some(7),
            checks: None,
        }]
    );
    assert_eq!(
        dns.checks,
        alone(Check {
            kind: CheckKind::Tcp(Tcp),
            port: 53,
            interval: Duration::from_millis(500),
            fast: Duration::from_millis(100),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
            jitter: 0,
            via: crate::config::Via::Real,
            address: None,
            source: None,
            damping: None,
        })
    );
    let web = &config.services[1];
    assert_eq!((web.port, web.scheduler), (None, Scheduler::Mh));
    assert_eq!(*web.reals, [plain_real("192.0.2.3"), plain_real("192.0.2.2")]);
    let check = &web.checks[0];
    assert_eq!((check.port, check.rise, check.fall, check.jitter), (8080, 1, 2, 10));
    assert_eq!(
        check.kind,
        CheckKind::Http(Http {
            version: crate::config::Version::One,
            method: "HEAD".to_owned(),
            path: "/alive?deep=1".to_owned(),
            host: Some("www.example.org".to_owned()),
            headers: vec![header("authorization", "Bearer T0ken"), header("x-check", "lb")],
            status: vec![(204, 204), (301, 301), (400, 499)],
            body: None,
            body_limit: 2048,
            tls: Some(Box::new(Tls {
                sni: Some("inner.example.org".to_owned()),
                ca: Some(file("/etc/lb/ca.pem")),
                insecure: false,
                identity: Some(Identity { cert: file("/etc/lb/check.pem"), key: file("/etc/lb/check.key") }),
                certificate_days: Some(14),
            })),
        })
    );
    assert!(!format!("{check:?}").contains("T0ken"), "{check:?}");
}

#[test]
fn every_key_of_vrrp_reaches_the_model() {
    let config = load(
        r#"
[director]
interfaces = ["eth1"]
when_agent_dies = "release"
release_after = "20s"
[vrrp.a]
interface = "eth1"
id = 1
priority = 200
advertise = "100ms"
addresses = ["192.0.2.1/24"]
peers = ["192.0.2.12", "192.0.2.13"]
minimum_ttl = 254
preempt = false
handover = "1s"
checksum = "plain"
virtual_mac = true
backup = "pass"
sync_group = "both"
announce = { repeat = 3, delay = "1s", refresh = "60s", pace = 500 }
track = [
    { interface = "eth2", weight = -50 },
    { script = ["/path/check", "an argument"], interval = "500ms", rise = 2, fall = 3, weight = 20 },
    { service = "web", healthy = 2 },
    { service = "web" },
]
notify = ["/path/notify", "lb"]
notify_timeout = "3s"
[vrrp.b]
interface = "eth1"
id = 2
addresses = ["192.0.2.2"]
preempt = false
sync_group = "both"
announce = { repeat = 0, delayed_repeat = 1, refresh = "0s" }
[service.web]
address = "192.0.2.1:80"
protocol = "tcp"
reals = [{ address = "192.0.2.40" }, { address = "192.0.2.50" }]
"#,
    )
    .unwrap()
    .config;
    assert_eq!(config.director.when_agent_dies, WhenAgentDies::Release { after: Duration::from_secs(20) });
    let [a, b] = config.vrrp.as_slice() else {
        panic!("{:?}", config.vrrp);
    };
    let second = Duration::from_secs(1);
    let expected = Vrrp {
        name: "a".to_owned(),
        interface: "eth1".to_owned(),
        id: 1,
        version: 3,
        priority: 200,
        advertise: second / 10,
        password: None,
        addresses: vec!["192.0.2.1/24".parse().unwrap()],
        peers: vec!["192.0.2.12".parse().unwrap(), "192.0.2.13".parse().unwrap()],
        minimum_ttl: Some(254),
        preempt: false,
        preempt_delay: Duration::ZERO,
        handover: Some(second),
        checksum: Checksum::Plain,
        virtual_mac: true,
        backup: Backup::Pass,
        sync_group: Some("both".to_owned()),
        announce: Announce { repeat: 3, delay: second, delayed_repeat: 3, refresh: Some(second * 60), pace: 500 },
        track: vec![
            Track { condition: Condition::Interface("eth2".to_owned()), weight: Some(-50) },
            Track {
                condition: Condition::Script(Script {
                    command: vec!["/path/check".to_owned(), "an argument".to_owned()],
                    interval: second / 2,
                    timeout: second / 2,
                    rise: 2,
                    fall: 3,
                    name: None,
                    init_fail: false,
                    user: None,
                }),
                weight: Some(20),
            },
            Track { condition: Condition::Service { name: "web".to_owned(), healthy: 2 }, weight: None },
            Track { condition: Condition::Service { name: "web".to_owned(), healthy: 1 }, weight: None },
        ],
        track_link: true,
        scripts: Scripts {
            any: vec!["/path/notify".to_owned(), "lb".to_owned()],
            timeout: second * 3,
            ..Scripts::default()
        },
    };
    assert_eq!(*a, expected);
    // One interface announces at one pace, also where only one of its routers names it.
    let expected = Announce { repeat: 0, delayed_repeat: 1, pace: 500, ..Announce::default() };
    assert_eq!(b.announce, expected);
}

#[test]
fn services_that_only_look_alike_go_together() {
    let service = |name: &str, address: &str, protocol: &str| {
        format!(
            "[service.{name}]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n\
             reals = [{{ address = \"192.0.2.40\" }}]\n"
        )
    };
    let text = [
        "director.interfaces = [\"eth1\"]\n".to_owned(),
        service("any", "192.0.2.1:any", "tcp"),
        service("http", "192.0.2.1:80", "tcp"),
        service("quic", "192.0.2.1:80", "udp"),
        service("other", "192.0.2.2:80", "tcp"),
    ];
    assert_eq!(load(&text.concat()).unwrap().config.services.len(), 4);
}

#[test]
fn a_director_may_serve_nothing_yet() {
    let config = load("[director]\ninterfaces = [\"eth1\"]\n").unwrap().config;
    assert!(config.services.is_empty() && config.vrrp.is_empty());
}

#[test]
fn a_vip_may_be_on_an_interface_of_its_own() {
    // One link-local address is another on each link.
    let config = load(
        r#"
[director]
interfaces = ["eth1", "eth2"]
[vrrp.in]
interface = "eth1"
id = 1
addresses = ["fe80::1/64", { address = "2001:db8::1/64", interface = "eth2" }, { address = "2001:db8:1::1/64" }]
[vrrp.out]
interface = "eth2"
id = 1
addresses = ["fe80::1/64", { address = "fe80::1/64", interface = "eth3" }]
"#,
    )
    .unwrap()
    .config;
    let vip =
        |net: &str, interface: Option<&str>| Vip { net: net.parse().unwrap(), interface: interface.map(str::to_owned) };
    let inside = [vip("fe80::1/64", None), vip("2001:db8::1/64", Some("eth2")), vip("2001:db8:1::1/64", None)];
    assert_eq!(config.vrrp[0].addresses, inside);
    assert_eq!(config.vrrp[1].addresses, [vip("fe80::1/64", None), vip("fe80::1/64", Some("eth3"))]);
    let words = crate::config::describe(&config, &[]);
    assert!(words.contains("fe80::1/64, 2001:db8::1/64 on eth2, 2001:db8:1::1/64\n"), "{words}");
}

#[test]
fn a_udp_check_sends_text_or_bytes() {
    let check = |keys: &str| {
        let text = format!(
            "[director]\ninterfaces = [\"eth1\"]\n[service.a]\naddress = \"192.0.2.1:53\"\nprotocol = \"udp\"\n\
             check = {{ type = \"udp\"{keys} }}\nreals = [{{ address = \"192.0.2.2\" }}]\n"
        );
        load(&text).unwrap().config.services[0].checks[0].kind.clone()
    };
    assert_eq!(check(""), CheckKind::Udp(Udp { send: vec![], expect: None, matches: None }));
    let both = Udp { send: b"ping".to_vec(), expect: Some(vec![0, 0xff]), matches: None };
    assert_eq!(check(", send = \"ping\", expect = \"hex:00 Ff\""), CheckKind::Udp(both));
    let any = Udp { send: vec![1, 2], expect: Some(vec![]), matches: None };
    assert_eq!(check(", send = \"hex:0102\", expect = \"\""), CheckKind::Udp(any));
}

#[test]
fn the_peers_section() {
    let head = "[director]\ninterfaces = [\"eth1\"]\n[peers]\nkey_file = \"/etc/lb/peers.key\"\n";
    let rows = [
        (
            "listen = \"10.0.0.1\"\naddresses = [\"10.0.0.2\", \"10.0.0.3:9\"]",
            "10.0.0.1:8849",
            ["10.0.0.2:8849", "10.0.0.3:9"],
            10,
        ),
        (
            "listen = \"[fd00::1]:7\"\naddresses = [\"fd00::2\", \"[fd00::3]\"]\nbulk_wait = \"0s\"",
            "[fd00::1]:7",
            ["[fd00::2]:8849", "[fd00::3]:8849"],
            0,
        ),
    ];
    for (text, listen, addresses, wait) in rows {
        let peers = load(&format!("{head}{text}\n")).unwrap().config.peers.unwrap();
        let expected = Peers {
            listen: listen.parse().unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            key_file: "/etc/lb/peers.key".into(),
            bulk_wait: Duration::from_secs(wait),
        };
        assert_eq!(peers, expected);
        let mut words = String::new();
        peers.describe(&mut words);
        assert!(words.contains("with the key of /etc/lb/peers.key"), "{words}");
    }
}

#[test]
fn checks_of_a_service_of_a_pool_and_of_a_real() {
    let config = load(
        r#"
[director]
interfaces = ["eth1"]
[service.web]
address = "192.0.2.1:80"
protocol = "tcp"
join_checks = "any"
[[service.web.check]]
type = "tcp"
source = "192.0.2.9"
damp_after = 3
damp_within = "1m"
damp_for = "5s"
[[service.web.check]]
type = "ping"
source = "eth1"
[[service.web.reals]]
address = "192.0.2.40"
[[service.web.reals]]
address = "192.0.2.41"
join_checks = "all"
[[service.web.reals]]
address = "192.0.2.42"
check = { type = "http", address = "10.0.0.42", port = 8080 }
[pool.a]
check = { type = "tcp" }
reals = [{ address = "192.0.2.40", check = [{ type = "tcp" }, { type = "ping" }] }, { address = "192.0.2.41" }]
[service.b]
address = "192.0.2.2:443"
protocol = "tcp"
pool = "a"
"#,
    )
    .unwrap()
    .config;
    let [b, web] = config.services.as_slice() else { panic!("{:?}", config.services) };
    let [tcp, ping] = &web.checks[..] else { panic!("{:?}", web.checks) };
    let seconds = Duration::from_secs;
    assert_eq!(tcp.source, Some(Origin::Address("192.0.2.9".parse().unwrap())));
    assert_eq!(tcp.damping, Some(Damping { after: 3, within: seconds(60), good_for: seconds(5) }));
    assert_eq!((&ping.source, ping.damping), (&Some(Origin::Interface("eth1".to_owned())), None));
    let shape = |service: &Service| -> Vec<(usize, Join)> {
        service.reals.iter().map(|real| service.checks_of(real)).map(|checks| (checks.len(), checks.join)).collect()
    };
    assert_eq!(shape(web), [(2, Join::Any), (2, Join::All), (1, Join::Any)]);
    let own = &web.checks_of(&web.reals[2])[0];
    assert_eq!((own.label().as_str(), own.port), ("http on port 8080 at 10.0.0.42", 8080));
    assert_eq!(shape(b), [(2, Join::All), (1, Join::All)]);
    assert_eq!(b.checks_of(&b.reals[0])[0].port, 443, "the port of the pool's services");
    let words = crate::config::describe(&config, &[]);
    assert!(words.lines().all(|line| line.chars().count() <= 80), "{words}");
    for told in [
        "up while one of these is good",
        "checked by tcp on port 443 and ping",
        "from an address of eth1",
        "down 3 times within 1m",
    ] {
        assert!(words.contains(told), "{told}: {words}");
    }
}
