//! HTTP/2 against h2's own server, and against ones that mean no good.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::tests::{GENEROUS, bad, target, wrong};
use super::super::{Vips, run};
use super::*;
use crate::config::CheckKind;
use crate::health::machine::Outcome;

const QUICK: Duration = Duration::from_millis(300);

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A server of one request, with a body of these parts, which it may send for ever; it gives what it was asked.
async fn serving(
    status: u16,
    size: usize,
    part: &'static [u8],
    is_endless: bool,
) -> (u16, tokio::task::JoinHandle<Request<()>>) {
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        let mut session = h2::server::handshake(connection).await.unwrap();
        let (request, mut respond) = session.accept().await.unwrap().unwrap();
        let said = async move {
            let response = Response::builder().status(status).header("x", "y".repeat(size)).body(()).unwrap();
            let Ok(mut stream) = respond.send_response(response, false) else { return };
            while stream.send_data(Bytes::from_static(part), !is_endless).is_ok() && is_endless {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::pin!(said);
        let mut is_said = false;
        loop {
            tokio::select! {
                () = &mut said, if !is_said => is_said = true,
                next = session.accept() => if !matches!(next, Some(Ok(_))) { break },
            }
        }
        request.map(drop)
    });
    (port, server)
}

fn two(question: Http) -> CheckKind {
    CheckKind::Http(Http { version: Version::Two, ..question })
}

async fn ask(question: Http, port: u16, timeout: Duration) -> Outcome {
    run(&target(two(question), port, timeout), &Vips::default(), &Memory::default()).await
}

fn with(text: &str) -> Http {
    Http { body: Some(Body::Text(text.to_owned())), ..Http::default() }
}

#[tokio::test]
async fn status_and_body_count_by_http_2_as_by_http_1() {
    let rows = [
        (Http::default(), 200, "well", false, Outcome::Good),
        (Http::default(), 200, "well", true, Outcome::Good),
        (Http::default(), 503, "well", false, wrong("status 503, expected 200-299")),
        (with("well"), 200, "all is well", false, Outcome::Good),
        (with("well"), 200, "all is well", true, Outcome::Good),
        (with("well"), 200, "ill", false, wrong("the body has no \"well\"")),
        (with("well"), 200, "ill", true, wrong("the body has no \"well\" in its first 1 KiB")),
        (with("well"), 302, "well", false, wrong("status 302, expected 200-299")),
    ];
    for (question, status, part, is_endless, expected) in rows {
        let (port, _server) = serving(status, 1, part.as_bytes(), is_endless).await;
        let question = Http { body_limit: 1024, ..question };
        assert_eq!(ask(question, port, GENEROUS).await, expected, "{status} {part} {is_endless}");
    }
}

#[tokio::test]
async fn what_is_asked_is_there_and_nothing_of_http_1() {
    let (port, server) = serving(200, 1, b"", false).await;
    let headers = vec![crate::config::Header { name: "x-probe".to_owned(), value: "1".to_owned() }];
    let host = Some("www.example.org".to_owned());
    let question = Http { method: "HEAD".to_owned(), path: "/a?b=c".to_owned(), host, headers, ..Http::default() };
    assert_eq!(ask(question, port, GENEROUS).await, Outcome::Good);
    let asked = server.await.unwrap();
    assert_eq!((asked.method(), asked.uri().to_string().as_str()), (&Method::HEAD, "http://www.example.org/a?b=c"));
    assert_eq!(asked.headers()["x-probe"], "1");
    assert!(!asked.headers().contains_key(HOST) && !asked.headers().contains_key(CONNECTION));
}

#[tokio::test]
async fn headers_beyond_what_is_read_end_the_check() {
    let (port, _server) = serving(200, 60_000, b"", false).await;
    let Outcome::Bad(_, said) = ask(Http::default(), port, GENEROUS).await else { panic!("they are too large") };
    assert!(!said.contains("timed out"), "{said}");
}

/// An empty SETTINGS.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

#[tokio::test]
async fn a_hostile_server_costs_bounded_time() {
    // HEADERS of stream 1 without an end, then CONTINUATIONs of 204 fields "x: y".
    let headers: Vec<u8> = [SETTINGS, &[0, 0, 0, 1, 0, 0, 0, 0, 1]].concat();
    let more: Vec<u8> = [&[0, 3, 0xfc, 9, 0, 0, 0, 0, 1][..], &b"\0\x01x\x01y".repeat(204)].concat();
    // An answer of status 200, then DATA of no bytes.
    let answer = [SETTINGS, &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88]].concat();
    let empty = vec![0, 0, 0, 0, 0, 0, 0, 0, 1];
    let slow = "timed out after 300ms waiting for a response";
    // (first, again and again, what a check of a body says; nothing where it is enough that it ends before its time)
    let rows = [
        ("continuations", headers, more, None),
        ("empty data", answer.clone(), empty, None),
        ("pings", SETTINGS.to_vec(), b"\0\0\x08\x06\0\0\0\0\0lb-check".to_vec(), Some(bad(slow))),
        ("settings", SETTINGS.to_vec(), SETTINGS.to_vec(), Some(bad(slow))),
        ("unknown frames", SETTINGS.to_vec(), vec![0, 0, 1, 0xee, 0, 0, 0, 0, 0, 1], Some(bad(slow))),
        ("silence", answer, Vec::new(), Some(bad(slow))),
        ("garbage", vec![0xff; 4096], vec![0xff; 4096], Some(wrong("the answer is not HTTP/2"))),
        ("HTTP/1", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b"a".repeat(64), Some(wrong("the answer is not HTTP/2"))),
    ];
    for (name, first, again, expected) in rows {
        let (listener, port) = listen().await;
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await;
            let mut written = connection.write_all(&first).await;
            while written.is_ok() && !again.is_empty() {
                written = connection.write_all(&again).await;
                tokio::task::yield_now().await;
            }
            // Until the check has gone.
            let _ = connection.read_to_end(&mut Vec::new()).await;
        });
        let begun = Instant::now();
        let outcome = ask(with("well"), port, QUICK).await;
        assert!(begun.elapsed() < QUICK * 20, "{name}: {:?}", begun.elapsed());
        match expected {
            Some(expected) => assert_eq!(outcome, expected, "{name}"),
            None => assert!(matches!(outcome, Outcome::Bad(..)), "{name}: {outcome:?}"),
        }
        server.abort();
    }
}
