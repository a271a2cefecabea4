//! The command line's side.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::config::Texts;
use crate::events::{self, Event};

use super::{Checks, Connection, Done, Failure, Order, Question, Reloaded, RouterStatus, Status, Wanted, Which};

/// Longest wait for an answer; a reload of ten thousand reals takes some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens on the socket.
    #[error("no agent answers on {path} ({error}).\nIs `lb run` running on this machine?")]
    NoAgent {
        /// The socket.
        path: String,
        /// The reason.
        error: io::Error,
    },
    /// The socket is there, but not for this user.
    #[error("not permitted to speak to the agent on {path}.\n{mend}")]
    Permission {
        /// The socket.
        path: String,
        /// What to do.
        mend: String,
    },
    /// The agent refused.
    #[error("{0}")]
    Refused(String),
    /// No understandable answer.
    #[error("the agent's answer can't be used: {0}")]
    Answer(String),
}

/// Asks for the status.
///
/// # Errors
/// No agent, or no understandable answer.
pub async fn status(socket: &Path) -> Result<Status, Error> {
    ask(socket, Method::GET, "/v1/status").await
}

/// Asks for the health checks.
///
/// # Errors
/// No agent, or no understandable answer.
pub async fn checks(socket: &Path) -> Result<Checks, Error> {
    ask(socket, Method::GET, "/v1/checks").await
}

/// Asks which real has a connection, or would get it.
///
/// # Errors
/// No agent, or no service has this address and port.
pub async fn which(socket: &Path, question: &Question) -> Result<Vec<Which>, Error> {
    ask(socket, Method::GET, &format!("/v1/which?{}", question.query())).await
}

/// Asks for the virtual routers.
///
/// # Errors
/// No agent, or no understandable answer.
pub async fn routers(socket: &Path) -> Result<Vec<RouterStatus>, Error> {
    ask(socket, Method::GET, "/v1/vrrp").await
}

/// Has a virtual router hand its VIPs over.
///
/// # Errors
/// No agent, or it has no such virtual router.
pub async fn release(socket: &Path, name: &str) -> Result<Done, Error> {
    ask(socket, Method::POST, &format!("/v1/vrrp/{name}/release")).await
}

/// Has a virtual router take part in the election again.
///
/// # Errors
/// No agent, or it has no such virtual router.
pub async fn reclaim(socket: &Path, name: &str) -> Result<Done, Error> {
    ask(socket, Method::POST, &format!("/v1/vrrp/{name}/reclaim")).await
}

/// Has the agent read its configuration again.
///
/// # Errors
/// No agent, or it refused the configuration.
pub async fn reload(socket: &Path) -> Result<Reloaded, Error> {
    ask(socket, Method::POST, "/v1/reload").await
}

/// What a reload of a configuration of this text would change.
///
/// # Errors
/// No agent, or the texts are faulty.
pub async fn changes(socket: &Path, texts: &Texts) -> Result<Reloaded, Error> {
    let body = serde_json::to_vec(texts).map_err(|error| Error::Answer(error.to_string()))?;
    tell(socket, Method::POST, "/v1/changes", body).await
}

/// Sets something at run time.
///
/// # Errors
/// No agent, or it has no such service or real.
pub async fn order(socket: &Path, order: &Order) -> Result<Done, Error> {
    let body = serde_json::to_vec(order).map_err(|error| Error::Answer(error.to_string()))?;
    tell(socket, Method::POST, "/v1/order", body).await
}

/// Hands over the remembered connections that are wanted, in parts, as they come. It ends early when `take` says that it has
/// enough.
///
/// # Errors
/// No agent, or no understandable answer.
pub async fn connections(
    socket: &Path,
    wanted: &Wanted,
    take: impl FnMut(Vec<Connection>) -> bool,
) -> Result<(), Error> {
    lines(socket, &format!("/v1/connections?{}", wanted.query()), Some(PATIENCE), take).await
}

