//! What can't work is refused with one clear error and the mend, and leaves nothing behind.

use std::fs;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use lb_tests::agent::{Agent, binary, lb, refusal, wait_for_traces, write};
use lb_tests::client::{Client, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{Host, Lab, Segment, VIP, nginx, occupy, scenario};
use lb_userspace::dataplane::Pins;

const TCP: &str = "protocol = \"tcp\"";

/// Has the director refuse `config`: `lb run` prints each of `words`, no panic and no more than `lines` lines, fails,
/// and leaves nothing.
fn refused(director: &Host, config: &str, words: &[&str], lines: usize) -> Result<()> {
    let file = write(director, config)?.display().to_string();
    let told = refusal(director, &binary()?.display().to_string(), &["run", "--config", &file])?;
    is_clear(&told, words, lines);
    is_clean(director)
}

fn is_clear(told: &str, words: &[&str], lines: usize) {
    for word in words {
        assert!(told.contains(word), "{word:?} is not in:\n{told}");
    }
    assert!(!told.contains("panicked"), "{told}");
    assert!(told.lines().count() <= lines, "{} lines:\n{told}", told.lines().count());
}

fn is_clean(director: &Host) -> Result<()> {
    wait_for_traces(director, &[])
}

fn good(lab: &Lab) -> String {
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), TCP, lab.reals().map(|host| real(host.v4(), "")))
}

#[test]
fn a_bad_file_is_refused_with_its_line_and_the_mend() {
    scenario(Lab::builder(), |lab| {
        let good = good(lab);
        let weight = good.replacen("172.28.128.40\"", "172.28.128.40\"\nweight = 65536", 1);
        let twice = service("again", format!("{VIP}:80"), TCP, [real(lab.real(1).v4(), "")]);
        let reals_twice = good.replace("172.28.128.50", "172.28.128.40");
        let cases: [(&str, &[&str]); 8] = [
            // Malformed.
            (&good.replace("[service.web]", "[service.web"), &["lb.toml:10:", "[service.web"]),
            (&good.replace("\"tcp\"", "\"tcp"), &["lb.toml:12:", "protocol = \"tcp"]),
            // An unknown key, and a value that is none.
            (&good.replace("protocol", "protokol"), &["protokol", "did you mean", "protocol"]),
            (&good.replace("\"tcp\"", "\"tpc\""), &["lb.toml:12:", "fix: did you mean \"tcp\""]),
            (&weight, &["lb.toml:15:", "65536", "fix: "]),
            // Twice the same.
            (&format!("{good}{twice}"), &["another service has this address", "on line 21", "fix: "]),
            (&reals_twice, &["172.28.128.40", "fix: "]),
            // Good by itself, and not here.
            (&good.replace("172.28.128.50", "192.0.2.1"), &["192.0.2.1", "fix: "]),
        ];
        for (config, words) in cases {
            refused(lab.director(), config, words, 12)?;
            // `lb check` says the same.
            let file = lab.director().dir().join("lb.toml").display().to_string();
            let told =
                refusal(lab.director(), &binary()?.display().to_string(), &["check", "--here", "--config", &file])?;
            is_clear(&told, words, 12);
            assert_eq!(told.matches("  fix: ").count(), 1, "{told}");
        }
        // What doesn't fit this machine may fit another.
        let file = write(lab.director(), &good.replace("172.28.128.50", "192.0.2.1"))?.display().to_string();
        assert!(lb(lab.director(), &["check", &file])?.contains("192.0.2.1"));
        Ok(())
    });
}

#[test]
fn checking_a_good_file_tells_what_it_would_do_and_does_nothing() {
    scenario(Lab::builder(), |lab| {
        let file = write(lab.director(), &good(lab))?.display().to_string();
        let told = lb(lab.director(), &["check", "--config", &file])?;
        for word in ["eth1", "172.28.128.210:80", "172.28.128.40", "172.28.128.50", "real_stats", "MiB"] {
            assert!(told.contains(word), "{word:?} is not in:\n{told}");
        }
        is_clean(lab.director())
    });
}

#[test]
fn a_file_that_is_not_there_is_named() {
    scenario(Lab::builder(), |lab| {
        let told = refusal(lab.director(), &binary()?.display().to_string(), &["run", "--config", "/nowhere/lb.toml"])?;
        is_clear(&told, &["/nowhere/lb.toml", "o such file"], 4);
        is_clean(lab.director())
    });
}

#[test]
fn limits_that_are_too_small_for_the_file_leave_nothing_behind() {
    scenario(Lab::builder(), |lab| {
        let small = good(lab) + "\n[limits]\nreals = 1\n";
        refused(lab.director(), &small, &["reals", "[limits]"], 8)
    });
}

