//! Whole texts of errors, as people see them.

use std::io::Write;
use std::path::Path;

use super::errors::GOOD;
use super::load;
use crate::config::read;

#[test]
fn whole_texts() {
    let text = "[director]\ninterfaces = [\"eth1\"]\n\n[service.web]\nadress = \"192.0.2.1:80\"\n\
                protocol = \"tcp\"\n\tscheduler = \"rrr\"\n\
                check = { type = \"http\", path = \"/\", host = \"www.example.org\", interval = \"100ms\", timeout = \"2s\", rise = 1 }\n\
                reals = [{ address = \"192.0.2.40\", weight = 70000 }]\n";
    let expected = "\
lb.toml:5:1: `adress` is not a key of [service.web]
  5 | adress = \"192.0.2.1:80\"
    | ^^^^^^
  fix: did you mean \"address\"? Its keys are address, protocol, ports, scheduler,
       persistence, persistence_prefix, persistence_group, udp, ring_size, pool,
       check, join_checks, on_failure, drain_deadline, fleet, notify,
       notify_timeout or reals

lb.toml:7:14: \"rrr\" is not a `scheduler`
  7 |  scheduler = \"rrr\"
    |              ^^^^^
  fix: did you mean \"rr\"? Write mh, sh, rr, wrr, lc, wlc, sed or nq

lb.toml:8:94: `timeout` = 2s is longer than the interval of 100ms
  8 | …l = \"100ms\", timeout = \"2s\", rise = 1 }
    |                         ^^^^
  fix: shorten the timeout or lengthen the interval, so that checks don't
       overlap

lb.toml:9:45: `weight` = 70000 is out of range
  9 | reals = [{ address = \"192.0.2.40\", weight = 70000 }]
    |                                             ^^^^^
  fix: write a whole number from 0 to 65535 (0 quiesces)

4 errors";
    assert_eq!(load(text).unwrap_err().to_string(), expected);
}

#[test]
fn later_faults_point_into_the_accepted_file() {
    let loaded = load(&GOOD.join("\n")).unwrap();
    let span = loaded.places.interfaces[0].clone();
    let error = crate::config::Error::at(&loaded.source, span, "eth1 has no native XDP", "set mode = \"auto\"");
    assert_eq!(
        error.to_string(),
        "lb.toml:2:15: eth1 has no native XDP\n  2 | interfaces = [\"eth1\"]\n    |               ^^^^^^\n  \
         fix: set mode = \"auto\""
    );
}

#[test]
fn a_terminal_gets_colours() {
    let error = load("[director]\ninterfaces = []\n").unwrap_err();
    assert!(error.render(true).contains("\x1b[1;31m^^\x1b[0m"));
    assert!(!error.render(false).contains('\x1b'));
}

#[test]
fn many_errors_are_counted() {
    use std::fmt::Write;
    let mut text = "[director]\ninterfaces = [\"eth1\"]\n".to_owned();
    for number in 0..30 {
        writeln!(text, "nonsense{number} = 1").unwrap();
    }
    let error = load(&text).unwrap_err();
    assert_eq!(error.diagnostics().len(), 30);
    let told = error.to_string();
    assert!(told.contains("`nonsense29`") && told.ends_with("30 errors"), "{told}");
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let missing = read(&folder.path().join("lb.toml")).unwrap_err().to_string();
    assert!(missing.contains("No such file") && missing.contains("--config"), "{missing}");
    let not_a_file = read(folder.path()).unwrap_err().to_string();
    assert!(not_a_file.contains("not its directory"), "{not_a_file}");

    let mut file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
    file.write_all(b"[director]\ninterfaces = [\"eth\xff\"]\n").unwrap();
    let error = read(file.path()).unwrap_err();
    let [one] = error.diagnostics() else {
        panic!("{error}");
    };
    assert_eq!(error.position(one).unwrap().line, 2);
    assert!(one.message.contains("UTF-8"), "{error}");

    let endless = read(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(endless.contains("larger than 64 MiB"), "{endless}");
}
