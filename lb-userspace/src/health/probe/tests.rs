//! Probes against real sockets on the loopback.

use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use super::*;
use crate::config::{Body, Check, Http, Origin, Ping, Tcp, Udp};

/// One check of a target that nothing is known of.
async fn run(target: &Target, vips: &Vips) -> Outcome {
    super::run(target, vips, &Memory::default()).await
}

pub(super) const GENEROUS: Duration = Duration::from_secs(20);

pub(super) fn target(kind: CheckKind, port: u16, timeout: Duration) -> Target {
    Target {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        check: Check {
            kind,
            port,
            interval: Duration::from_secs(1),
            fast: Duration::from_secs(1),
            timeout,
            rise: 1,
            fall: 1,
            jitter: 0,
            via: crate::config::Via::Real,
            address: None,
            source: None,
            damping: None,
        },
    }
}

fn http() -> CheckKind {
    CheckKind::Http(Http { path: "/health?full=1".to_owned(), ..Http::default() })
}

pub(super) fn bad(reason: &str) -> Outcome {
    Outcome::Bad(Failure::Unreachable, reason.to_owned())
}

pub(super) fn wrong(reason: &str) -> Outcome {
    Outcome::Bad(Failure::Wrong, reason.to_owned())
}

/// A server that reads one request, sends `answer`, and then holds the connection open (`hold`) or closes it. Gives the request.
async fn answering(answer: Vec<u8>, hold: bool) -> (u16, tokio::task::JoinHandle<io::Result<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if connection.read(&mut byte).await? == 0 {
                break;
            }
            request.extend_from_slice(&byte);
        }
        // A checker that has heard enough closes; the rest then can't be sent.
        let _ = connection.write_all(&answer).await;
        if hold {
            let _ = connection.read(&mut [0]).await;
        }
        Ok(String::from_utf8_lossy(&request).into_owned())
    });
    (port, task)
}

async fn ask(answer: &[u8], hold: bool, timeout: Duration) -> Outcome {
    let (port, _server) = answering(answer.to_vec(), hold).await;
    run(&target(http(), port, timeout), &Vips::default()).await
}

#[tokio::test]
async fn tcp_accepted_is_good() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(run(&target(CheckKind::Tcp(Tcp), port, GENEROUS), &Vips::default()).await, Outcome::Good);
    let (mut connection, _) = listener.accept().await.unwrap();
    let read = connection.read(&mut [0]).await;
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "closed by a reset: no TIME_WAIT is left");
}

#[tokio::test]
async fn refused() {
    // Bound but not listening: it refuses, and nobody else gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    for kind in [CheckKind::Tcp(Tcp), http()] {
        assert_eq!(run(&target(kind, port, GENEROUS), &Vips::default()).await, bad("connection refused"));
    }
}

/// A listener whose backlog is full drops further SYNs, as a dead host would.
#[tokio::test]
async fn connecting_to_a_black_hole_times_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(connection) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        held.push(connection.unwrap());
    }
    for kind in [CheckKind::Tcp(Tcp), http()] {
        let target = target(kind, address.port(), Duration::from_millis(100));
        assert_eq!(run(&target, &Vips::default()).await, bad("timed out after 100ms connecting"));
    }
}

#[tokio::test]
async fn http_good_status() {
    let (port, server) = answering(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), false).await;
    assert_eq!(run(&target(http(), port, GENEROUS), &Vips::default()).await, Outcome::Good);
    let request = server.await.unwrap().unwrap().to_lowercase();
    assert!(request.starts_with("get /health?full=1 http/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{request}");
    assert!(request.contains("\r\nconnection: close\r\n"), "{request}");
}

#[tokio::test]
async fn http_host_and_method_are_sent() {
    let (port, server) = answering(b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), false).await;
    let kind = CheckKind::Http(Http {
        method: "HEAD".to_owned(),
        path: "/".to_owned(),
        host: Some("www.example.net".to_owned()),
        status: vec![(200, 200)],
        ..Http::default()
    });
    assert_eq!(run(&target(kind, port, GENEROUS), &Vips::default()).await, Outcome::Good);
    let request = server.await.unwrap().unwrap().to_lowercase();
    assert!(request.starts_with("head / http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nhost: www.example.net\r\n"), "{request}");
}

#[tokio::test]
async fn http_status_out_of_range() {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
    assert_eq!(ask(answer, false, GENEROUS).await, wrong("status 503, expected 200-299"));
}

