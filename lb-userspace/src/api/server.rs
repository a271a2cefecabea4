//! The server's side: one task for the socket, one for each connection. Cancelling it closes them; the
//! controller answers each request.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::stream::unfold;
use nix::unistd::Gid;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::ask::Unanswered;
use super::{Failure, Order, Question, Request, Wanted};
use crate::config::{MAX_BYTES, Texts};
use crate::events::{self, Events};
use crate::metrics;
use crate::pulse::Heart;

/// Who may speak to the agent: its owner and group.
const MODE: u32 = 0o660;
/// The group, where the system has one of this name; else there is the owner alone.
const GROUP: &str = "lb";

/// Makes the socket. One that a dead agent left is replaced; the caller holds the lock that tells.
///
/// # Errors
/// The directory isn't writable.
pub fn bind(path: &std::path::Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    if let Some(group) = local_group(&fs::read_to_string("/etc/group").unwrap_or_default())
        && let Err(error) = nix::unistd::chown(path, None, Some(group))
    {
        warn!("{} can't be given to group {GROUP}: {error}", path.display());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    Ok(listener)
}

/// The group's id, by this machine's own list: a directory service that doesn't answer must not hold up the start.
fn local_group(list: &str) -> Option<Gid> {
    let mut fields = list.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(GROUP))?;
    fields.nth(2)?.parse().ok().map(Gid::from_raw)
}

/// The running server.
pub struct Server {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves until `cancel`.
    pub fn spawn(
        path: PathBuf,
        listener: UnixListener,
        requests: mpsc::Sender<Request>,
        events: Events,
        cancel: CancellationToken,
        heart: Heart,
    ) -> Self {
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/checks", get(checks))
            .route("/v1/connections", get(connections))
            .route("/v1/which", get(which))
            .route("/v1/vrrp", get(routers))
            .route("/v1/vrrp/{name}/release", post(release))
            .route("/v1/vrrp/{name}/reclaim", post(reclaim))
            .route("/v1/order", post(order))
            .route(
                "/v1/changes",
                post(changes).layer(DefaultBodyLimit::max(usize::try_from(2 * MAX_BYTES).unwrap_or(usize::MAX))),
            )
            .route("/v1/reload", post(reload))
            .with_state(requests.clone())
            .merge(Router::new().route("/v1/events", get(self::events)).with_state(events))
            .merge(metrics::pages(requests));
        let task = tokio::spawn(heart.during(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned());
            if let Err(error) = served.await {
                warn!("the API stopped: {error}");
            }
        }));
        Self { path, task }
    }

    /// Waits for its end, after the token was cancelled, and removes the socket.
    pub async fn join(self) {
        // A client that keeps its connection open must not hold up the agent's end.
        if tokio::time::timeout(std::time::Duration::from_millis(500), self.task).await.is_err() {
            warn!("a client of the API was cut off");
        }
        let _ = fs::remove_file(self.path);
    }
}

async fn status(Shared(requests): Shared<mpsc::Sender<Request>>) -> Response {
    ask(&requests, Request::Status).await
}

async fn checks(Shared(requests): Shared<mpsc::Sender<Request>>) -> Response {
    ask(&requests, Request::Checks).await
}

/// Parts of the answer that wait for whoever reads it.
const PARTS: usize = 4;

async fn connections(Shared(requests): Shared<mpsc::Sender<Request>>, Query(wanted): Query<Wanted>) -> Response {
    let walk = match super::ask(&requests, Request::Connections).await {
        Ok(walk) => walk,
        Err(why) => return unanswered(&why),
    };
    let (sender, parts) = mpsc::channel(PARTS);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = walk.send(&wanted, &sender) {
            warn!("the connections can't be listed: {error}");
        }
    });
    let next = |mut parts: mpsc::Receiver<Vec<u8>>| async move {
        parts.recv().await.map(|part| (Ok::<_, Infallible>(Bytes::from(part)), parts))
    };
    Body::from_stream(unfold(parts, next)).into_response()
}

/// A line of JSON for each event, and where that is asked for those that come: until nobody reads, or the agent has ended.
async fn events(Shared(events): Shared<Events>, Query(wanted): Query<events::Wanted>) -> Response {
    let progress = events.progress();
    let follower = Follower { events, wanted, progress, began: false };
    let next = |mut follower: Follower| async move {
        let part = follower.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(part)), follower))
    };
    Body::from_stream(unfold(follower, next)).into_response()
}

/// Who reads events.
struct Follower {
    events: Events,
    wanted: events::Wanted,
    progress: watch::Receiver<events::Progress>,
    began: bool,
}

impl Follower {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let progress = *self.progress.borrow_and_update();
            let told = self.events.of(&self.wanted);
            self.wanted.after = self.wanted.after.max(Some(progress.last));
            self.wanted.after = self.wanted.after.max(told.last().map(|event| event.number));
            let first = !std::mem::replace(&mut self.began, true);
            // What comes is told whole.
            self.wanted.last = None;
            if !told.is_empty() || (first && self.wanted.follow) {
                let lines = told.iter().filter_map(|event| serde_json::to_vec(event).ok());
                // An empty line says that it is heard.
                let lines: Vec<u8> = lines
                    .flat_map(|mut line| {
                        line.push(b'\n');
                        line
                    })
                    .collect();
                return Some(if lines.is_empty() { b"\n".to_vec() } else { lines });
            }
            if !self.wanted.follow || progress.closed || self.progress.changed().await.is_err() {
                return None;
            }
        }
    }
}

async fn which(Shared(requests): Shared<mpsc::Sender<Request>>, Query(question): Query<Question>) -> Response {
    ask(&requests, |answer| Request::Which(question, answer)).await
}

async fn routers(Shared(requests): Shared<mpsc::Sender<Request>>) -> Response {
    ask(&requests, Request::Routers).await
}

async fn release(Shared(requests): Shared<mpsc::Sender<Request>>, Path(name): Path<String>) -> Response {
    ask(&requests, |answer| Request::Release(name, answer)).await
}

async fn reclaim(Shared(requests): Shared<mpsc::Sender<Request>>, Path(name): Path<String>) -> Response {
    ask(&requests, |answer| Request::Reclaim(name, answer)).await
}

async fn order(Shared(requests): Shared<mpsc::Sender<Request>>, Json(order): Json<Order>) -> Response {
    ask(&requests, |answer| Request::Order(order, answer)).await
}

async fn changes(Shared(requests): Shared<mpsc::Sender<Request>>, Json(texts): Json<Texts>) -> Response {
    ask(&requests, |answer| Request::Changes(texts, answer)).await
}

async fn reload(Shared(requests): Shared<mpsc::Sender<Request>>) -> Response {
    ask(&requests, Request::Reload).await
}

/// Asks the controller, and puts its answer into words of HTTP.
async fn ask<T: Serialize>(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(super::Answer<T>) -> Request,
) -> Response {
    match super::ask(requests, request).await {
        Ok(value) => Json(value).into_response(),
        Err(why) => unanswered(&why),
    }
}

fn unanswered(why: &Unanswered) -> Response {
    let code = match why {
        Unanswered::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Unanswered::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(Failure { error: why.to_string() })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        let list = "root:x:0:\nlbx:x:7:\nlb:x:990:ann,bob\nx:x:8:lb\n";
        assert_eq!(local_group(list), Some(Gid::from_raw(990)));
        assert_eq!(local_group("root:x:0:\nlbx:x:7:\n"), None);
        assert_eq!(local_group("lb:x:many:\nlb\n"), None);
    }
}