#[test]
fn without_privilege_it_says_what_it_needs() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        let file = write(director, &good(lab))?.display().to_string();
        let lb = binary()?.display().to_string();
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        // A place that anybody may read, as /usr/bin is: what a build makes is not.
        let public = std::path::Path::new("/run/public");
        director.run("mkdir", &["-m", "0755", &public.display().to_string()])?;
        let (binary, config) = (public.join("lb").display().to_string(), public.join("lb.toml").display().to_string());
        director.run("cp", &[&lb, &binary])?;
        director.run("cp", &[&file, &config])?;
        director.run("chmod", &["0755", &binary, &config])?;
        for drop in [
            &nobody[..],
            &["--bounding-set=-bpf,-sys_admin,-perfmon", "--inh-caps=-bpf,-sys_admin,-perfmon"],
            &["--bounding-set=-net_admin,-sys_admin", "--inh-caps=-net_admin,-sys_admin"],
        ] {
            let arguments = [drop, &["--", &binary, "run", "--config", &config]].concat();
            let told = refusal(director, "setpriv", &arguments)?;
            is_clear(&told, &["un as root"], 4);
            is_clean(director)?;
        }
        // No verb tells somebody who may not look that there is nothing.
        let mut agent = Some(Agent::start(director, &good(lab))?);
        for running in [true, false] {
            if !running && let Some(agent) = agent.take() {
                agent.stop()?;
            }
            let which = ["which", "10.0.0.9:1", "10.0.0.1:80"];
            let drain = ["drain", "10.0.0.2"];
            let real = ["real-server", "apply", "172.28.128.211", "--yes", "--root", "/run/public"];
            for verb in [
                &["list"][..],
                &["status"],
                &["doctor"],
                &which,
                &["events", "--follow"],
                &drain,
                &real,
                &["vrrp"],
                &["reload"],
                &["release"],
                &["detach"],
            ] {
                let arguments = [&nobody[..], &["--", &binary], verb].concat();
                let output = director.output("setpriv", &arguments)?;
                let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                let (code, words) = match verb {
                    ["vrrp" | "reload"] | ["which" | "drain", ..] if !running => (3, &["no agent answers"][..]),
                    // What is written down anybody may read.
                    ["events", ..] if !running => {
                        assert_eq!(output.status.code(), Some(3), "{told}");
                        continue;
                    }
                    _ => (4, &["not permitted", "un it as root"][..]),
                };
                assert_eq!(output.status.code(), Some(code), "{verb:?}: {told}");
                is_clear(&told, words, 3);
            }
        }
        lb_tests::agent::lb(director, &["detach"])?;
        is_clean(director)
    });
}

#[test]
fn where_nothing_is_and_nobody_answers_each_verb_says_so_by_its_exit_code() {
    scenario(Lab::builder(), |lab| {
        let lb = binary()?.display().to_string();
        let code = |verb: &[&str]| lab.director().output(&lb, verb).map(|output| output.status.code());
        for verb in [
            &["list"][..],
            &["list", "--json"],
            &["status"],
            &["status", "--quiet"],
            &["events"],
            &["events", "--json", "--follow"],
            &["which", "10.0.0.9:1", "10.0.0.1:80"],
            &["vrrp"],
            &["vrrp", "release", "web"],
            &["reload"],
            &["drain", "10.0.0.2"],
            &["undrain", "10.0.0.2"],
            &["weight", "web", "10.0.0.2", "1"],
            &["disable", "10.0.0.2"],
            &["enable", "10.0.0.2"],
            &["reset"],
        ] {
            assert_eq!(code(verb)?, Some(3), "{verb:?}");
        }
        for verb in [&["release"][..], &["detach"]] {
            assert_eq!(code(verb)?, Some(0), "{verb:?}");
        }
        for verb in
            [&["list", "--x"][..], &["which"], &["which", "10.0.0.9", "web"], &["events", "--kind", "x"], &["x"]]
        {
            assert_eq!(code(verb)?, Some(2), "{verb:?}");
        }
        is_clean(lab.director())
    });
}

#[test]
fn without_bpffs_it_says_how_to_mount_it() {
    scenario(Lab::builder(), |lab| {
        lab.director().run("umount", &["/sys/fs/bpf"])?;
        refused(lab.director(), &good(lab), &["no BPF filesystem at /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf"], 4)
    });
}

#[test]
fn native_mode_is_refused_where_the_driver_has_none() {
    scenario(Lab::builder(), |lab| {
        over_a_bridge(lab)?;
        let native = good(lab).replace("eth1", "br0").replacen("]\n", "]\nmode = \"native\"\n", 2);
        let native = native.replacen("[director]\nmode = \"native\"\n", "[director]\n", 1);
        let words = ["br0", "no native XDP", "does not support XDP in native mode", "director.mode = \"auto\""];
        refused(lab.director(), &native, &words, 6)
    });
}

