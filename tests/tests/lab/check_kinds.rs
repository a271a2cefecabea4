//! Each kind of check against a real server of its protocol, and against ones that mean no good: what the operator is
//! told, and that it costs the director next to nothing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{self, Agent, unwrapped};
use lb_tests::certificates::{Authority, Issued};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, nginx, scenario};
use lb_tests::{exim, unbound};
use lb_userspace::api::{RealStatus, State};

/// What each check has besides its kind.
const TIMES: &str = "interval = \"500ms\", timeout = \"400ms\", fall = 1";

/// One check of the lab's first real: its service's name, the port, the check's own keys, and what `lb list` says why
/// it is down, or nothing.
struct Row {
    name: &'static str,
    port: u16,
    keys: String,
    why: Option<&'static str>,
}

fn row(name: &'static str, port: u16, keys: impl Into<String>, why: impl Into<Option<&'static str>>) -> Row {
    Row { name, port, keys: keys.into(), why: why.into() }
}

/// A director with a service for each check.
fn config(lab: &Lab, rows: &[Row]) -> String {
    let one = |(at, Row { name, port, keys, .. }): (u16, &Row)| {
        let keys = format!("protocol = \"tcp\"\ncheck = {{ {keys}, port = {port}, {TIMES} }}");
        service(name, format!("{VIP}:{at}"), &keys, [real(lab.real(1).v4(), "")])
    };
    director(&["eth1"]) + &(1..).zip(rows).map(one).collect::<String>()
}

/// Waits until each check has found what it is to find.
fn expect(agent: &Agent<'_>, lab: &Lab, rows: &[Row]) -> Result<()> {
    for Row { name, why, .. } in rows {
        let stands = |real: &RealStatus| match why {
            None => real.state == State::Up,
            Some(why) => real.state == State::Down && real.why.as_ref().is_some_and(|said| said.contains(why)),
        };
        agent.wait_for_real(name, lab.real(1).v4(), stands).with_context(|| {
            let found = agent.real(name, lab.real(1).v4());
            format!("{name}, which is to be {why:?}, is {found:?}")
        })?;
    }
    Ok(())
}

/// Waits until each check that was good finds that nobody listens any more.
fn refused(agent: &Agent<'_>, lab: &Lab, rows: impl IntoIterator<Item = Row>) -> Result<()> {
    let good = rows.into_iter().filter(|row| row.why.is_none());
    let rows: Vec<Row> = good.map(|row| Row { why: Some("connection refused"), ..row }).collect();
    expect(agent, lab, &rows)
}

