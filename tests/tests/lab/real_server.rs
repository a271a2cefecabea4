//! `lb real-server` on a real of the lab: the trap, what mends it, and the way back.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{binary, unwrapped};
use lb_tests::lab::{Capture, DEADLINE, Frame, Host, Lab, VIP, VIP6, scenario};
use serde_json::Value;

/// What `lb real-server` prints on a real, and its exit code.
fn lb(real: &Host, root: &Path, words: &[&str]) -> Result<(String, Option<i32>)> {
    let root = root.display().to_string();
    let output =
        real.output(&binary()?.display().to_string(), &[&["real-server"], words, &["--root", &root]].concat())?;
    let told = [output.stdout, output.stderr].concat();
    Ok((String::from_utf8_lossy(&told).into_owned(), output.status.code()))
}

/// A question of a host's own for whoever has an address (RFC 826).
fn question(from: &Host, target: Ipv4Addr) -> Vec<u8> {
    let mac = from.mac().0;
    let mut frame =
        [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac, &from.v4().octets(), &[0; 6]].concat();
    frame.extend(target.octets());
    frame
}

/// The address that an ARP answer is about.
fn answered(frame: &Frame) -> Option<Ipv4Addr> {
    let arp = frame.bytes.get(12..).filter(|bytes| bytes.starts_with(&[8, 6]) && !frame.outgoing)?;
    let is_answer = arp.get(8..10) == Some(&[0, 2]);
    arp.get(16..20).filter(|_| is_answer).and_then(|bytes| bytes.first_chunk::<4>()).map(|bytes| (*bytes).into())
}

/// Whether anybody answers ARP for the VIP: a question for the real's own address comes after it, and is answered by the same
/// kernel.
fn answers_for_the_vip(client: &Host, real: &Host, capture: &Capture) -> Result<bool> {
    capture.clear();
    client.send("eth1", &question(client, VIP))?;
    client.send("eth1", &question(client, real.v4()))?;
    capture.wait_for(DEADLINE, "the real to answer for itself", |frame| answered(frame) == Some(real.v4()))?;
    Ok(capture.count(|frame| answered(frame) == Some(VIP)) > 0)
}

/// A real as it is installed, without the VIPs, whose network systemd-networkd configures; the root of its files.
fn as_installed(lab: &Lab, real: &Host) -> Result<PathBuf> {
    for vip in [IpAddr::from(VIP), VIP6.into()] {
        real.ip(&format!("address del {vip}/{} dev lo", if vip.is_ipv4() { 32 } else { 128 }))?;
    }
    for scope in ["all", "eth1"] {
        for name in ["arp_ignore", "arp_announce"] {
            real.sysctl(&format!("net/ipv4/conf/{scope}/{name}"), "0")?;
        }
    }
    let root = lab.dir().join("root");
    let index = real.ip("-oneline link show dev eth1")?;
    let index = index.split(':').next().context("no index")?.to_owned();
    for (path, text) in [
        ("run/systemd/system/nothing", ""),
        ("proc/7/comm", "systemd-network\n"),
        (&format!("run/systemd/netif/links/{index}"), "NETWORK_FILE=/etc/systemd/network/20-lan.network\n"),
        ("etc/systemd/network/20-lan.network", "[Match]\nName=eth1\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("no directory")?)?;
        fs::write(path, text)?;
    }
    Ok(root)
}

/// Every file below a directory with its text.
fn files(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push((path.clone(), fs::read_to_string(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

fn settings(real: &Host) -> Result<String> {
    let keys = ["all/arp_ignore", "eth1/arp_ignore", "all/arp_announce", "eth1/arp_announce"];
    let read = |key: &&str| real.run("cat", &[&format!("/proc/sys/net/ipv4/conf/{key}")]);
    Ok(keys.iter().map(read).collect::<Result<String>>()?.replace('\n', " "))
}

#[test]
fn a_real_is_checked_set_up_and_taken_back() {
    scenario(Lab::builder().reals(1), |lab| {
        let (client, real) = (lab.client(), lab.real(1));
        let root = as_installed(lab, real)?;
        let (v4, v6) = (VIP.to_string(), VIP6.to_string());
        let before = files(&root)?;
        let capture = client.capture("eth1")?;

        let (told, code) = lb(real, &root, &["check", &v4, &v6])?;
        let words = unwrapped(&told);
        ensure!(code == Some(1) && words.contains(&format!("! VIP {v4}: it isn't on lo")), "{told}");
        ensure!(
            words.contains("eth1: it answers ARP for VIPs") && words.contains(&format!("VIP {v6}: it isn't")),
            "{told}"
        );
        ensure!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
        // The trap: it has the VIP as documentation of old says, and takes the clients.
        real.ip(&format!("address add {VIP}/32 dev lo"))?;
        ensure!(answers_for_the_vip(client, real, &capture)?);
        real.ip(&format!("address del {VIP}/32 dev lo"))?;

        // Nothing is changed by who only looks, or can't be asked.
        let (told, code) = lb(real, &root, &["apply", &v4, &v6, "--dry-run"])?;
        ensure!(
            code == Some(0) && told.contains("kept by systemd-networkd") && told.contains("Nothing was changed"),
            "{told}"
        );
        let (asked, code) = lb(real, &root, &["apply", &v4, &v6])?;
        ensure!(code == Some(1) && asked.contains("--yes"), "{asked}");
        ensure!(
            files(&root)? == before && settings(real)? == "0 0 0 0 " && !real.ip("address show dev lo")?.contains(&v4)
        );

        let (told, code) = lb(real, &root, &["apply", &v4, &v6, "--yes"])?;
        ensure!(code == Some(0) && told.ends_with("Done.\n"), "{told}");
        ensure!(!answers_for_the_vip(client, real, &capture)?, "it still answers");
        ensure!(settings(real)? == "1 1 2 2 ");
        let lo = real.ip("address show dev lo")?;
        ensure!(
            lo.contains(&format!("{v4}/32")) && lo.contains(&format!("{v6}/128")) && !lo.contains("tentative"),
            "{lo}"
        );
        let kept = fs::read_to_string(root.join("etc/systemd/network/10-lb-real-server.network"))?;
        ensure!(kept.contains(&format!("Address={v6}/128")), "{kept}");
        let (told, code) = lb(real, &root, &["apply", &v4, &v6, "--yes"])?;
        ensure!(code == Some(0) && told.contains("nothing to do"), "{told}");
        let (told, code) = lb(real, &root, &["check", "--json"])?;
        let json: Value = serde_json::from_str(&told)?;
        ensure!(code == Some(0) && json["good"] == true && json["findings"] == serde_json::json!([]), "{told}");
        ensure!(json["vips"] == serde_json::json!([v4, v6]) && json["interface"] == "eth1", "{told}");

        let (told, code) = lb(real, &root, &["remove", "192.0.2.1", "--yes"])?;
        ensure!(code == Some(1) && told.contains("It is left alone"), "{told}");
        let (told, code) = lb(real, &root, &["remove", "--yes"])?;
        ensure!(code == Some(0) && files(&root)? == before && settings(real)? == "0 0 0 0 ", "{told}");
        let lo = real.ip("address show dev lo")?;
        ensure!(!lo.contains(&v4) && !lo.contains(&v6), "{lo}");
        let (told, code) = lb(real, &root, &["remove", "--yes"])?;
        ensure!(code == Some(0) && told.contains("nothing to undo"), "{told}");
        Ok(())
    });
}
