//! Accepted files held against a machine.

use std::path::Path;

use crate::config::machine::{Interface, Segments, check};
use crate::config::{Error, Here, doubts, parse};

fn interface(name: &str, index: u32, addresses: &[&str]) -> Interface {
    Interface {
        name: name.to_owned(),
        altnames: vec![format!("alternative-{name}")],
        index,
        parent: None,
        master: None,
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

fn machine() -> Segments {
    let vlan = Interface { parent: Some(2), ..interface("eth1.7", 4, &["10.7.0.1/24"]) };
    let port = Interface { master: Some(6), ..interface("eth3", 5, &[]) };
    Segments {
        interfaces: vec![
            interface("lo", 1, &["127.0.0.1/8"]),
            interface("eth1", 2, &["172.28.128.2/24", "fe80::2/64"]),
            interface("eth2", 3, &["10.2.0.1/24"]),
            vlan,
            Interface { parent: Some(2), ..interface("eth1.9", 7, &[]) },
            port,
            interface("bond0", 6, &["10.6.0.1/24"]),
        ],
    }
}

/// A file with one service whose VIP is on eth1 through VRRP, line 10 naming `real`.
fn file(interfaces: &str, vip: &str, real: &str) -> String {
    format!(
        "[director]\ninterfaces = [{interfaces}]\n[vrrp.a]\ninterface = \"eth1\"\nid = 1\n\
         addresses = [\"{vip}/24\"]\n[service.a]\naddress = \"{vip}:80\"\nprotocol = \"tcp\"\n\
         reals = [{{ {real} }}]\n"
    )
}

fn result(text: &str) -> Result<(), Error> {
    check(&parse(Path::new("lb.toml"), text).unwrap(), &machine(), |_| false)
}

#[test]
fn what_fits_the_machine() {
    let cases = [
        ("a real beside the director", "\"eth1\"", "172.28.128.9", "address = \"172.28.128.40\""),
        ("a real on a VLAN of the trunk", "\"eth1\"", "172.28.128.9", "address = \"10.7.0.9\""),
        ("a real behind the bond of a port", "\"eth1\", \"eth3\"", "172.28.128.9", "address = \"10.6.0.9\""),
        ("a real by a named interface", "\"eth1\"", "172.28.128.9", "address = \"10.2.0.9\", interface = \"eth2\""),
        (
            "alternative names",
            "\"alternative-eth1\"",
            "172.28.128.9",
            "address = \"10.2.0.9\", interface = \"alternative-eth2\"",
        ),
        ("a real of a static MAC", "\"eth1\"", "172.28.128.9", "address = \"9.9.9.9\", mac = \"02:00:00:00:00:01\""),
    ];
    for (what, interfaces, vip, real) in cases {
        let result = result(&file(interfaces, vip, real));
        assert!(result.is_ok(), "{what}:\n{}", result.unwrap_err());
    }
}

/// A file of one virtual router alone, its address on line 6.
fn router(interface: &str, addresses: &str, more: &str) -> String {
    format!(
        "[director]\ninterfaces = [\"eth1\"]\n[vrrp.a]\ninterface = \"{interface}\"\nid = 1\n\
         addresses = [{addresses}]\n{more}"
    )
}

#[test]
fn vips_that_fit_the_machine() {
    let real = "[service.a]\naddress = \"10.9.0.1:80\"\nprotocol = \"tcp\"\nreals = [{ address = \"10.9.0.2\" }]\n";
    let cases = [
        ("on the subnet", "eth1", "\"172.28.128.210/24\"", ""),
        ("on the subnet, for a host alone", "eth1", "\"172.28.128.210\"", ""),
        ("on a subnet of its own", "eth1", "\"192.0.2.1/24\"", ""),
        ("on another interface", "eth1", "{ address = \"10.2.0.210/24\", interface = \"eth2\" }", ""),
        ("on another interface that may appear later", "eth1", "{ address = \"10.3.0.1\", interface = \"eth9\" }", ""),
        ("routed here", "eth1", "\"192.0.2.1/32\"", ""),
        ("on an interface that may appear later", "eth9", "\"192.0.2.1/24\"", ""),
        ("on an interface without an address yet", "eth3", "\"192.0.2.1/24\"", ""),
        ("IPv6 where there is a link-local address alone", "eth1", "\"2001:db8::1/64\"", ""),
        ("IPv6 of the link", "eth1", "\"fe80::1\", \"2001:db8::1/64\"", ""),
        ("the owner's own", "eth2", "\"10.2.0.1/24\"", "priority = 255\n"),
        ("whose prefix reaches a real", "eth1.9", "\"10.9.0.1/24\"", real),
    ];
    for (what, interface, addresses, more) in cases {
        let result = result(&router(interface, addresses, more));
        assert!(result.is_ok(), "{what}:\n{}", result.unwrap_err());
    }
}

#[test]
fn a_vip_off_its_subnet_is_told_so() {
    let error = result(&router("eth1", "\"192.0.2.1\"", "")).unwrap_err().to_string();
    let start = "lb.toml:6:14: 192.0.2.1 is off the subnet of eth1\n  6 | addresses = [\"192.0.2.1\"]\n";
    assert!(error.starts_with(start), "{error}");
    let mend = "use an address in 172.28.128.0/24; if it is of another subnet of that\n       segment, write its \
                prefix length; if a router sends it here by a route of\n       its own, write \"192.0.2.1/32\"";
    assert!(error.ends_with(mend), "{error}");
    // A VIP that is on the interface already doesn't make its own subnet.
    let mut machine = machine();
    machine.interfaces[1].addresses.push("192.0.2.1/24".parse().unwrap());
    let loaded = parse(Path::new("lb.toml"), &router("eth1", "\"192.0.2.1\"", "")).unwrap();
    assert!(check(&loaded, &machine, |_| false).is_err());
}

#[test]
fn what_does_not_fit_the_machine() {
    // (interfaces, VIP, real), then the line, the text it points at, words of the fault and of the mend.
    let cases = [
        (
            ("\"eth11\"", "172.28.128.9", "address = \"172.28.128.40\""),
            2,
            "\"eth11\"",
            "no interface eth11",
            "did you mean \"eth1\"? This machine has eth1, eth2",
        ),
        (
            ("\"eth1\"", "172.28.128.9", "address = \"172.28.128.40\", interface = \"wan\""),
            10,
            "\"wan\"",
            "no interface wan",
            "this machine has eth1",
        ),
        (
            ("\"eth1\"", "172.28.128.9", "address = \"192.0.2.1\""),
            10,
            "\"192.0.2.1\"",
            "off every segment",
            "on 172.28.128.0/24 (eth1) or 10.7.0.0/24 (eth1.7); or give the real's `mac`",
        ),
        (
            ("\"eth1\"", "172.28.128.9", "address = \"10.2.0.9\""),
            10,
            "\"10.2.0.9\"",
            "off every segment",
            "it is on eth2: add that to director.interfaces",
        ),
        (
            ("\"eth1\"", "172.28.128.9", "address = \"10.2.0.9\", interface = \"eth1\""),
            10,
            "\"10.2.0.9\"",
            "off the segments of eth1",
            "it is on eth2: write interface = \"eth2\"",
        ),
        (
            ("\"eth1\"", "172.28.128.9", "address = \"172.28.128.2\""),
            10,
            "\"172.28.128.2\"",
            "this director itself, on eth1",
            "another machine",
        ),
        (
            ("\"eth1\"", "172.28.128.9", "address = \"10.2.0.1\", mac = \"02:00:00:00:00:01\""),
            10,
            "\"10.2.0.1\"",
            "this director itself, on eth2",
            "another machine",
        ),
        (
            ("\"eth1\"", "172.28.128.9", "address = \"172.28.128.255\""),
            10,
            "\"172.28.128.255\"",
            "the broadcast address of 172.28.128.0/24",
            "one host",
        ),
        (
            ("\"eth1\"", "172.28.128.9", "address = \"172.28.128.0\""),
            10,
            "\"172.28.128.0\"",
            "the network's own address",
            "one host",
        ),
    ];
    for ((interfaces, vip, real), line, text, fault, mend) in cases {
        let error = result(&file(interfaces, vip, real)).unwrap_err();
        let [one] = error.diagnostics() else {
            panic!("one fault was expected of {real}:\n{error}");
        };
        assert_eq!(error.position(one).unwrap().line, line, "{error}");
        let span = one.span.clone().unwrap();
        assert_eq!(&file(interfaces, vip, real)[span], text, "{error}");
        assert!(one.message.contains(fault), "{fault}:\n{error}");
        assert!(one.mend.contains(mend), "{mend}:\n{error}");
    }
}

#[test]
fn an_ipv6_service_of_a_director_without_ipv6_is_told_so() {
    let text = "[director]\ninterfaces = [\"eth1\"]\n[service.a]\naddress = \"[2001:db8::1]:80\"\n\
                protocol = \"tcp\"\nreals = [{ address = \"2001:db8::2\" }]\n";
    let error = result(text).unwrap_err().to_string();
    assert!(error.contains("give this director an IPv6 address"), "{error}");
}

#[test]
fn a_machine_without_interfaces_is_told_so() {
    let text = "[director]\ninterfaces = [\"eth1\"]\n";
    let loaded = parse(Path::new("lb.toml"), text).unwrap();
    let error = check(&loaded, &Segments::default(), |_| false).unwrap_err().to_string();
    assert!(error.contains("no interface but lo"), "{error}");
}

#[test]
fn what_is_good_but_doubtful_is_warned_of() {
    let text = r#"
[director]
interfaces = ["eth1"]
[vrrp.dns]
interface = "eth1"
id = 1
addresses = ["172.28.128.53/24", "192.0.2.1/24", "192.0.2.9/32"]
track = [{ script = ["/missing", "x"] }]
notify = ["/text"]
[service.dns]
address = "172.28.128.52:53"
protocol = "udp"
reals = [{ address = "172.28.128.40" }]
[service.far]
address = "198.51.100.200:53"
protocol = "udp"
reals = [{ address = "172.28.128.40" }]
[service.all]
address = "172.28.128.53"
protocol = "udp"
reals = [{ address = "172.28.128.40" }]
[service.meant]
address = "192.0.2.9:any"
fleet = { quorum = 2 }
protocol = "udp"
reals = [{ address = "172.28.128.40" }]
[peers]
listen = "172.28.128.77"
addresses = ["172.28.128.78"]
key_file = "/etc/lb/peers.key"
"#;
    let loaded = parse(Path::new("lb.toml"), text).unwrap();
    check(&loaded, &machine(), |_| false).unwrap();
    let program = |path: &str| match path {
        "/missing" => Some("isn't there"),
        _ => Some("is not executable"),
    };
    let warnings = doubts(&loaded, Some(&Here { segments: &machine(), program: &program })).unwrap();
    let expected = [
        (7, "192.0.2.1/24 is of a subnet on which eth1 has no address", "routes to it"),
        (8, "/missing isn't there", "execute"),
        (9, "/text is not executable", "execute"),
        (11, "no virtual router owns 172.28.128.52", "did you mean 172.28.128.53, of [vrrp.dns]?"),
        (15, "no virtual router owns 198.51.100.200", "add it to a [vrrp.NAME]"),
        (19, "172.28.128.53 has no port", "\"172.28.128.53:80\""),
        (22, "its reals weigh 1 together: a quorum of 2 is never met", "1 at most"),
        (28, "no interface here has 172.28.128.77", "before the agent starts"),
    ];
    assert_eq!(warnings.diagnostics().len(), expected.len(), "{warnings}");
    for (one, (line, fault, mend)) in warnings.diagnostics().iter().zip(expected) {
        assert_eq!(warnings.position(one).unwrap().line, line, "{warnings}");
        assert!(one.message.contains(fault) && one.mend.contains(mend), "{fault}, {mend}: {warnings}");
    }
    let told = warnings.to_string();
    assert!(told.contains("lb.toml:11:11: warning: no") && told.ends_with("8 warnings"), "{told}");
    let quiet = parse(Path::new("lb.toml"), &file("\"eth1\"", "172.28.128.9", "address = \"172.28.128.40\"")).unwrap();
    assert!(doubts(&quiet, Some(&Here { segments: &machine(), program: &|_| None })).is_none());
    // Of the text alone.
    let told = doubts(&loaded, None).unwrap();
    let lines: Vec<usize> = told.diagnostics().iter().map(|one| told.position(one).unwrap().line).collect();
    assert_eq!(lines, [19, 22], "{told}");
}

#[test]
fn what_is_awaited_is_doubted_and_no_fault() {
    let real = "address = \"192.0.2.40\", interface = \"eth8\"";
    let loaded = parse(Path::new("lb.toml"), &file("\"eth1\", \"eth9\"", "172.28.128.9", real)).unwrap();
    check(&loaded, &machine(), |_| true).unwrap();
    let refused = check(&loaded, &machine(), |name| name == "eth9").unwrap_err();
    assert_eq!(refused.diagnostics().len(), 1, "{refused}");
    let warnings = doubts(&loaded, Some(&Here { segments: &machine(), program: &|_| None })).unwrap().to_string();
    for name in ["eth8", "eth9"] {
        assert!(warnings.contains(&format!("there is no interface {name}: the agent would wait for it")), "{warnings}");
    }
}