/// Writes a file of a host's, and tells where.
fn write(host: &Host, name: &str, text: &str) -> Result<PathBuf> {
    let path = host.dir().join(name);
    fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A virtual server of nginx that speaks TLS.
fn tls_server(host: &Host, port: u16, issued: &Issued, more: &str) -> Result<String> {
    let cert = write(host, &format!("{port}.pem"), &issued.cert)?;
    let key = write(host, &format!("{port}.key"), &issued.key)?;
    Ok(format!(
        "server {{ listen {port} ssl; ssl_certificate {}; ssl_certificate_key {}; {more} }}\n",
        cert.display(),
        key.display()
    ))
}

#[test]
fn https_of_nginx_is_held_against_its_certificate_status_and_body() {
    scenario(Lab::builder().reals(1), |lab| {
        let (host, director) = (lab.real(1), lab.director());
        let ours = Authority::new("the lab's").context("an authority")?;
        let ca = write(director, "ca.pem", &ours.pem())?;
        let own = ours.issue(&["director.example"], (-1, 9))?;
        let (cert, key) = (write(director, "own.pem", &own.cert)?, write(director, "own.key", &own.key)?);
        let good = ours.issue(&["www.example.org"], (-1, 90))?;
        let well = "location / { return 200 \"all is well\\n\"; }";
        let asking = format!(
            "ssl_client_certificate {}; ssl_verify_client on; {well}",
            write(host, "ca.pem", &ours.pem())?.display()
        );
        let old = ours.issue(&["www.example.org"], (-90, -3))?;
        let servers = |old: &Issued| -> Result<String> {
            Ok([
                tls_server(host, 443, &good, well)?,
                tls_server(host, 8441, &ours.issue(&["other.example.org"], (-1, 90))?, well)?,
                tls_server(host, 8442, old, well)?,
                tls_server(host, 8443, &ours.issue(&["www.example.org"], (-1, 13))?, well)?,
                tls_server(host, 8444, &good, "location / { return 503; }")?,
                tls_server(host, 8445, &good, &asking)?,
            ]
            .concat())
        };
        // What a gRPC server would answer, by nginx's HTTP/2.
        let folder = host.dir().join("grpc.health.v1.Health");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("Check"), [0, 0, 0, 0, 2, 8, 1])?;
        let grpc = format!(
            "default_type application/grpc; root {}; error_page 405 =200 $uri; add_trailer grpc-status",
            host.dir().display()
        );
        let servers = |old: &Issued| -> Result<String> {
            let plain = format!(
                "server {{ listen 8446 http2; {grpc} 0; }}\nserver {{ listen 8447 http2; {grpc} 5; }}\n\
                 server {{ listen 8449 http2; {well} }}\n"
            );
            let two = tls_server(host, 8450, &good, well)?.replace("8450 ssl", "8450 ssl http2");
            let within = tls_server(host, 8448, &good, &format!("{grpc} 0;"))?.replace("8448 ssl", "8448 ssl http2");
            Ok([servers(old)?, plain, within, two].concat())
        };
        let mut server = nginx::start_with(host, 80, &servers(&old)?)?;
        let tls = format!("type = \"http\", host = \"www.example.org\", tls = {{ ca = \"{}\"", ca.display());
        let identity = format!(", cert = \"{}\", key = \"{}\" }}", cert.display(), key.display());
        let mut rows = [
            row("good", 443, format!("{tls} }}, body_regex = '^all is (well|fine)\\n$'"), None),
            row("machine", 443, "type = \"http\", host = \"www.example.org\", tls = true", "is signed by nobody"),
            row("body", 443, format!("{tls} }}, body = \"ill\""), "the body has no \"ill\""),
            row(
                "sni",
                443,
                format!("{tls}, sni = \"b.example\" }}"),
                "certificate is for www.example.org, not b.example",
            ),
            row("name", 8441, format!("{tls} }}"), "certificate is for other.example.org, not www.example.org"),
            row("apart", 8441, format!("{tls}, sni = \"other.example.org\" }}"), None),
            row("any", 8441, "type = \"http\", tls = { insecure = true }", None),
            row("ended", 8442, format!("{tls} }}"), "certificate ended 2 days ago"),
            row("ending", 8443, format!("{tls}, certificate_days = 14 }}"), "certificate ends in 13 days"),
            row("soon", 8443, format!("{tls}, certificate_days = 13 }}"), None),
            row("status", 8444, format!("{tls} }}"), "status 503, expected 200-299"),
            row("stranger", 8445, format!("{tls} }}"), "status 400, expected 200-299"),
            row("known", 8445, format!("{tls}{identity}"), None),
            row("grpc", 8446, "type = \"grpc\"", None),
            row("call", 8447, "type = \"grpc\", service = \"a.B\"", "the call ended with NOT_FOUND"),
            row("session", 8448, tls.replace("http", "grpc") + " }", None),
            row("older", 80, "type = \"grpc\"", "the answer is not HTTP/2"),
            row("two", 8449, "type = \"http\", version = \"2\", body = \"all is well\"", None),
            row("other", 8449, "type = \"http\", version = \"2\", body = \"ill\"", "the body has no \"ill\""),
            row("agreed", 8450, format!("{tls} }}, version = \"2\", body_regex = 'well'"), None),
            row("not-two", 80, "type = \"http\", version = \"2\"", "the answer is not HTTP/2"),
            row("not-agreed", 443, format!("{tls} }}, version = \"2\""), ""),
            row("plain", 80, format!("{tls} }}"), "the answer is not TLS"),
            row("mixed", 443, "type = \"http\"", "status 400, expected 200-299"),
        ];
        let mut agent = Agent::start(director, &config(lab, &rows))?;
        expect(&agent, lab, &rows)?;
        let list = agent.lb(&["list"])?;
        ensure!(list.contains("certificate ends in 13 days"), "{list}");
        let address = host.v4();
        agent.process().wait_for_log(DEADLINE, &format!("real {address}: down: certificate ended 2 days ago"))?;

        // A real whose certificate was renewed is back, and one that dies is refused at once.
        server.kill()?;
        rows[0].why = Some("connection refused");
        expect(&agent, lab, &rows[..1])?;
        let _server = nginx::start_with(host, 80, &servers(&good)?)?;
        rows[0].why = None;
        rows[7].why = None;
        expect(&agent, lab, &rows)?;

        // What can't be used is refused by `lb check` and `lb reload`, at its line; the agent goes on.
        let bad = [("/no/such/ca.pem", "can't be read: No such file"), ("/etc/passwd", "has no certificate in PEM")];
        for (path, why) in bad {
            let tls = format!("type = \"http\", tls = {{ ca = \"{path}\" }}");
            let text = config(lab, &[row("good", 443, tls, None)]);
            let file = agent::write(director, &text)?.display().to_string();
            let program = agent::binary()?.display().to_string();
            let said = unwrapped(&agent::refusal(director, &program, &["check", "--here", &file])?);
            ensure!(said.contains("lb.toml:13:") && said.contains(&format!("{path} {why}")), "{said}");
            let said = unwrapped(&agent.reload(&text).expect_err("it names no certificate").to_string());
            ensure!(said.contains("lb.toml:13:") && said.contains(&format!("{path} {why}")), "{said}");
        }
        expect(&agent, lab, &rows[..1])
    });
}

