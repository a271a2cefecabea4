//! HTTPS checks of rustls' own server, whose certificates are made here.

#[path = "../../../../../tests/src/certificates.rs"]
mod certificates;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use toml::Spanned;

use self::certificates::{Authority, Issued};
use super::super::tests::{GENEROUS, bad, target, wrong};
use super::*;
use crate::config::{Body, CheckKind, Http, Identity, Unusable};
use crate::health::Vips;
use crate::health::machine::Outcome;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall is well";

async fn ask(tls: &Tls, host: Option<&str>, port: u16, memory: &Memory) -> Outcome {
    let http = Http { tls: Some(Box::new(tls.clone())), host: host.map(str::to_owned), ..Http::default() };
    super::super::run(&target(CheckKind::Http(http), port, GENEROUS), &Vips::default(), memory).await
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn named(path: impl Into<PathBuf>) -> Spanned<PathBuf> {
    Spanned::new(7..9, path.into())
}

fn trusting(ca: &NamedTempFile) -> Tls {
    Tls { ca: Some(named(ca.path())), ..Tls::default() }
}

/// A server of this certificate, which asks for one by `clients`; it tells how each handshake went.
async fn serve(issued: &Issued, clients: Option<&Authority>) -> (u16, mpsc::UnboundedReceiver<HandshakeKind>) {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            // A check that refuses the certificate ends the handshake.
            let Ok(mut session) = acceptor.accept(connection).await else { continue };
            let _ = told.send(session.get_ref().1.handshake_kind().unwrap());
            let mut request = [0; 1024];
            let _ = session.read(&mut request).await;
            let _ = session.write_all(ANSWER).await;
            let _ = session.shutdown().await;
        }
    });
    (port, seen)
}

#[tokio::test]
async fn a_certificate_is_held_against_name_authority_and_time() {
    let ours = Authority::new("ours").unwrap();
    let ca = file(&ours.pem());
    let other = file(&Authority::new("another").unwrap().pem());
    let trusting = |days| Tls { certificate_days: days, ..trusting(&ca) };
    let sni = |name: &str| Tls { sni: Some(name.to_owned()), ..trusting(None) };
    let any = |days| Tls { insecure: true, certificate_days: days, ..Tls::default() };
    let (now, old, new) = ((-1, 90), (-90, -3), (2, 90));
    let rows: [(&[&str], _, Tls, Option<&str>, Outcome); 17] = [
        (&["www.example.org"], now, trusting(None), Some("www.example.org"), Outcome::Good),
        (&["www.example.org"], now, trusting(None), Some("www.example.org:8443"), Outcome::Good),
        (&["*.example.org"], now, trusting(None), Some("www.example.org"), Outcome::Good),
        // By the real's address, where there is no name.
        (&["127.0.0.1"], now, trusting(None), None, Outcome::Good),
        // SNI stands apart from the virtual host.
        (&["inner.example.org"], now, sni("inner.example.org"), Some("www.example.org"), Outcome::Good),
        (
            &["a.example.org", "b.example.org"],
            now,
            trusting(None),
            Some("www.example.org"),
            wrong("certificate is for a.example.org, b.example.org, not www.example.org"),
        ),
        (&["www.example.org"], now, trusting(None), None, wrong("certificate is for www.example.org, not 127.0.0.1")),
        (
            &["127.0.0.1"],
            now,
            Tls { ca: Some(named(other.path())), ..Tls::default() },
            None,
            wrong("certificate is signed by nobody that the check trusts: name its authority in `ca`"),
        ),
        (&["127.0.0.1"], old, trusting(None), None, wrong("certificate ended 2 days ago")),
        (
            &["127.0.0.1"],
            new,
            trusting(None),
            None,
            wrong("certificate begins in 2 days: is this director's or the real's clock wrong?"),
        ),
        (&["127.0.0.1"], (-1, 15), trusting(Some(14)), None, Outcome::Good),
        (&["127.0.0.1"], (-1, 13), trusting(Some(14)), None, wrong("certificate ends in 13 days")),
        (&["127.0.0.1"], (-1, 1), trusting(Some(14)), None, wrong("certificate ends in 36 hours")),
        (&["elsewhere.example"], old, any(None), None, Outcome::Good),
        (&["elsewhere.example"], now, any(Some(30)), None, Outcome::Good),
        (&["elsewhere.example"], (-1, 13), any(Some(14)), None, wrong("certificate ends in 13 days")),
        (&["elsewhere.example"], old, any(Some(14)), None, wrong("certificate ended 2 days ago")),
    ];
    for (names, days, tls, host, expected) in rows {
        let (port, _seen) = serve(&ours.issue(names, days).unwrap(), None).await;
        assert_eq!(ask(&tls, host, port, &Memory::default()).await, expected, "{names:?} {days:?} {tls:?} {host:?}");
    }
}

