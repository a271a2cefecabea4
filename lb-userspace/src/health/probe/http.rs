//! The HTTP check: one HTTP/1.1 or HTTP/2 request on a connection of its own, within TLS where the check says so; the status
//! decides, and the body where the check names what it has. A real can't make it hold more than [`HEAD`] bytes of head and the check's
//! `body_limit` of body. Redirects are answers like others: none is followed.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::{Deadline, Fault, Memory, Way, connect, http2, tls};
use crate::config::{Body, Http, Version, short};

/// Bytes of a response head that are read at most.
pub(super) const HEAD: usize = 16 * 1024;
/// Time that is given at most to a body that decides nothing; reading it lets the real close first.
const BODY_WITHIN: Duration = Duration::from_millis(50);

pub(super) async fn check(way: Way<'_>, question: &Http, memory: &Memory, deadline: &Deadline) -> Result<(), Fault> {
    let request = request(way.real, question)?;
    let connection = connect(way, deadline).await?;
    let asked = async {
        match &question.tls {
            None => ask(connection, request, question, deadline).await,
            Some(tls) => {
                let alpn: &[&[u8]] = match question.version {
                    Version::One => &[b"http/1.1"],
                    Version::Two => &[b"h2"],
                };
                let asked = tls::Asked { tls, host: question.host.as_deref(), real: way.real, alpn };
                let session = tls::wrap(connection, &asked, memory, deadline).await?;
                ask(session, request, question, deadline).await
            }
        }
    };
    timeout_at(deadline.at, asked).await.map_err(|_| Fault::Waiting(deadline.timeout))?
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<()>,
    question: &Http,
    deadline: &Deadline,
) -> Result<(), Fault> {
    match question.version {
        Version::One => ask_by_1(stream, request.map(|()| Empty::new()), question, deadline).await,
        Version::Two => ask_by_2(stream, request, question).await,
    }
}

/// Sends the request and judges the response, by HTTP/2. A body that decides nothing isn't waited for.
async fn ask_by_2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<()>,
    question: &Http,
) -> Result<(), Fault> {
    http2::on(stream, |mut sender| async move {
        let (response, _) = sender.send_request(request, true).map_err(http2::failure)?;
        let response = response.await.map_err(http2::failure)?;
        judge_status(response.status().as_u16(), question)?;
        match &question.body {
            Some(wanted) => find(wanted, bytes(question.body_limit), response.into_body()).await,
            None => Ok(()),
        }
    })
    .await
}

/// Sends the request and judges the response, by HTTP/1.1. The connection is driven here, not in a task of its own: it
/// goes with this future.
async fn ask_by_1(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
    question: &Http,
    deadline: &Deadline,
) -> Result<(), Fault> {
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await.map_err(failure)?;
    tokio::pin!(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(failure)?;
        let judged = judge_status(response.status().as_u16(), question);
        if judged.is_ok()
            && let Some(wanted) = &question.body
        {
            return find(wanted, bytes(question.body_limit), response.into_body()).await;
        }
        let end = deadline.at.min(Instant::now() + BODY_WITHIN);
        // The head has decided; how the body goes says nothing more.
        let _ = timeout_at(end, read_some(response, bytes(question.body_limit))).await;
        judged
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        judged = &mut answer => judged,
        // An ended connection has told `answer` already, by its channel.
        _ = &mut connection => answer.await,
    }
}

fn judge_status(status: u16, question: &Http) -> Result<(), Fault> {
    let is_good = question.status.iter().any(|(low, high)| (*low..=*high).contains(&status));
    if is_good { Ok(()) } else { Err(Fault::Status { status, expected: ranges(&question.status) }) }
}

fn bytes(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

async fn read_some(response: Response<Incoming>, limit: usize) {
    let mut body = response.into_body();
    let mut left = limit;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(length);
        if left == 0 {
            return;
        }
    }
}