#[tokio::test]
async fn http_informational_responses_are_passed_over() {
    let answer = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(ask(answer, false, GENEROUS).await, Outcome::Good);
}

#[tokio::test]
async fn http_silence_times_out() {
    assert_eq!(
        ask(b"HTTP/1.1 200", true, Duration::from_millis(150)).await,
        bad("timed out after 150ms waiting for a response")
    );
}

#[tokio::test]
async fn http_closed_early() {
    for part in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-"] {
        assert_eq!(ask(part, false, GENEROUS).await, bad("closed before a response"));
    }
}

#[tokio::test]
async fn http_nonsense() {
    assert_eq!(ask(b"SSH-2.0-OpenSSH_10.0\r\n\r\n", true, GENEROUS).await, wrong("the answer is not an HTTP response"));
}

#[tokio::test]
async fn http_endless_head_is_cut_off() {
    let mut endless = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    endless.resize(1 << 20, b'a');
    assert_eq!(
        ask(&endless, true, GENEROUS).await,
        wrong("the response's headers are too large (more than 16 KiB or 100 lines)")
    );
    let mut many = b"HTTP/1.1 200 OK\r\n".to_vec();
    many.extend(b"a: b\r\n".repeat(200));
    many.extend(b"\r\n");
    assert_eq!(
        ask(&many, true, GENEROUS).await,
        wrong("the response's headers are too large (more than 16 KiB or 100 lines)")
    );
}

#[tokio::test]
async fn http_endless_body_does_not_hold_the_check() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(8 << 20, b'a');
    assert_eq!(ask(&endless, true, GENEROUS).await, Outcome::Good);
}

#[tokio::test]
async fn http_body_that_stalls_does_not_hold_the_check() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    let began = Instant::now();
    assert_eq!(ask(answer, true, GENEROUS).await, Outcome::Good);
    assert!(began.elapsed() < GENEROUS / 2);
}

/// A server of one datagram, which it answers. Gives what it was sent.
async fn echoing(answer: &'static [u8]) -> (u16, tokio::task::JoinHandle<io::Result<Vec<u8>>>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut question = [0; 64];
        let (length, client) = socket.recv_from(&mut question).await?;
        socket.send_to(answer, client).await?;
        Ok(question[..length].to_vec())
    });
    (port, task)
}

fn udp(send: &[u8], expect: Option<&[u8]>) -> CheckKind {
    CheckKind::Udp(Udp { send: send.to_vec(), expect: expect.map(<[u8]>::to_vec), matches: None })
}

#[tokio::test]
async fn udp_answers() {
    let cases = [
        (&b"pong 1"[..], Some(&b"pong"[..]), Outcome::Good),
        (b"pong", Some(b""), Outcome::Good),
        (b"pong", None, Outcome::Good),
        (b"", Some(b""), Outcome::Good),
        (b"pon", Some(b"pong"), wrong("another answer than expected")),
    ];
    for (answer, expect, outcome) in cases {
        let (port, server) = echoing(answer).await;
        assert_eq!(
            run(&target(udp(b"\0ping", expect), port, GENEROUS), &Vips::default()).await,
            outcome,
            "{answer:?}, {expect:?}"
        );
        assert_eq!(server.await.unwrap().unwrap(), b"\0ping");
    }
}

#[tokio::test]
async fn udp_silence_is_good_only_where_nothing_is_expected() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let brief = Duration::from_millis(150);
    assert_eq!(run(&target(udp(b"", None), port, brief), &Vips::default()).await, Outcome::Good);
    let waited = bad("timed out after 150ms waiting for a response");
    assert_eq!(run(&target(udp(b"", Some(b"")), port, brief), &Vips::default()).await, waited);
}

#[tokio::test]
async fn a_udp_port_that_is_unreachable_is_refused() {
    // Bound but connected elsewhere: nothing takes the datagram, and nobody else gets the port.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, 9)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    for expect in [None, Some(&b"pong"[..])] {
        assert_eq!(
            run(&target(udp(b"ping", expect), port, GENEROUS), &Vips::default()).await,
            bad("connection refused")
        );
    }
}

#[tokio::test]
async fn a_question_that_cant_be_put_says_nothing_about_the_real() {
    let kind = CheckKind::Http(Http { path: "/a b".to_owned(), ..Http::default() });
    assert_eq!(
        run(&target(kind, 1, GENEROUS), &Vips::default()).await,
        Outcome::Void("the check's path can't be sent in an HTTP request".to_owned())
    );
}