#[test]
fn unbound_answers_by_udp_and_tcp_and_its_answer_counts() {
    scenario(Lab::builder().reals(1), |lab| {
        let mut unbound = unbound::start(lab.real(1))?;
        let www = "type = \"dns\", name = \"www.example.org\"";
        let rows = [
            row("udp", 53, www, None),
            row("tcp", 53, format!("{www}, transport = \"tcp\""), None),
            row("address", 53, format!("{www}, answer = \"192.0.2.10\""), None),
            row("six", 53, format!("{www}, record = \"AAAA\", answer = \"2001:DB8:0::10\", transport = \"tcp\""), None),
            row(
                "mail",
                53,
                "type = \"dns\", name = \"example.org.\", record = \"MX\", answer = \"10 mail.example.org\"",
                None,
            ),
            row("other", 53, format!("{www}, answer = \"192.0.2.11\""), "the answer has 192.0.2.10, not 192.0.2.11"),
            row("none", 53, "type = \"dns\", name = \"no.example.org\"", "NXDOMAIN, expected NOERROR"),
            row("wanted", 53, "type = \"dns\", name = \"no.example.org\", rcode = \"NXDOMAIN\"", None),
            row("closed", 53, "type = \"dns\", name = \"closed.example\"", "REFUSED, expected NOERROR"),
            row("elsewhere", 54, www, "connection refused"),
        ];
        let agent = Agent::start(lab.director(), &config(lab, &rows))?;
        expect(&agent, lab, &rows)?;
        unbound.kill()?;
        // By UDP that is told by ICMP, of which the kernel sends one a second: the others hear nothing.
        let (tcp, udp): (Vec<Row>, _) = rows.into_iter().partition(|row| row.keys.contains("\"tcp\""));
        refused(&agent, lab, tcp)?;
        let good = udp.into_iter().filter(|row| row.why.is_none());
        expect(&agent, lab, &good.map(|row| Row { why: Some(""), ..row }).collect::<Vec<_>>())
    });
}

