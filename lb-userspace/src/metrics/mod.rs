//! What the agent tells Prometheus and a browser: `/metrics` and a status page, on the API's socket and on a listener of
//! their own (`[metrics]`). Whoever reaches it can read, and nothing else.
//!
//! [`Snapshot`] is all that is told, `families` makes metrics of it, `exposition` writes them down, `page` makes the
//! status page; `listener` is the edge.

mod exposition;
mod families;
mod listener;
mod page;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::mpsc;

use crate::api::{Request, RouterStatus, Status, ask};
pub use exposition::Format;
pub use listener::Listener;

/// What is told, as of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// What `lb list` shows.
    pub status: Status,
    /// What `lb vrrp` shows; none where VRRP doesn't run.
    pub routers: Vec<RouterStatus>,
}

impl Snapshot {
    /// By the controller. The error is a sentence for who asked.
    async fn take(requests: &mpsc::Sender<Request>) -> Result<Self, String> {
        let status = ask(requests, Request::Status).await.map_err(|why| why.to_string())?;
        // Before VRRP is there, and at the agent's end, there are none.
        let routers = ask(requests, Request::Routers).await.unwrap_or_default();
        Ok(Self { status, routers })
    }

    /// As metrics.
    #[must_use]
    pub fn metrics(&self, format: Format) -> String {
        families::render(self, format)
    }
}

/// The two pages, answered by the controller.
pub fn pages(requests: mpsc::Sender<Request>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/", get(page)).with_state(requests)
}

async fn metrics(State(requests): State<mpsc::Sender<Request>>, headers: HeaderMap) -> Response {
    let format = Format::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    match made(&requests, move |snapshot| snapshot.metrics(format)).await {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

async fn page(State(requests): State<mpsc::Sender<Request>>) -> Response {
    let now = std::time::SystemTime::now();
    match made(&requests, move |snapshot| page::render(&snapshot, now)).await {
        Ok(text) => ([(CACHE_CONTROL, "no-store")], Html(text)).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

/// Ten thousand reals are some megabytes of text: they are made beside the agent's tasks.
async fn made(
    requests: &mpsc::Sender<Request>,
    make: impl FnOnce(Snapshot) -> String + Send + 'static,
) -> Result<String, String> {
    let snapshot = Snapshot::take(requests).await?;
    tokio::task::spawn_blocking(move || make(snapshot)).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