/// A body, a part after the other.
trait Parts {
    /// `None` after its end.
    async fn next(&mut self) -> Option<Result<Bytes, Fault>>;
}

impl Parts for Incoming {
    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        let frame = self.frame().await?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(failure))
    }
}

impl Parts for h2::RecvStream {
    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        let part = self.data().await?;
        if let Ok(part) = &part {
            // Whoever sends may send as much again.
            let _ = self.flow_control().release_capacity(part.len());
        }
        Some(part.map_err(http2::failure))
    }
}

/// Reads the body until it has what is wanted, ends or is as long as is read.
async fn find(wanted: &Body, limit: usize, mut body: impl Parts) -> Result<(), Fault> {
    let mut read = Vec::new();
    let mut is_cut = false;
    while !is_cut && let Some(part) = body.next().await {
        let part = part?;
        let known = read.len();
        read.extend_from_slice(part.get(..limit - known).unwrap_or(&part));
        is_cut = read.len() >= limit;
        // A text decides as soon as it is there. Only what is new is searched, and as much before it as a text that spans
        // both can have there.
        if let Body::Text(text) = wanted
            && read.get(known.saturating_sub(text.len())..).is_some_and(|new| has(new, text.as_bytes()))
        {
            return Ok(());
        }
    }
    let limit = is_cut.then_some(limit);
    match wanted {
        Body::Text(text) => Err(Fault::Body { text: short(text), limit }),
        Body::Match(pattern) if pattern.matches(&read) => Ok(()),
        Body::Match(pattern) => Err(Fault::Pattern { text: short(pattern.text()), limit }),
    }
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len().max(1)).any(|window| window == text)
}

fn request(real: SocketAddr, question: &Http) -> Result<Request<()>, Fault> {
    let method = Method::from_bytes(question.method.as_bytes()).map_err(|_| Fault::Request("method"))?;
    let path: Uri = question.path.parse().map_err(|_| Fault::Request("path"))?;
    let usual = if question.tls.is_some() { 443 } else { 80 };
    let host = match &question.host {
        Some(host) => host.clone(),
        None if real.port() == usual && real.is_ipv4() => real.ip().to_string(),
        None if real.port() == usual => format!("[{}]", real.ip()),
        None => real.to_string(),
    };
    let agent = concat!("lb/", env!("CARGO_PKG_VERSION"), " (health check)");
    let request = Request::builder().method(method).header(USER_AGENT, agent);
    let request = match question.version {
        Version::One => {
            let host = HeaderValue::try_from(host).map_err(|_| Fault::Request("host"))?;
            request.uri(path).header(HOST, host).header(CONNECTION, "close")
        }
        Version::Two => {
            let scheme = if question.tls.is_some() { "https" } else { "http" };
            let whole = Uri::builder().scheme(scheme).authority(host);
            let whole = path.path_and_query().into_iter().fold(whole, |whole, path| whole.path_and_query(path.clone()));
            request.uri(whole.build().map_err(|_| Fault::Request("host"))?)
        }
    };
    let mut request = request.body(()).map_err(|_| Fault::Request("path"))?;
    for header in &question.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Fault::Request("headers"))?;
        let value = HeaderValue::from_str(&header.value).map_err(|_| Fault::Request("headers"))?;
        // One of `user-agent` takes the place of ours.
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

fn failure(error: hyper::Error) -> Fault {
    if error.is_parse_too_large() {
        return Fault::TooLarge;
    }
    if error.is_parse() {
        return Fault::NotHttp;
    }
    match error.source().and_then(|error| error.downcast_ref::<io::Error>()) {
        Some(error) if error.raw_os_error().is_some() || error.get_ref().is_some_and(tls::is_tls) => tls::of_io(error),
        _ => Fault::Closed,
    }
}

/// `200-299`, `200 or 204`, ….
fn ranges(ranges: &[(u16, u16)]) -> String {
    let one = |(low, high): &(u16, u16)| {
        if low == high { low.to_string() } else { format!("{low}-{high}") }
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
