//! Several files, and one for several hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::{Error, Loaded, Texts, accept, read};

const MAIN: &str = "[director]\ninterfaces = [\"eth1\"]\n";

fn service(name: &str, port: u16) -> String {
    format!(
        "[service.{name}]\naddress = \"192.0.2.1:{port}\"\nprotocol = \"tcp\"\nreals = [{{ address = \"192.0.2.40\" }}]\n"
    )
}

/// As the host of this name reads the files.
fn load(host: &str, files: &[(&str, &str)]) -> Result<Loaded, Error> {
    let mut files = files.iter();
    let (path, text) = files.next().unwrap();
    let first = Texts::one(Path::new(path), text);
    accept(&files.fold(first, |texts, (path, text)| texts.and(Path::new(path), text)), host)
}

/// Each fault as `PATH:LINE: MESSAGE`.
fn told(error: &Error) -> Vec<String> {
    let all = error.diagnostics().iter();
    all.map(|one| format!("{}:{}: {}", error.path_of(one).display(), error.position(one).unwrap().line, one.message))
        .collect()
}

#[test]
fn files_are_included_in_order_and_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("conf.d")).unwrap();
    fs::write(path("conf.d/b.toml"), service("b", 81)).unwrap();
    fs::write(path("conf.d/a.toml"), service("a", 80)).unwrap();
    fs::write(path("conf.d/.hidden.toml"), "nonsense").unwrap();
    fs::write(path("conf.d/note.txt"), "nonsense").unwrap();
    fs::write(path("more.toml"), "[flows]\ntcp = \"10m\"\n").unwrap();
    let include = "include = [\"conf.d/*.toml\", \"conf.d/a.toml\", \"more.toml\", \"l*.toml\", \"nowhere/*.toml\"]\n";
    fs::write(path("lb.toml"), format!("{include}{MAIN}")).unwrap();
    let loaded = read(&path("lb.toml")).unwrap();
    let names: Vec<&str> = loaded.config.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(loaded.config.flows.tcp.as_secs(), 600);
    let sources: Vec<&Path> =
        loaded.places.services.iter().map(|one| loaded.source.path_of(one.header.start)).collect();
    assert_eq!(sources, [path("conf.d/a.toml"), path("conf.d/b.toml")]);
    // The agent gets what was read, and nothing else.
    let sent = serde_json::to_string(&Texts::gather(&path("lb.toml")).unwrap()).unwrap();
    let texts: Texts = serde_json::from_str(&sent).unwrap();
    assert_eq!(accept(&texts, "").unwrap().config, loaded.config);
}