#[test]
fn ranges_of_status_read_as_a_sentence_and_errors_as_an_operator_greps_for_them() {
    for (failure, text) in [
        (Fault::Io(Errno::ECONNREFUSED.into()), "connection refused"),
        (Fault::Io(Errno::EHOSTUNREACH.into()), "no route to host"),
        (Fault::Io(Errno::ENETUNREACH.into()), "network unreachable"),
        (Fault::Local(Errno::ENETUNREACH.into()), "this director has no route there"),
        (Fault::Local(Errno::EADDRNOTAVAIL.into()), "this director has no free local port, or no source address"),
        (Fault::Local(Errno::EMFILE.into()), "this director is out of descriptors: raise LimitNOFILE"),
        (Fault::Local(Errno::EPERM.into()), "this director's own firewall forbids the connection"),
    ] {
        assert_eq!(failure.to_string(), text);
    }
    let failure = Fault::Status { status: 404, expected: "200 or 300-301".to_owned() };
    assert_eq!(failure.to_string(), "status 404, expected 200 or 300-301");
}

#[tokio::test]
async fn what_this_director_can_not_begin_says_nothing_of_the_real() {
    // Refused by connect(2) itself: a broadcast address, and a link-local one without its interface.
    for address in ["255.255.255.255", "fe80::1"] {
        let target = Target { address: address.parse().unwrap(), ..target(CheckKind::Tcp(Tcp), 80, GENEROUS) };
        let outcome = run(&target, &Vips::default()).await;
        let Outcome::Void(why) = &outcome else { panic!("{address}: {outcome:?}") };
        assert!(why.starts_with("this director"), "{why}");
    }
}

#[test]
fn each_failure_of_the_kernel_is_the_reals_or_the_directors_own() {
    use Errno::*;
    let own = [EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAGAIN, EPERM, ENETDOWN, ENODEV];
    let of_the_real = [ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, EACCES, EPIPE];
    for errno in own.into_iter().chain(of_the_real) {
        let error = || io::Error::from_raw_os_error(errno as i32);
        assert_eq!(Fault::Io(error()).is_own(), own.contains(&errno), "{errno}");
        assert!(Fault::Local(error()).is_own(), "{errno}");
    }
}

/// What a check that wants `text` in the body says of an answer.
async fn ask_body(text: &str, answer: &[u8], hold: bool, timeout: Duration) -> Outcome {
    let CheckKind::Http(http) = http() else { unreachable!() };
    let (port, _server) = answering(answer.to_vec(), hold).await;
    let kind = CheckKind::Http(Http { body: Some(Body::Text(text.to_owned())), ..http });
    run(&target(kind, port, timeout), &Vips::default()).await
}

#[tokio::test]
async fn a_body_is_searched_up_to_its_bound() {
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let answer = |body: &str| [head.as_bytes(), body.as_bytes()].concat();
    let nearly = "a".repeat(16 * 1024 - 4);
    let rows = [
        (answer("all is well"), Outcome::Good),
        (answer("well"), Outcome::Good),
        (answer("wel"), wrong("the body has no \"well\"")),
        (answer(""), wrong("the body has no \"well\"")),
        (answer(&(nearly.clone() + "well")), Outcome::Good),
        (answer(&(nearly + "awell")), wrong("the body has no \"well\" in its first 16 KiB")),
        (answer(&"a".repeat(1 << 20)), wrong("the body has no \"well\" in its first 16 KiB")),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n".to_vec(),
            Outcome::Good,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nwe".to_vec(), bad("closed before a response")),
        (b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nwell".to_vec(), wrong("status 503, expected 200-299")),
        (b"HTTP/1.1 302 No\r\nlocation: /\r\n\r\nwell".to_vec(), wrong("status 302, expected 200-299")),
    ];
    for (answer, expected) in rows {
        let shown = String::from_utf8_lossy(answer.get(..80).unwrap_or(&answer)).into_owned();
        assert_eq!(ask_body("well", &answer, false, GENEROUS).await, expected, "{shown}");
    }
    // The text decides as soon as it is there; a body that neither has it nor ends takes the whole time.
    assert_eq!(ask_body("well", &answer("well"), true, GENEROUS).await, Outcome::Good);
    let timeout = Duration::from_millis(200);
    let waited = bad("timed out after 200ms waiting for a response");
    assert_eq!(ask_body("well", &answer("we"), true, timeout).await, waited);
}

/// One byte at a time, for ever: the check ends with its timeout.
#[tokio::test]
async fn a_body_that_trickles_is_not_waited_for() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut bytes = 0;
        let mut next: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
        while connection.write_all(next).await.is_ok() {
            (bytes, next) = (bytes + next.len(), b"a");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bytes
    });
    let CheckKind::Http(http) = http() else { unreachable!() };
    let kind = CheckKind::Http(Http { body: Some(Body::Text("well".to_owned())), ..http });
    let outcome = run(&target(kind, port, Duration::from_millis(200)), &Vips::default()).await;
    assert_eq!(outcome, bad("timed out after 200ms waiting for a response"));
    assert!(server.await.unwrap() > 0, "the connection was closed");
}