#[test]
fn exim_greets_and_starts_tls() {
    scenario(Lab::builder().reals(1), |lab| {
        let ours = Authority::new("the lab's").context("an authority")?;
        let ca = write(lab.director(), "ca.pem", &ours.pem())?;
        let mut server = exim::start(lab.real(1), &ours.issue(&["mail.example.org"], (-1, 13))?)?;
        let tls = format!("type = \"smtp\", tls = {{ ca = \"{}\"", ca.display());
        let rows = [
            row("plain", 25, "type = \"smtp\"", None),
            row("named", 26, "type = \"smtp\", helo = \"lb1.example.org\"", None),
            row("within", 25, format!("{tls}, sni = \"mail.example.org\" }}"), None),
            row("any", 25, "type = \"smtp\", tls = { insecure = true }", None),
            row(
                "name",
                25,
                format!("{tls}, sni = \"b.example\" }}"),
                "certificate is for mail.example.org, not b.example",
            ),
            row(
                "ending",
                25,
                format!("{tls}, sni = \"mail.example.org\", certificate_days = 14 }}"),
                "certificate ends in 13 days",
            ),
            row("offer", 26, "type = \"smtp\", tls = { insecure = true }", "the server doesn't offer STARTTLS"),
            row("elsewhere", 27, "type = \"smtp\"", "connection refused"),
        ];
        let agent = Agent::start(lab.director(), &config(lab, &rows))?;
        expect(&agent, lab, &rows)?;
        // Each took its leave.
        let log = fs::read_to_string(exim::log(lab.real(1)))?;
        ensure!(log.contains("closed by QUIT"), "{log}");
        server.kill()?;
        refused(&agent, lab, rows)
    });
}

/// What a server says to one connection after the other.
type Says = fn(&mut TcpStream) -> std::io::Result<()>;

/// A server inside a host that answers a request as `says` does, or speaks first, for as long as the test runs.
fn serve(host: &Host, port: u16, is_first: bool, says: Says) -> Result<()> {
    let listener = host.within(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))??;
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut request = [0; 4096];
                // Whoever asks may hang up whenever it likes.
                let heard = if is_first { Ok(0) } else { stream.read(&mut request) };
                let _ = heard.and_then(|_| says(&mut stream));
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    });
    Ok(())
}

/// What a server says to one datagram, and who asked; the other socket has the same port of another address.
type Answers = fn(&UdpSocket, &UdpSocket, &[u8], SocketAddr) -> std::io::Result<()>;

/// As [`serve`], by datagrams.
fn serve_datagrams(host: &Host, port: u16, answers: Answers) -> Result<()> {
    let bound = |address: Ipv4Addr| host.within(|| UdpSocket::bind((address, port)));
    let (socket, other) = (bound(host.v4())??, bound(VIP)??);
    thread::spawn(move || {
        let mut question = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            // Whoever asks may be gone.
            let _ = answers(&socket, &other, question.get(..length).unwrap_or_default(), from);
        }
    });
    Ok(())
}

/// A question turned into an answer without records.
fn answered(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    if let Some(flags) = answer.get_mut(2) {
        *flags |= 0x80;
    }
    answer
}

/// With a number that wasn't asked for.
fn misnumbered(question: &[u8]) -> Vec<u8> {
    let mut answer = answered(question);
    if let Some(first) = answer.first_mut() {
        *first ^= 1;
    }
    answer
}