/// Hands over the events that are wanted, in parts, as they come; one who follows them waits for as long as it takes, and has
/// an end when the agent ends. It ends early when `take` says that it has enough.
///
/// # Errors
/// No agent, or no understandable answer.
pub async fn events(socket: &Path, wanted: &events::Wanted, take: impl FnMut(Vec<Event>) -> bool) -> Result<(), Error> {
    let patience = (!wanted.follow).then_some(PATIENCE);
    lines(socket, &format!("/v1/events?{}", wanted.query()), patience, take).await
}

/// Hands over an answer of a JSON value a line, in parts, as they come.
async fn lines<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    patience: Option<Duration>,
    mut take: impl FnMut(Vec<T>) -> bool,
) -> Result<(), Error> {
    let mut response = open(socket, Method::GET, path, Vec::new()).await?;
    let unusable = |error: &dyn std::error::Error| Error::Answer(error.to_string());
    let mut rest = Vec::new();
    loop {
        let next = response.body_mut().frame();
        let frame = match patience {
            None => next.await,
            Some(patience) => match tokio::time::timeout(patience, next).await {
                Ok(frame) => frame,
                Err(_) => return Err(Error::Answer(format!("no more within {patience:?}"))),
            },
        };
        let Some(frame) = frame else { return Ok(()) };
        let frame = match frame {
            // Who follows until the agent's end has that, however it ended.
            Err(_) if patience.is_none() => return Ok(()),
            frame => frame.map_err(|error| unusable(&error))?,
        };
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        // What follows the last end of a line is the start of another.
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines = rest.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let part: Result<Vec<T>, _> = lines.map(serde_json::from_slice).collect();
        if !take(part.map_err(|error| unusable(&error))?) {
            return Ok(());
        }
        rest.drain(..whole);
    }
}

async fn ask<T: DeserializeOwned>(socket: &Path, method: Method, path: &str) -> Result<T, Error> {
    tell(socket, method, path, Vec::new()).await
}

async fn tell<T: DeserializeOwned>(socket: &Path, method: Method, path: &str, body: Vec<u8>) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, ask_at_once(socket, method, path, body)).await {
        Ok(answer) => serde_json::from_slice(&answer?).map_err(|error| Error::Answer(error.to_string())),
        Err(_) => Err(Error::Answer(format!("none within {PATIENCE:?}"))),
    }
}

/// What a user who may not speak to the agent can do.
fn mend(socket: &Path) -> String {
    let owner = std::fs::metadata(socket).ok().map(|held| Gid::from_raw(held.gid()));
    let group = owner.filter(|gid| gid.as_raw() != 0).and_then(|gid| Group::from_gid(gid).ok().flatten());
    match group {
        Some(group) => format!("Run it as root, or as a member of the group {}.", group.name),
        None => "Run it as root.".to_owned(),
    }
}

async fn ask_at_once(socket: &Path, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, Error> {
    let response = open(socket, method, path, body).await?;
    Ok(response.into_body().collect().await.map_err(|error| Error::Answer(error.to_string()))?.to_bytes())
}

/// Sends a request; the answer's body is still to be read.
async fn open(socket: &Path, method: Method, path: &str, body: Vec<u8>) -> Result<hyper::Response<Incoming>, Error> {
    let answer = |error: &dyn std::error::Error| Error::Answer(error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let path = socket.display().to_string();
        if error.kind() == io::ErrorKind::PermissionDenied {
            Error::Permission { path, mend: mend(socket) }
        } else {
            Error::NoAgent { path, error }
        }
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| answer(&error))?;
    // It ends with the answer, or with this process.
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "lb")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| answer(&error))?;
    let response = sender.send_request(request).await.map_err(|error| answer(&error))?;
    let code = response.status();
    if code == StatusCode::OK {
        return Ok(response);
    }
    let body = response.into_body().collect().await.map_err(|error| answer(&error))?.to_bytes();
    let failure = serde_json::from_slice::<Failure>(&body).map(|failure| failure.error);
    Err(Error::Refused(failure.unwrap_or_else(|_| format!("the agent answered {code}"))))
}
