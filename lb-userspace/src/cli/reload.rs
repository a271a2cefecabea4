//! `lb reload`: what changed.

use anyhow::Result;

use super::{diff, output};
use crate::api;

/// Has the agent read its configuration again.
pub(super) async fn run() -> Result<()> {
    let socket = api::socket();
    // What is live is counted before it changes.
    let status = api::status(&socket).await.ok();
    let reloaded = api::reload(&socket).await?;
    let same = reloaded.changes.is_empty();
    let head = if same { "reloaded: nothing that is in force changed" } else { "reloaded" };
    output::print(&diff::render(head, &reloaded, status.as_ref()))
}
