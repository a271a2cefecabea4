//! The TCP check: a connection that is accepted is good.

use std::net::SocketAddr;

use super::{Deadline, Failure, connect};

pub(super) async fn check(real: SocketAddr, deadline: &Deadline) -> Result<(), Failure> {
    connect(real, deadline).await.map(drop)
}
