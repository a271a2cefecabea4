//! The TCP check: a connection that is accepted is good.

use super::{Deadline, Fault, Way, connect};

pub(super) async fn check(way: Way<'_>, deadline: &Deadline) -> Result<(), Fault> {
    connect(way, deadline).await.map(drop)
}