#[test]
fn what_cannot_be_included_is_told_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("folder.toml")).unwrap();
    fs::write(path("latin.toml"), b"# \xe9\n").unwrap();
    let cases = [
        ("absent.toml", "lb.toml:1: there is no file \"absent.toml\""),
        ("[", "lb.toml:1: \"[\" is not a pattern"),
        ("f*.toml", "lb.toml:1: PATH/folder.toml is not a file"),
        ("latin.toml", "latin.toml:1: this byte isn't UTF-8"),
    ];
    for (pattern, expected) in cases {
        fs::write(path("lb.toml"), format!("include = [\"{pattern}\"]\n{MAIN}")).unwrap();
        let error = read(&path("lb.toml")).unwrap_err();
        let told = told(&error).join("\n").replace(&folder.path().display().to_string(), "PATH");
        assert!(told.starts_with(&format!("PATH/{expected}")) && !told.contains('\n'), "{told}");
    }
    // A pipe that nobody writes to holds nobody up.
    nix::unistd::mkfifo(&path("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(path("lb.toml"), format!("include = [\"pipe.toml\"]\n{MAIN}")).unwrap();
    assert!(read(&path("lb.toml")).unwrap_err().to_string().contains("is not a file"));
    if !nix::unistd::geteuid().is_root() {
        fs::write(path("secret.toml"), "").unwrap();
        fs::set_permissions(path("secret.toml"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::write(path("lb.toml"), format!("include = [\"secret.toml\"]\n{MAIN}")).unwrap();
        assert!(read(&path("lb.toml")).unwrap_err().to_string().contains("Permission denied"));
    }
}

#[test]
fn faults_name_their_file_and_line() {
    let good = service("web", 80);
    let rows: [(&str, &[&str]); 8] = [
        ("[service.web]\naddress = \"x\"", &["b.toml:1: [service.web] is defined twice, first on line 3 of lb.toml"]),
        ("# b\n[director]\nmode = \"auto\"", &["b.toml:2: [director] is defined twice, first on line 1 of lb.toml"]),
        ("include = [\"c.toml\"]", &["b.toml:1: an included file includes no others"]),
        ("x = 1", &["b.toml:1: `x` is not a key of the file"]),
        ("[service", &["b.toml:1: unclosed table, expected `]`"]),
        (
            &service("again", 80),
            &["lb.toml:4: another service has this address, port and protocol, on line 2 of b.toml"],
        ),
        (
            "[flows]\ntcp = 1\n[pool.a]\n",
            &["b.toml:2: `tcp` must be a string, not a number", "b.toml:3: [pool.a] has no `reals`"],
        ),
        ("service = 3", &["b.toml:1: `service` is defined twice, first on line 3 of lb.toml"]),
    ];
    for (text, expected) in rows {
        let error = load("", &[("lb.toml", &format!("{MAIN}{good}")), ("b.toml", text)]).unwrap_err();
        assert_eq!(told(&error), expected, "{error}");
    }
    let error = load("", &[("lb.toml", MAIN), ("b.toml", "\n[vrrp.a]\npassword = \"s3cret\"\nid = 0\n")]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("b.toml:4:6: `id` = 0 is out of range\n  4 | id = 0\n"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

const BOTH: &str = "\
[director]\ninterfaces = [\"eth1\"]\n\
[vrrp.web]\ninterface = \"eth1\"\nid = 7\npriority = 100\naddresses = [\"192.0.2.1/24\"]\nannounce = { repeat = 2, pace = 50 }\n\
[on.lb1.vrrp.web]\npriority = 150\nannounce = { repeat = 3 }\n\
[on.lb2.director]\ninterfaces = [\"eno2\"]\n[on.lb2.vrrp.web]\ninterface = \"eno2\"\n\
[on.\"lb3.example.org\".vrrp.dmz]\ninterface = \"eth1\"\nid = 8\naddresses = [\"192.0.2.2/24\"]\n";

#[test]
fn one_file_serves_several_directors() {
    let config = |host: &str| load(host, &[("lb.toml", BOTH)]).unwrap_or_else(|error| panic!("{error}"));
    let of = |host: &str| {
        let config = config(host).config;
        let web = config.vrrp.iter().find(|vrrp| vrrp.name == "web").unwrap();
        let announce = (web.announce.repeat, web.announce.pace);
        (web.priority, web.interface.clone(), announce, config.director.interfaces.concat(), config.vrrp.len())
    };
    // A key stands in the place of the same key, whole; all others stay.
    assert_eq!(of("lb1"), (150, "eth1".to_owned(), (3, 10_000), "eth1".to_owned(), 1));
    assert_eq!(of("lb1.example.org"), of("lb1"));
    assert_eq!(of("lb2"), (100, "eno2".to_owned(), (2, 50), "eno2".to_owned(), 1));
    assert_eq!(of("lb3.example.org").4, 2);
    // The whole name of another domain isn't it.
    assert_eq!(of("lb3").4, 1);
    assert_eq!(of("lb4"), (100, "eth1".to_owned(), (2, 50), "eth1".to_owned(), 1));
    let hosts = config("lb1.example.org").hosts;
    assert_eq!((hosts.own.as_deref(), hosts.all.len()), (Some("lb1"), 3));
    let doubt = crate::config::doubts(&config("lb4"), None);
    assert!(doubt.is_none(), "{doubt:?}");
}

#[test]
fn every_director_refuses_the_same() {
    let rows: [(&str, &[&str]); 5] = [
        ("[on.lb1.vrrp.web]\npriority = 0\n", &["2: `priority` = 0 is out of range"]),
        ("[on.lb2.servce.web]\n", &["1: `servce` is not a key of the file"]),
        ("[on.lb2]\ninclude = []\n", &["2: `include` holds on no host alone"]),
        ("[on]\nlb2 = 1\n", &["2: [on.lb2] is not a section"]),
        (
            "[on.lb2.vrrp.web]\ninterface = \"eth2\"\n[on.lb2.vrrp.new]\nid = 7\n",
            &["3: [vrrp.new] has no `interface`", "3: [vrrp.new] has no `addresses`"],
        ),
    ];
    let base = BOTH.split("[on.").next().unwrap();
    for (text, expected) in rows {
        for host in ["lb1", "lb2", "lb3", ""] {
            let error = load(host, &[("lb.toml", base), ("on.toml", text)]).unwrap_err();
            let told: Vec<String> =
                told(&error).iter().map(|line| line.replace("on lb1: ", "").replace("on lb2: ", "")).collect();
            let expected: Vec<String> = expected.iter().map(|line| format!("on.toml:{line}")).collect();
            assert_eq!(told, expected, "as {host}: {error}");
        }
    }
    // What one of them sees alone is said to be so.
    let other = load("lb1", &[("lb.toml", base), ("on.toml", "[on.lb2.vrrp.web]\nid = 0\n")]).unwrap_err();
    assert!(told(&other)[0].contains("on lb2: `id` = 0"), "{other}");
    let twice = load("", &[("lb.toml", BOTH), ("b.toml", "[on.lb1.vrrp.web]\nid = 9\n")]).unwrap_err();
    assert_eq!(told(&twice), ["b.toml:1: [vrrp.web] is defined twice, first on line 9 of lb.toml"]);
}

#[test]
fn a_host_that_nothing_was_written_for_is_doubted_on_the_machine() {
    let loaded = load("lbl", &[("lb.toml", BOTH)]).unwrap();
    let here = crate::config::Here { segments: &Default::default(), program: &|_| None };
    let told = crate::config::doubts(&loaded, Some(&here)).unwrap().to_string();
    assert!(told.contains("this host is lbl, which has no [on.HOST]") && told.contains("did you mean"), "{told}");
}
