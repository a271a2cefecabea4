//! The HTTP check: one HTTP/1.1 request on a connection of its own; the status decides, and the body
//! where the check names what it has. A real can't make it hold more than [`HEAD`] bytes of head and [`Http::BODY`] of body.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::{Connection, Deadline, Fault, Way, connect};
use crate::config::{Http, short};

/// Bytes of a response head that are read at most.
pub(super) const HEAD: usize = 16 * 1024;
/// Time that is given at most to a body that decides nothing; reading it lets the real close first.
const BODY_WITHIN: Duration = Duration::from_millis(50);

pub(super) async fn check(way: Way<'_>, question: &Http, deadline: &Deadline) -> Result<(), Fault> {
    let request = request(way.real, question)?;
    let connection = connect(way, deadline).await?;
    timeout_at(deadline.at, ask(connection, request, question, deadline))
        .await
        .map_err(|_| Fault::Waiting(deadline.timeout))?
}

/// Sends the request and judges the response. The connection is driven here, not in a task of its own: it
/// goes with this future.
async fn ask(
    stream: Connection,
    request: Request<Empty<Bytes>>,
    question: &Http,
    deadline: &Deadline,
) -> Result<(), Fault> {
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await.map_err(failure)?;
    tokio::pin!(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(failure)?;
        let status = response.status().as_u16();
        let is_good = question.status.iter().any(|(low, high)| (*low..=*high).contains(&status));
        if is_good && let Some(text) = &question.body {
            return find(text, response).await;
        }
        let end = deadline.at.min(Instant::now() + BODY_WITHIN);
        // The head has decided; how the body goes says nothing more.
        let _ = timeout_at(end, read_some(response)).await;
        if is_good { Ok(()) } else { Err(Fault::Status { status, expected: ranges(&question.status) }) }
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        judged = &mut answer => judged,
        // An ended connection has told `answer` already, by its channel.
        _ = &mut connection => answer.await,
    }
}

async fn read_some(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut left = Http::BODY;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(length);
        if left == 0 {
            return;
        }
    }
}

/// Reads the body until it has `text`, ends or is as long as is read.
async fn find(text: &str, response: Response<Incoming>) -> Result<(), Fault> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(failure)?;
        let part = frame.data_ref().map_or(&[][..], Bytes::as_ref);
        // Only what is new, and as much before it as a text that spans both can have there.
        let from = read.len().saturating_sub(text.len());
        read.extend_from_slice(part.get(..Http::BODY - read.len()).unwrap_or(part));
        if read.get(from..).is_some_and(|new| has(new, text.as_bytes())) {
            return Ok(());
        }
        if read.len() >= Http::BODY {
            return Err(Fault::Body { text: short(text), is_cut: true });
        }
    }
    Err(Fault::Body { text: short(text), is_cut: false })
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len().max(1)).any(|window| window == text)
}

fn request(real: SocketAddr, question: &Http) -> Result<Request<Empty<Bytes>>, Fault> {
    let method = Method::from_bytes(question.method.as_bytes()).map_err(|_| Fault::Request("method"))?;
    let path: Uri = question.path.parse().map_err(|_| Fault::Request("path"))?;
    let host = match &question.host {
        Some(host) => host.clone(),
        None if real.port() == 80 && real.is_ipv4() => real.ip().to_string(),
        None if real.port() == 80 => format!("[{}]", real.ip()),
        None => real.to_string(),
    };
    let host = HeaderValue::try_from(host).map_err(|_| Fault::Request("host"))?;
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("lb/", env!("CARGO_PKG_VERSION"), " (health check)"))
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| Fault::Request("path"))
}

fn failure(error: hyper::Error) -> Fault {
    if error.is_parse_too_large() {
        return Fault::TooLarge;
    }
    if error.is_parse() {
        return Fault::NotHttp;
    }
    if let Some(io) = error.source().and_then(|e| e.downcast_ref::<io::Error>())
        && let Some(code) = io.raw_os_error()
    {
        return Fault::Io(io::Error::from_raw_os_error(code));
    }
    Fault::Closed
}

/// `200-299`, `200 or 204`, ….
fn ranges(ranges: &[(u16, u16)]) -> String {
    let one = |(low, high): &(u16, u16)| {
        if low == high { low.to_string() } else { format!("{low}-{high}") }
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(" or ")
}
