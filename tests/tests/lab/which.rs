//! `lb which` says who has a connection before and while it lives, and changes nothing by it.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, binary};
use lb_tests::client::Client;
use lb_tests::config::{director, real, service};
use lb_tests::lab::{Host, Lab, VIP, VIP6, nginx, scenario};
use serde_json::Value;

fn which(host: &Host, arguments: &[&str]) -> Result<(String, Option<i32>)> {
    let output = host.output(&binary()?.display().to_string(), &[&["which"], arguments].concat())?;
    Ok((String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(), output.status.code()))
}

/// The real that is told, and why.
fn told(host: &Host, client: &str, vip: &str) -> Result<(String, String)> {
    let (text, code) = which(host, &[client, vip, "--json"])?;
    ensure!(code == Some(0), "{code:?} {text}");
    let answer: Value = serde_json::from_str(&text)?;
    let at = |place: &str| answer.pointer(place).and_then(Value::as_str).map(str::to_owned).context(place.to_owned());
    Ok((at("/services/0/real")?, at("/services/0/why/by")?))
}

#[test]
fn the_real_that_is_told_is_the_one_that_answers() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let names = |address: &str| -> Result<String> {
            let found = lab.reals().find(|real| real.addresses().contains(&address.parse().unwrap_or(VIP.into())));
            Ok(found.context("no such real")?.title().to_owned())
        };
        let of = |name: &str, vip: IpAddr, port: u16, scheduler: &str| {
            let keys = format!("protocol = \"tcp\"\nscheduler = \"{scheduler}\"\nring_size = 251");
            let reals = lab.reals().map(|host| {
                let address = if vip.is_ipv4() { IpAddr::from(host.v4()) } else { host.v6().into() };
                real(address, "")
            });
            service(name, SocketAddr::new(vip, port), &keys, reals)
        };
        let config = director(&["eth1"]) + "[limits]\nflows = 1024\n";
        let text = config.clone() + &of("mh", VIP.into(), 80, "mh") + &of("six", VIP6.into(), 80, "mh");
        host.own(VIP6.into())?;
        let agent = Agent::start(host, &text)?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        for vip in [IpAddr::from(VIP), VIP6.into()] {
            for port in 40_000..40_012 {
                let own = if vip.is_ipv4() { IpAddr::from(lab.client().v4()) } else { lab.client().v6().into() };
                let from = SocketAddr::new(own, port);
                let (expected, why) = told(host, &from.to_string(), &SocketAddr::new(vip, 80).to_string())?;
                ensure!(why == "settled", "{why}");
                let answered = client.clone().source_port(port).get((vip, 80))?.real;
                ensure!(answered == names(&expected)?, "{from}: {answered} and {expected}");
            }
        }

        // Of a tracked service the next turn is told, as often as it is asked for, and then the one that is remembered.
        agent.reload(&(config + &of("rr", VIP.into(), 80, "rr")))?;
        agent.wait_until_served()?;
        let vip = format!("{VIP}:80");
        let from = |port: u16| format!("{}:{port}", lab.client().v4());
        let (expected, why) = told(host, &from(41_000), &vip)?;
        ensure!(why == "turn", "{why}");
        for _ in 0..3 {
            ensure!(told(host, &from(41_000), &vip)?.0 == expected, "a question takes no turn");
        }
        ensure!(!agent.lb(&["list", "--connections"])?.contains(":41000"), "a question opens nothing");
        let mut held = client.source_port(41_000).connect((VIP, 80))?;
        let answered = held.ask("/")?.real;
        ensure!(names(&expected)? == answered, "{expected} and {answered}");
        let (real, why) = told(host, &from(41_000), &vip)?;
        ensure!((real, why.as_str()) == (expected.clone(), "remembered"));
        let (text, _) = which(host, &[&lab.client().v4().to_string(), &vip])?;
        ensure!(
            text.contains("name the client's port") && text.contains(&format!(":41000 -> {expected}: open")),
            "{text}"
        );

        // What isn't there, and who may not.
        let (text, code) = which(host, &["10.0.0.9:1", &format!("{VIP}:81")])?;
        ensure!(code == Some(1) && text.contains(&format!("no service is at {VIP}:81")), "{code:?} {text}");
        ensure!(text.contains(&format!("there: TCP {VIP}:80")), "{text}");
        for wrong in [["web", vip.as_str()], ["10.0.0.9:1", "10.0.0.1"]] {
            ensure!(which(host, &wrong)?.1 == Some(2), "{wrong:?}");
        }
        agent.lb(&["disable", &lab.real(1).v4().to_string()])?;
        agent.lb(&["disable", &lab.real(2).v4().to_string()])?;
        let (text, code) = which(host, &["10.0.0.9:1", &vip])?;
        ensure!(code == Some(1) && text.contains("no real takes it (refused)"), "{code:?} {text}");
        agent.stop()?;
        ensure!(which(host, &["10.0.0.9:1", &vip])?.1 == Some(3));
        Ok(())
    });
}
