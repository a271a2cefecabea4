//! What many checks a second cost the agent: its CPU time and memory, and how late they start.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, TableStyle};
use lb_tests::agent::Agent;
use lb_tests::certificates::Authority;
use lb_tests::config::{director, real, service};
use lb_tests::lab::{Lab, VIP, nginx, wait_until};
use lb_tests::usage::{cpu_seconds, resident_mib};
use lb_userspace::api::Checks;

/// Checks of one real of one service.
const EACH: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

/// What was measured.
struct Figures {
    name: &'static str,
    rate: f64,
    cores: f64,
    rss_mib: f64,
    late: Duration,
    bad: u64,
    delayed: u64,
}

pub(crate) fn run(seconds: u64, http: usize, https: usize) -> Result<()> {
    let length = Duration::from_secs(seconds);
    let figures =
        [measure("HTTP", http, "", length)?, measure("HTTPS, resumed", https, ", tls = { insecure = true }", length)?];
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(["checks", "a second", "cores", "for 1000/s", "memory, MiB", "late, 99 %", "bad", "delayed"]);
    for Figures { name, rate, cores, rss_mib, late, bad, delayed } in figures {
        table.add_row([
            name.to_owned(),
            format!("{rate:.0}"),
            format!("{cores:.2}"),
            format!("{:.3}", cores / rate * 1000.0),
            format!("{rss_mib:.0}"),
            format!("{:.1} ms", late.as_secs_f64() * 1000.0),
            bad.to_string(),
            delayed.to_string(),
        ]);
    }
    println!("{table}");
    if !Path::new("/proc/net/ip_vs").exists() {
        println!("keepalived's checker isn't beside it: it runs with IPVS alone, which this kernel hasn't.");
    }
    Ok(())
}

/// So many checks, each once a second, of two reals with nginx.
fn measure(name: &'static str, count: usize, more: &str, length: Duration) -> Result<Figures> {
    let lab = Lab::builder().build()?;
    let authority = Authority::new("the bench's")?.issue(&["www.example.org"], (-1, 90))?;
    let mut servers = Vec::new();
    for host in lab.reals() {
        let [cert, key] = ["443.pem", "443.key"].map(|name| host.dir().join(name));
        fs::write(&cert, &authority.cert)?;
        fs::write(&key, &authority.key)?;
        let tls = format!(
            "server {{ listen 443 ssl; ssl_certificate {}; ssl_certificate_key {}; location / {{ return 200 \"well\\n\"; }} }}\n",
            cert.display(),
            key.display()
        );
        servers.push(nginx::start_with(host, 80, &tls)?);
    }
    let port = if more.is_empty() { 80 } else { 443 };
    let check = |number: usize| {
        format!(
            "{{ type = \"http\", path = \"/{number}\", port = {port}, interval = \"1s\", timeout = \"900ms\"{more} }}"
        )
    };
    let services = count.div_ceil(2 * EACH);
    let text: String = (0..services)
        .map(|number| {
            let checks: Vec<String> = (0..EACH).map(|each| check(number * EACH + each)).collect();
            let keys = format!("protocol = \"tcp\"\nring_size = 251\ncheck = [{}]", checks.join(", "));
            service(
                &format!("s{number}"),
                format!("{VIP}:{}", 1000 + number),
                &keys,
                lab.reals().map(|host| real(host.v4(), "")),
            )
        })
        .collect();
    let mut agent = Agent::start(lab.director(), &(director(&["eth1"]) + &text))?;
    let checks = |agent: &Agent<'_>| -> Result<Checks> { Ok(serde_json::from_str(&agent.lb(&["checks", "--json"])?)?) };
    wait_until(PATIENCE, "each to have been asked", || {
        checks(&agent).is_ok_and(|all| {
            all.checks.len() == services * 2 * EACH && all.checks.iter().all(|one| one.good + one.bad > 3)
        })
    })?;
    // They are spread over the interval by now, and sessions are there to be resumed.
    thread::sleep(Duration::from_secs(5));
    let asked = |all: &Checks| all.checks.iter().map(|one| one.good + one.bad).sum::<u64>();
    let bad = |all: &Checks| all.checks.iter().map(|one| one.bad).sum::<u64>();
    let id = agent.process().id();
    let first = checks(&agent)?;
    let (before, began) = (cpu_seconds(id)?, Instant::now());
    thread::sleep(length);
    let (after, elapsed) = (cpu_seconds(id)?, began.elapsed().as_secs_f64());
    let last = checks(&agent)?;
    let late = Duration::from_micros(last.pace.late_p99_us.context("nothing was late, nor in time")?);
    let figures = Figures {
        name,
        // The answers to both questions take their time, too: what was counted between is of a little more than `elapsed`.
        rate: (asked(&last) - asked(&first)) as f64 / began.elapsed().as_secs_f64(),
        cores: (after - before) / elapsed,
        rss_mib: resident_mib(id)?,
        late,
        bad: bad(&last) - bad(&first),
        delayed: last.pace.delayed - first.pace.delayed,
    };
    ensure!(figures.rate > 0.0, "nothing was asked");
    drop(agent);
    drop(servers);
    lab.close()?;
    Ok(figures)
}
