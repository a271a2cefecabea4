//! gRPC checks of h2's own server.

use std::net::Ipv4Addr;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::tests::{GENEROUS, bad, target, wrong};
use super::super::{Vips, run};
use super::*;
use crate::config::CheckKind;
use crate::health::machine::Outcome;

/// What a server answers.
#[derive(Debug, Clone, Default)]
struct Answer {
    status: u16,
    kind: &'static str,
    /// In the headers, with nothing behind them.
    at_once: &'static [(&'static str, &'static str)],
    parts: Vec<Bytes>,
    trailers: &'static [(&'static str, &'static str)],
    /// Parts that are sent for ever.
    is_endless: bool,
}

fn state(number: u8) -> Answer {
    Answer {
        status: 200,
        kind: "application/grpc",
        parts: vec![Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, number])],
        trailers: &[("grpc-status", "0")],
        ..Answer::default()
    }
}

/// A server of one call; it gives what it was asked.
async fn serving(answer: Answer) -> (u16, tokio::task::JoinHandle<(Request<()>, Vec<u8>)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        let mut session = h2::server::handshake(connection).await.unwrap();
        let (request, mut respond) = session.accept().await.unwrap().unwrap();
        let (heads, mut body) = request.into_parts();
        let said = async move {
            let mut asked = Vec::new();
            while let Some(part) = body.data().await {
                asked.extend_from_slice(&part.unwrap());
            }
            let mut response = Response::builder().status(answer.status).header(CONTENT_TYPE, answer.kind);
            for (name, value) in answer.at_once {
                response = response.header(*name, *value);
            }
            let is_whole = !answer.at_once.is_empty();
            let mut stream = respond.send_response(response.body(()).unwrap(), is_whole).unwrap();
            if !is_whole {
                for part in answer.parts {
                    let _ = stream.send_data(part, false);
                }
                while answer.is_endless && stream.send_data(Bytes::from_static(&[0; 1024]), false).is_ok() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let mut trailers = HeaderMap::new();
                for (name, value) in answer.trailers {
                    trailers.insert(*name, HeaderValue::from_static(value));
                }
                let _ = stream.send_trailers(trailers);
            }
            asked
        };
        tokio::pin!(said);
        let asked = loop {
            tokio::select! {
                asked = &mut said => break asked,
                // Driven until all is said.
                next = session.accept() => if !matches!(next, Some(Ok(_))) { break Vec::new() },
            }
        };
        session.graceful_shutdown();
        while let Some(Ok(_)) = session.accept().await {}
        (Request::from_parts(heads, ()), asked)
    });
    (port, server)
}

async fn ask(question: &Grpc, answer: Answer) -> Outcome {
    let (port, _server) = serving(answer).await;
    run(&target(CheckKind::Grpc(question.clone()), port, GENEROUS), &Vips::default(), &Memory::default()).await
}

#[tokio::test]
async fn what_the_health_service_says_counts() {
    let rows = [
        (state(1), Outcome::Good),
        (state(2), wrong("NOT_SERVING, expected SERVING")),
        (state(3), wrong("SERVICE_UNKNOWN, expected SERVING")),
        (state(9), wrong("health 9, expected SERVING")),
        (
            Answer { at_once: &[("grpc-status", "5"), ("grpc-message", "unknown service")], ..state(1) },
            wrong("the call ended with NOT_FOUND: unknown service"),
        ),
        (Answer { trailers: &[("grpc-status", "12")], ..state(1) }, wrong("the call ended with UNIMPLEMENTED")),
        (Answer { trailers: &[("x", "y")], ..state(1) }, wrong("the answer is not gRPC's")),
        (Answer { status: 503, ..state(1) }, wrong("HTTP status 503 in place of gRPC's answer")),
        (Answer { kind: "text/html", ..state(1) }, wrong("the answer is not gRPC's")),
        (Answer { parts: vec![Bytes::from_static(b"\x01\0\0\0\0")], ..state(1) }, wrong("the answer is not gRPC's")),
        (Answer { is_endless: true, ..state(1) }, wrong("the answer is not gRPC's")),
    ];
    for (answer, expected) in rows {
        let shown = format!("{answer:?}");
        assert_eq!(ask(&Grpc::default(), answer).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn the_service_and_the_authority_are_asked() {
    let question = Grpc { service: "shop.v1.Cart".to_owned(), host: Some("shop.example".to_owned()), tls: None };
    let (port, server) = serving(state(1)).await;
    let target = target(CheckKind::Grpc(question), port, GENEROUS);
    assert_eq!(run(&target, &Vips::default(), &Memory::default()).await, Outcome::Good);
    let (heads, asked) = server.await.unwrap();
    assert_eq!(heads.uri().to_string(), "http://shop.example/grpc.health.v1.Health/Check");
    assert_eq!(heads.headers()["grpc-timeout"], "20000m");
    assert_eq!(asked, message::request("shop.v1.Cart"));
}

#[tokio::test]
async fn what_is_not_http_2_is_told_from_what_is_closed_or_silent() {
    let rows: [(&'static [u8], bool, Outcome); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false, wrong("the answer is not HTTP/2")),
        (&[0xff; 4096], true, wrong("the answer is not HTTP/2")),
        (b"", false, bad("closed before a response")),
        (b"\0\0\0\x04\0\0\0\0\0", true, bad("timed out after 200ms waiting for a response")),
    ];
    for (says, hold, expected) in rows {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let _ = connection.read(&mut asked).await;
            let _ = connection.write_all(says).await;
            let _ = if hold {
                connection.read_to_end(&mut Vec::new()).await.map(drop)
            } else {
                connection.shutdown().await
            };
        });
        let target = target(CheckKind::Grpc(Grpc::default()), port, Duration::from_millis(200));
        assert_eq!(run(&target, &Vips::default(), &Memory::default()).await, expected, "{}", says.escape_ascii());
    }
}
