//! Metrics and the status page, as a real Prometheus and its tools read them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::Agent;
use lb_tests::client::Client;
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, nginx, scenario, wait_until};

const PORT: u16 = 9849;

fn config(lab: &Lab, listen: &str) -> String {
    let reals = lab.reals().map(|host| real(host.v4(), ""));
    format!("[metrics]\nlisten = \"{listen}\"\n")
        + &director(&["eth1"])
        + &service("web", format!("{VIP}:80"), "protocol = \"tcp\"\nscheduler = \"rr\"", reals)
}

/// What a page says, to a client of the host.
fn page(host: &Host, address: IpAddr, path: &str, accept: &str) -> Result<String> {
    host.within(|| -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lb\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        Ok(format!("{head}\n\n{body}"))
    })?
}

/// What promtool finds in a text.
fn check_metrics(text: &str) -> Result<()> {
    let mut promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    promtool.stdin.take().context("its input")?.write_all(text.as_bytes())?;
    let output = promtool.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn the_rules_are_prometheus_s() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/prometheus/lb.rules.yml");
    let output = Command::new("promtool").args(["check", "rules"]).arg(rules).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn prometheus_reads_what_a_director_counts() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let (host, client) = (lab.director(), lab.client());
        let agent = Agent::start(host, &config(lab, &format!("{}:{PORT}", host.v4())))?;
        agent.wait_until_served()?;
        Client::new(client).get_many((VIP, 80), 10)?;
        let address = IpAddr::from(host.v4());
        wait_until(DEADLINE, "the metrics to be served", || page(client, address, "/metrics", "*/*").is_ok())?;
        let answer = page(client, address, "/metrics", "*/*")?;
        let (head, text) = answer.split_once("\n\n").context("no text")?;
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        check_metrics(text)?;
        assert!(text.contains("lb_vrrp_state{router=\"web\",state=\"master\"} 1\n"), "{text}");
        let html = page(client, address, "/", "text/html")?;
        assert!(html.contains("2 of 2 reals up") && html.contains(&VIP.to_string()), "{html}");

        let file = client.dir().join("prometheus.yml");
        fs::write(
            &file,
            format!(
                "scrape_configs:\n- job_name: lb\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{}:{PORT}']\n",
                host.v4()
            ),
        )?;
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", client.dir().join("tsdb").display()),
            "--web.listen-address=127.0.0.1:9090".to_owned(),
        ];
        let mut prometheus = client.spawn("prometheus", &arguments)?;
        let query = |what: &str| client.run("promtool", &["query", "instant", "http://127.0.0.1:9090", what]);
        wait_until(DEADLINE, "Prometheus to have read them", || {
            let counted = query("sum(lb_real_connections_total)").unwrap_or_default();
            counted.contains("=> 10 @")
        })?;
        assert!(query("lb_real_up")?.contains("service=\"web\""));
        prometheus.terminate(DEADLINE)?;
        Ok(())
    });
}

#[test]
fn an_address_that_is_taken_is_waited_for_and_a_reload_moves_the_listener() {
    scenario(Lab::builder(), |lab| {
        let host = lab.director();
        let elsewhere = IpAddr::from([127, 0, 0, 1]);
        let taken = host.within(|| std::net::TcpListener::bind((elsewhere, PORT)))??;
        let agent = Agent::start(host, &config(lab, &format!("{elsewhere}:{PORT}")))?;
        wait_until(DEADLINE, "that to be said", || agent.log().contains("metrics: nothing listens on 127.0.0.1:9849"))?;
        drop(taken);
        wait_until(DEADLINE, "the metrics to be served", || page(host, elsewhere, "/metrics", "*/*").is_ok())?;
        let text = page(host, elsewhere, "/metrics", "application/openmetrics-text;version=1.0.0,*/*;q=0.1")?;
        assert!(text.contains("application/openmetrics-text") && text.ends_with("# EOF\n"), "{text}");

        let said = agent.reload(&config(lab, &format!("{}:{PORT}", host.v4())))?;
        assert!(said.contains(&format!("metrics: served on {}:{PORT} now", host.v4())), "{said}");
        wait_until(DEADLINE, "the listener to move", || page(host, host.v4().into(), "/metrics", "*/*").is_ok())?;
        assert!(page(host, elsewhere, "/metrics", "*/*").is_err());
        Ok(())
    });
}