#[tokio::test]
async fn status_and_body_are_judged_within_a_session() {
    let ours = Authority::new("ours").unwrap();
    let (ca, (port, _seen)) = (file(&ours.pem()), serve(&ours.issue(&["127.0.0.1"], (-1, 9)).unwrap(), None).await);
    let http = Http { tls: Some(Box::new(trusting(&ca))), ..Http::default() };
    let rows = [
        (Http { status: vec![(404, 404)], ..http.clone() }, wrong("status 200, expected 404")),
        (Http { body: Some(Body::Text("is well".to_owned())), ..http.clone() }, Outcome::Good),
        (Http { body: Some(Body::Text("is ill".to_owned())), ..http }, wrong("the body has no \"is ill\"")),
    ];
    for (http, expected) in rows {
        let target = target(CheckKind::Http(http), port, GENEROUS);
        assert_eq!(super::super::run(&target, &Vips::default(), &Memory::default()).await, expected, "{target:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_the_same_target_alone_and_forgotten_when_one_fails() {
    let ours = Authority::new("ours").unwrap();
    let ca = file(&ours.pem());
    let (port, mut seen) = serve(&ours.issue(&["127.0.0.1"], (-1, 9)).unwrap(), None).await;
    let (memory, tls) = (Memory::default(), trusting(&ca));
    let mut kinds = Vec::new();
    for memory in [&memory, &memory, &Memory::default(), &memory] {
        assert_eq!(ask(&tls, None, port, memory).await, Outcome::Good);
        kinds.push(seen.recv().await.unwrap());
    }
    use HandshakeKind::{Full, Resumed};
    assert_eq!(kinds, [Full, Resumed, Full, Resumed]);
    // A resumed session's certificate is asked for its end as well.
    let strict = Tls { certificate_days: Some(14), ..tls.clone() };
    assert_eq!(ask(&strict, None, port, &memory).await, wrong("certificate ends in 9 days"));
    // The server may not have seen the end of that handshake.
    assert_eq!(ask(&tls, None, port, &memory).await, Outcome::Good);
    let kinds: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok()).collect();
    assert_eq!(kinds.last(), Some(&Full), "{kinds:?}");
}

#[tokio::test]
async fn a_real_that_asks_who_checks_it_is_told() {
    let ours = Authority::new("ours").unwrap();
    let ca = file(&ours.pem());
    let own = ours.issue(&["director.example"], (-1, 9)).unwrap();
    let (cert, key) = (file(&own.cert), file(&own.key));
    let (port, _seen) = serve(&ours.issue(&["127.0.0.1"], (-1, 9)).unwrap(), Some(&ours)).await;
    let identity = Some(Identity { cert: named(cert.path()), key: named(key.path()) });
    let with = Tls { identity, ..trusting(&ca) };
    assert_eq!(ask(&with, None, port, &Memory::default()).await, Outcome::Good);
    let without = ask(&trusting(&ca), None, port, &Memory::default()).await;
    assert_eq!(without, wrong("the real refused the TLS session: certificate required"));
}

/// A server that says this to whoever comes, again and again, and reads nothing.
async fn babbling(text: &'static [u8], again: Option<Duration>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            while connection.write_all(text).await.is_ok() {
                match again {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => {
                        let _ = connection.read(&mut [0; 1024]).await;
                        break;
                    }
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_tls_costs_its_timeout_at_most() {
    // A record of the handshake's type whose announced length never comes whole.
    const RECORD: &[u8] = b"\x16\x03\x03\x40\x00";
    let brief = Duration::from_millis(300);
    let slow = bad("timed out after 300ms in the TLS handshake");
    let rows: [(&[u8], Option<Duration>, Outcome); 7] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None, wrong("the answer is not TLS")),
        (b"SSH-2.0-OpenSSH_10.0\r\n", None, wrong("the answer is not TLS")),
        (&[0; 4096], Some(Duration::ZERO), wrong("the answer is not TLS")),
        (b"\x16\x03\x03\xff\xff", Some(Duration::ZERO), wrong("the answer is not TLS")),
        (RECORD, Some(brief * 10), slow.clone()),
        (b"\x16", Some(Duration::from_millis(60)), wrong("the answer is not TLS")),
        (b"", None, bad("closed in the TLS handshake")),
    ];
    for (text, again, expected) in rows {
        let port = babbling(text, again).await;
        let http = Http { tls: Some(Box::new(Tls { insecure: true, ..Tls::default() })), ..Http::default() };
        let outcome =
            super::super::run(&target(CheckKind::Http(http), port, brief), &Vips::default(), &Memory::default()).await;
        assert_eq!(outcome, expected, "{:?}", text.get(..20).unwrap_or(text));
    }
}

#[test]
fn files_that_cant_be_used_are_named_at_their_places() {
    let ours = Authority::new("ours").unwrap();
    let (one, another) = (ours.issue(&["a.example"], (-1, 9)).unwrap(), ours.issue(&["b.example"], (-1, 9)).unwrap());
    let (cert, key, not_its) = (file(&one.cert), file(&one.key), file(&another.key));
    let (empty, broken) = (file(""), file("-----BEGIN CERTIFICATE-----\nnot base64!\n"));
    let by = |ca: &str| Tls { ca: Some(named(ca)), ..Tls::default() };
    let with = |cert: &NamedTempFile, key: &NamedTempFile| Tls {
        insecure: true,
        identity: Some(Identity { cert: named(cert.path()), key: Spanned::new(20..30, key.path().to_owned()) }),
        ..Tls::default()
    };
    let path = |file: &NamedTempFile| file.path().display().to_string();
    let rows = [
        (by("/no/such/file.pem"), 7..9, "/no/such/file.pem can't be read: No such file"),
        (by("/tmp"), 7..9, "/tmp is not a file"),
        (by("/dev/zero"), 7..9, "/dev/zero is not a file"),
        (by(&path(&empty)), 7..9, "has no certificate in PEM"),
        (by(&path(&key)), 7..9, "has no certificate in PEM"),
        (by(&path(&broken)), 7..9, "is not whole PEM"),
        (with(&cert, &cert), 20..30, "has no private key in PEM that can be used"),
        (with(&cert, &not_its), 20..30, "is not the key of"),
    ];
    for (tls, place, message) in rows {
        let kind = CheckKind::Http(Http { tls: Some(Box::new(tls)), ..Http::default() });
        let told = unusable(&kind);
        let [Unusable { place: at, message: said, mend }] = told.as_slice() else { panic!("{kind:?}: {told:?}") };
        assert!(*at == Some(place) && said.contains(message) && !mend.is_empty(), "{told:?}");
    }
    let good = [by(&path(&cert)), with(&cert, &key)];
    for tls in good {
        assert_eq!(unusable(&CheckKind::Http(Http { tls: Some(Box::new(tls)), ..Http::default() })), []);
    }
}

#[tokio::test]
async fn a_file_that_is_gone_says_nothing_of_the_real() {
    let ours = Authority::new("ours").unwrap();
    let (port, _seen) = serve(&ours.issue(&["127.0.0.1"], (-1, 9)).unwrap(), None).await;
    let told =
        ask(&Tls { ca: Some(named("/no/such/file.pem")), ..Tls::default() }, None, port, &Memory::default()).await;
    let Outcome::Void(why) = &told else { panic!("{told:?}") };
    assert!(why.contains("/no/such/file.pem can't be read"), "{why}");
}