#[tokio::test]
async fn a_ping_of_this_host_is_answered() {
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)] {
        let target = Target { address, ..target(CheckKind::Ping(Ping), 0, GENEROUS) };
        match run(&target, &Vips::default()).await {
            Outcome::Void(why) if why.contains("CAP_NET_RAW") => crate::skip::skip("a ping: needs root"),
            // A machine without IPv6.
            Outcome::Void(why) if address.is_ipv6() => crate::skip::skip(&format!("a ping by IPv6: {why}")),
            outcome => assert_eq!(outcome, Outcome::Good, "{address}"),
        }
    }
}

#[tokio::test]
async fn a_source_or_another_address_is_used() {
    let listener = TcpListener::bind("127.0.9.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut target = target(CheckKind::Tcp(Tcp), port, GENEROUS);
    target.check.address = Some("127.0.9.1".parse().unwrap());
    target.check.source = Some(Origin::Address("127.0.9.2".parse().unwrap()));
    assert_eq!(run(&target, &Vips::default()).await, Outcome::Good);
    assert_eq!(listener.accept().await.unwrap().1.ip(), "127.0.9.2".parse::<IpAddr>().unwrap());
    // What this director hasn't is its own fault, whatever the kind.
    let udp = CheckKind::Udp(Udp { send: vec![], expect: None, matches: None });
    for kind in [CheckKind::Tcp(Tcp), http(), udp, CheckKind::Ping(Ping)] {
        target.check.kind = kind;
        for source in [Origin::Address("192.0.2.77".parse().unwrap()), Origin::Interface("nosuch0".to_owned())] {
            target.check.source = Some(source);
            let outcome = run(&target, &Vips::default()).await;
            assert!(matches!(outcome, Outcome::Void(_)), "{target:?}: {outcome:?}");
        }
    }
}

/// A kind with its keys, as a file has them.
fn of_file(check: &str) -> CheckKind {
    let text = format!(
        "[director]\ninterfaces = [\"eth1\"]\n[service.a]\naddress = \"192.0.2.1:80\"\nprotocol = \"tcp\"\n\
         check = {{ {check} }}\nreals = [{{ address = \"192.0.2.2\" }}]\n"
    );
    let loaded = crate::config::parse(std::path::Path::new("lb.toml"), &text).unwrap_or_else(|error| panic!("{error}"));
    loaded.config.services[0].checks[0].kind.clone()
}

#[tokio::test]
async fn answers_are_matched_by_patterns() {
    let kind = of_file(r"type = 'udp', send = 'ping', expect_regex = '^ok \d+\x00$'");
    for (answer, outcome) in [(&b"ok 12\0"[..], Outcome::Good), (b"ok 12", wrong("another answer than expected"))] {
        let (port, _server) = echoing(answer).await;
        assert_eq!(run(&target(kind.clone(), port, GENEROUS), &Vips::default()).await, outcome, "{answer:?}");
    }
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target_of_silence = target(kind, silent.local_addr().unwrap().port(), Duration::from_millis(150));
    let waited = bad("timed out after 150ms waiting for a response");
    assert_eq!(run(&target_of_silence, &Vips::default()).await, waited);

    let kind = of_file(r"type = 'http', body_regex = '^all is (well|fine)$', body_limit = 1024");
    let long = ["a".repeat(1024), "all is well".to_owned()].concat();
    let rows = [
        ("all is fine", Outcome::Good),
        ("all is fine?", wrong("the body doesn't match ^all is (well|fine)$")),
        (&long, wrong("the body doesn't match ^all is (well|fine)$ in its first 1 KiB")),
    ];
    for (body, outcome) in rows {
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        let (port, _server) = answering(answer.into_bytes(), false).await;
        assert_eq!(run(&target(kind.clone(), port, GENEROUS), &Vips::default()).await, outcome, "{body}");
    }
}