#[test]
fn auto_mode_falls_back_to_tc_loudly_and_forwards() {
    scenario(Lab::builder(), |lab| {
        over_a_bridge(lab)?;
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let config = good(lab).replace("eth1", "br0").replace(TCP, "protocol = \"tcp\"\nscheduler = \"rr\"");
        let agent = Agent::start(lab.director(), &config)?;
        agent.wait_until_served()?;
        let log = agent.log();
        let loud = log.lines().find(|line| line.contains("several times slower than native")).unwrap_or_default();
        assert!(loud.contains("WARN") && loud.contains("br0") && loud.contains("native"), "{log}");
        let answers = Client::new(lab.client()).get_many((VIP, 80), 20)?;
        assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [10, 10]);
        Ok(())
    });
}

/// Puts the director's eth1 under a bridge, which has its MAC address, its addresses, and no native XDP.
fn over_a_bridge(lab: &Lab) -> Result<()> {
    let (director, nic) = (lab.director(), lab.director().nic());
    director.ip(&format!("link add name br0 address {} type bridge stp_state 0 forward_delay 0", nic.mac))?;
    director.ip(&format!("address del {}/24 dev eth1", nic.v4))?;
    director.ip("link set eth1 master br0")?;
    director.ip("link set br0 up")?;
    director.ip(&format!("address add {}/24 dev br0", nic.v4)).map(|_| ())
}

#[test]
fn another_xdp_program_is_left_alone_and_named_as_the_reason() {
    scenario(Lab::builder().place("real-2", Segment::Back), |lab| {
        let director = lab.director();
        // On the second interface: the first one's program is taken off again.
        let _other: OwnedFd = occupy(director, "eth2")?;
        for mode in ["auto", "native"] {
            let config = good(lab).replace("[\"eth1\"]", &format!("[\"eth1\", \"eth2\"]\nmode = \"{mode}\""));
            let file = write(director, &config)?.display().to_string();
            let told = refusal(director, &binary()?.display().to_string(), &["run", "--config", &file])?;
            let held = format!("held by process {}", std::process::id());
            is_clear(
                &told,
                &["eth2", "another XDP program is there: id ", "named \"somebody\"", &held, "link detach id"],
                8,
            );
            wait_for_traces(director, &["eth2"])?;
        }
        // The same program on another interface, attached without a link.
        let shown = director.ip("-details link show dev eth2")?;
        let id = shown.split("prog/xdp id ").nth(1).and_then(|rest| rest.split(' ').next()).context("no program")?;
        director.run("bpftool", &["net", "attach", "xdpdrv", "id", id, "dev", "eth1"])?;
        let config = good(lab).replace("[\"eth1\"]", "[\"eth1\", \"eth2\"]");
        let file = write(director, &config)?.display().to_string();
        let told = refusal(director, &binary()?.display().to_string(), &["run", "--config", &file])?;
        is_clear(&told, &["eth1", "named \"somebody\"", "`ip link set dev eth1 xdp off`"], 8);
        director.ip("link set dev eth1 xdp off")?;
        // Behind the socket buffers there is room for both.
        let config = good(lab).replace("[\"eth1\"]", "[\"eth1\", \"eth2\"]\nmode = \"generic\"");
        let agent = Agent::start(director, &config)?;
        agent.wait_until_served()?;
        agent.stop()?;
        lb(director, &["detach"])?;
        wait_for_traces(director, &["eth2"])?;
        Ok(())
    });
}

#[test]
fn a_device_without_mac_address_is_refused() {
    scenario(Lab::builder(), |lab| {
        let config = good(lab).replace("[\"eth1\"]", "[\"eth1\", \"lo\"]");
        // The kernel gives lo an address of zeros; XDP on it is of no use to a director.
        let file = write(lab.director(), &config)?.display().to_string();
        let told = refusal(lab.director(), &binary()?.display().to_string(), &["run", "--config", &file])?;
        is_clear(&told, &["lo"], 8);
        is_clean(lab.director())
    });
}

#[test]
fn pins_that_it_cannot_read_are_not_half_taken_over() {
    scenario(Lab::builder(), |lab| {
        let director = lab.director();
        // A map of another layout, under the name of one of ours.
        let pins = Pins::default();
        director.run("mkdir", &["-p", &pins.directory().display().to_string()])?;
        let pin = &pins.map("reals").display().to_string();
        let create =
            ["map", "create", pin, "type", "array", "key", "4", "value", "8", "entries", "16", "name", "reals"];
        director.run("bpftool", &create)?;
        let file = write(director, &good(lab))?.display().to_string();
        let told = refusal(director, &binary()?.display().to_string(), &["run", "--config", &file])?;
        is_clear(&told, &[pin, "another layout", "lb detach"], 6);
        assert!(!director.ip("-oneline link show")?.contains(" xdp"));
        let held = director.within(|| fs::read_dir(pins.directory()).map(Iterator::count))??;
        assert_eq!(held, 1, "it made maps of its own beside the foreign one");
        Ok(())
    });
}
