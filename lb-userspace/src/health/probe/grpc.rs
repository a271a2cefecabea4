//! The gRPC check: `grpc.health.v1.Health/Check` (the protocol of gRPC's own documentation, over HTTP/2, RFC 9113) on a
//! connection of its own, within TLS where the check says so. A real can't make it hold more than [`http2::HEAD`] bytes of
//! headers and [`message::BYTES`] of a message.

pub mod message;

use h2::client::ResponseFuture;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use hyper::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;

use super::http2::{self, failure};
use super::{Deadline, Memory, Way, connect, tls};
use crate::config::{Grpc, short};
use crate::health::Failure;
use message::Read;

/// Why a gRPC server isn't good.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// An HTTP status.
    #[error("HTTP status {0} in place of gRPC's answer")]
    Http(u16),
    /// HTTP/2, but not gRPC within.
    #[error("the answer is not gRPC's")]
    NotGrpc,
    /// Another status of the call than OK.
    #[error("the call ended with {}{text}", word(CODES, *.code, "gRPC status"))]
    Call {
        /// What came.
        code: u64,
        /// The server's words behind a colon, for people.
        text: String,
    },
    /// The server speaks of its service.
    #[error("{}, expected SERVING", word(STATES, *.0, "health"))]
    State(u64),
}

impl Fault {
    /// What it says of the real.
    pub(super) fn kind(&self) -> Failure {
        Failure::Wrong
    }
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const STATES: &[&str] = &["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// Of gRPC's calls.
const CODES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn word(words: &[&str], number: u64, what: &str) -> String {
    let known = usize::try_from(number).ok().and_then(|number| words.get(number));
    known.map_or_else(|| format!("{what} {number}"), |word| (*word).to_owned())
}

pub(super) async fn check(
    way: Way<'_>,
    question: &Grpc,
    memory: &Memory,
    deadline: &Deadline,
) -> Result<(), super::Fault> {
    let request = request(way, question, deadline)?;
    let connection = connect(way, deadline).await?;
    let asked = async {
        match &question.tls {
            None => ask(connection, request, question).await,
            Some(tls) => {
                let host = question.host.as_deref();
                let asked = tls::Asked { tls, host, real: way.real, alpn: &[b"h2"] };
                let session = tls::wrap(connection, &asked, memory, deadline).await?;
                ask(session, request, question).await
            }
        }
    };
    timeout_at(deadline.at, asked).await.map_err(|_| super::Fault::Waiting(deadline.timeout))?
}

/// Sends the request and judges the response.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<()>,
    question: &Grpc,
) -> Result<(), super::Fault> {
    http2::on(stream, |mut sender| async move {
        let (response, mut body) = sender.send_request(request, false).map_err(failure)?;
        body.send_data(message::request(&question.service).into(), true).map_err(failure)?;
        judge(response).await
    })
    .await
}

async fn judge(response: ResponseFuture) -> Result<(), super::Fault> {
    let response = response.await.map_err(failure)?;
    if response.status().as_u16() != 200 {
        return Err(Fault::Http(response.status().as_u16()).into());
    }
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return Err(Fault::NotGrpc.into());
    }
    // A call that failed at once has no message and no trailers.
    if let Some(code) = code(response.headers()) {
        called(code, response.headers())?;
    }
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(failure)?;
        let _ = body.flow_control().release_capacity(part.len());
        read.extend_from_slice(&part);
        if read.len() > message::BYTES {
            return Err(Fault::NotGrpc.into());
        }
    }
    let trailers = body.trailers().await.map_err(failure)?.unwrap_or_default();
    called(code(&trailers).ok_or(Fault::NotGrpc)?, &trailers)?;
    match message::read(&read) {
        Read::State(SERVING) => Ok(()),
        Read::State(other) => Err(Fault::State(other).into()),
        Read::Other => Err(Fault::NotGrpc.into()),
    }
}

/// The status of the call, if these headers have it.
fn code(headers: &HeaderMap) -> Option<u64> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn called(code: u64, headers: &HeaderMap) -> Result<(), Fault> {
    if code == 0 {
        return Ok(());
    }
    let said = headers.get("grpc-message").and_then(|said| said.to_str().ok()).unwrap_or_default();
    let text = if said.is_empty() { String::new() } else { format!(": {}", short(said)) };
    Err(Fault::Call { code, text })
}

fn request(way: Way<'_>, question: &Grpc, deadline: &Deadline) -> Result<Request<()>, super::Fault> {
    let scheme = if question.tls.is_some() { "https" } else { "http" };
    let host = question.host.clone().unwrap_or_else(|| way.real.to_string());
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query("/grpc.health.v1.Health/Check").build();
    let uri = uri.map_err(|_| super::Fault::Request("host"))?;
    Request::post(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, concat!("lb/", env!("CARGO_PKG_VERSION"), " (health check)"))
        .header("grpc-timeout", format!("{}m", deadline.timeout.as_millis().clamp(1, 99_999_999)))
        .body(())
        .map_err(|_| super::Fault::Request("host"))
}

#[cfg(test)]
mod tests;
