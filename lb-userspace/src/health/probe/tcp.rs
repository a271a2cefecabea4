//! The TCP check: a connection that is accepted is good.

use super::{Deadline, Failure, Way, connect};

pub(super) async fn check(way: Way, deadline: &Deadline) -> Result<(), Failure> {
    connect(way, deadline).await.map(drop)
}
