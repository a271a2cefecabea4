//! A question to the controller, from whoever serves others.

use tokio::sync::{mpsc, oneshot};

use super::{Answer, Request};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The controller said why not.
    #[error("{0}")]
    Refused(String),
    /// It answers nobody any more.
    #[error("the agent is stopping")]
    Stopping,
}

/// Asks, and waits for the answer.
pub(crate) async fn ask<T>(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(Answer<T>) -> Request,
) -> Result<T, Unanswered> {
    let (sender, answer) = oneshot::channel();
    requests.send(request(sender)).await.map_err(|_| Unanswered::Stopping)?;
    answer.await.map_err(|_| Unanswered::Stopping)?.map_err(Unanswered::Refused)
}