fn endless(stream: &mut TcpStream, head: &[u8], part: &[u8], pause: Duration) -> std::io::Result<()> {
    stream.write_all(head)?;
    loop {
        stream.write_all(part)?;
        thread::sleep(pause);
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const DNS: &str = "type = \"dns\", name = \"www.example.org\"";
const SCRIPT: &str = "type = \"script\", command = [\"/bin/sh\", \"-c\", '";
const BYTE: Duration = Duration::from_millis(20);

#[test]
fn a_hostile_real_costs_a_bounded_time_and_memory() {
    scenario(Lab::builder().reals(1), |lab| {
        let host = lab.real(1);
        let servers: [(u16, Says); 8] = [
            // HTTP/2: headers of stream 1 that are continued without end.
            (8008, |stream| {
                let more = [&[0, 3, 0xfc, 9, 0, 0, 0, 0, 1][..], &b"\0\x01x\x01y".repeat(204)].concat();
                endless(stream, &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], &more, Duration::ZERO)
            }),
            (8001, |stream| endless(stream, OK, &[b'a'; 65_536], Duration::ZERO)),
            (8002, |stream| endless(stream, OK, b"a", BYTE)),
            (8003, |stream| endless(stream, b"HTTP/1.1 200 OK\r\nx: ", &[b'a'; 65_536], Duration::ZERO)),
            (8004, |stream| endless(stream, b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", Duration::ZERO)),
            (8005, |stream| endless(stream, b"", &[0x16; 65_536], Duration::ZERO)),
            (8006, |stream| endless(stream, b"\x16\x03\x03\x40\x00", b"\x02", BYTE)),
            (8007, |stream| stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")),
        ];
        for (port, says) in servers {
            serve(host, port, false, says)?;
        }
        let greetings: [(u16, Says); 6] = [
            // An empty SETTINGS, and then one or a PING after the other.
            (8105, |stream| endless(stream, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 0, 4, 0, 0, 0, 0, 0], BYTE)),
            (8106, |stream| {
                endless(
                    stream,
                    &[0, 0, 0, 4, 0, 0, 0, 0, 0],
                    b"\0\0\x08\x06\0\0\0\0\0lb-check",
                    Duration::from_millis(1),
                )
            }),
            (8101, |stream| endless(stream, b"", b"220-a\r\n", Duration::ZERO)),
            (8102, |stream| endless(stream, b"220 ", &[b'a'; 65_536], Duration::ZERO)),
            (8103, |stream| endless(stream, b"220-", b"a", BYTE)),
            (8104, |stream| endless(stream, b"", &[0x16; 65_536], Duration::ZERO)),
        ];
        for (port, says) in greetings {
            serve(host, port, true, says)?;
        }
        let datagrams: [(u16, Answers); 5] = [
            (9001, |socket, _, question, to| socket.send_to(&answered(question), to).map(drop)),
            (9002, |socket, _, question, to| {
                (0..5000).try_for_each(|_| socket.send_to(&misnumbered(question), to).map(drop))
            }),
            (9003, |_, other, question, to| other.send_to(&answered(question), to).map(drop)),
            (9004, |socket, _, question, to| {
                socket.send_to(&[question.get(..2).unwrap_or_default(), &[0xff; 1400]].concat(), to).map(drop)
            }),
            (9005, |socket, _, _, to| socket.send_to(&[b'a'; 60_000], to).map(drop)),
        ];
        for (port, answers) in datagrams {
            serve_datagrams(host, port, answers)?;
        }
        let tls = "type = \"http\", tls = { insecure = true }";
        let large = "type = \"http\", body_limit = 1048576";
        let rows = [
            row("body", 8001, "type = \"http\", body = \"well\"", "the body has no \"well\" in its first 16 KiB"),
            row("large", 8001, format!("{large}, body_regex = 'b'"), "the body doesn't match b in its first 1024 KiB"),
            row("trickle", 8002, "type = \"http\", body = \"well\"", "timed out after 400ms waiting for a response"),
            row("regex", 8002, "type = \"http\", body_regex = 'a$'", "timed out after 400ms waiting for a response"),
            row("header", 8003, "type = \"http\"", "the response's headers are too large"),
            row("headers", 8004, "type = \"http\"", "the response's headers are too large"),
            row("garbage", 8005, tls, "the answer is not TLS"),
            row("handshake", 8006, tls, "timed out after 400ms in the TLS handshake"),
            row("redirect", 8007, "type = \"http\"", "status 302, expected 200-299"),
            row("status", 8001, "type = \"http\"", None),
            row("script", 80, format!("{SCRIPT}[ $LB_REAL:$LB_PORT:$(id -un) = {}:80:nobody ]']", host.v4()), None),
            row(
                "fails",
                80,
                format!("{SCRIPT}echo no such thing >&2; exit 3']"),
                "exit status: 3; it said: no such thing",
            ),
            row("hung", 80, format!("{SCRIPT}sleep 1000 & wait']"), "script: it was ended after 400ms"),
            row(
                "babble",
                80,
                format!("{SCRIPT}exec yes >&2']"),
                "script: it was ended after 400ms; it said: y / y / y",
            ),
            row("frames", 8005, "type = \"grpc\"", "the answer is not HTTP/2"),
            row("continued", 8008, "type = \"http\", version = \"2\"", "the answer is not HTTP/2"),
            row("pinged", 8106, "type = \"http\", version = \"2\"", "timed out after 400ms waiting for a response"),
            row("settings", 8105, "type = \"grpc\"", "timed out after 400ms waiting for a response"),
            row("pings", 8106, "type = \"grpc\"", "timed out after 400ms waiting for a response"),
            row("lines", 8101, "type = \"smtp\"", "the reply is too long"),
            row("line", 8102, "type = \"smtp\"", "the reply is too long"),
            row("slow", 8103, "type = \"smtp\"", "timed out after 400ms waiting for a response"),
            row("stranger", 8104, "type = \"smtp\"", "the answer is not SMTP's"),
            row("answer", 9001, DNS, None),
            row("number", 9002, DNS, "timed out after 400ms waiting for a response"),
            row("elsewhere", 9003, DNS, "timed out after 400ms waiting for a response"),
            row("nonsense", 9004, DNS, "the answer is not DNS's"),
            row("long", 9005, DNS, "timed out after 400ms waiting for a response"),
            row("datagram", 9005, "type = \"udp\", expect_regex = '^a+$'", None),
            row("message", 8005, format!("{DNS}, transport = \"tcp\""), "the answer is not DNS's"),
            row("part", 8006, format!("{DNS}, transport = \"tcp\""), "timed out after 400ms waiting for a response"),
        ];
        let mut agent = Agent::start(lab.director(), &config(lab, &rows))?;
        expect(&agent, lab, &rows)?;
        let before = memory(&mut agent)?;
        // Ten rounds more of each, which is what is measured.
        thread::sleep(Duration::from_secs(5));
        expect(&agent, lab, &rows)?;
        let after = memory(&mut agent)?;
        eprintln!("the agent's memory: {before} KiB, and {after} KiB five seconds later");
        // Each thread's allocator keeps something for the next check: in a minute it is 50 MiB, and no more from then on.
        ensure!(after < before + 48 * 1024, "{before} KiB, then {after} KiB");
        // A script that others may write is refused, at its line.
        let open = write(lab.director(), "open", "#!/bin/sh\nexit 0\n")?;
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
        let keys = format!("type = \"script\", command = [\"{}\"]", open.display());
        let file = agent::write(lab.director(), &config(lab, &[row("open", 80, keys, None)]))?.display().to_string();
        let program = agent::binary()?.display().to_string();
        let said = unwrapped(&agent::refusal(lab.director(), &program, &["check", "--here", &file])?);
        let why = format!("{} may be written by everybody", open.display());
        ensure!(said.contains("lb.toml:13:") && said.contains(&why) && said.contains("give it to root"), "{said}");
        Ok(())
    });
}

/// The agent's resident memory in KiB.
fn memory(agent: &mut Agent<'_>) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process().id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
