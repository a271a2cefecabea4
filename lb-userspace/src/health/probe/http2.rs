//! HTTP/2 (RFC 9113) as checks speak it: one request on a connection of its own. A real can't make a check hold more than
//! [`HEAD`] bytes of headers, and as much of a body that isn't read yet.

use std::io;

use h2::client::{Builder, SendRequest};
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::tls;

/// Bytes of headers and trailers that are read at most, and of a body that waits to be.
pub(super) const HEAD: u32 = 16 * 1024;

/// Why what a real says by HTTP/2 isn't good.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What came is no HTTP/2.
    #[error("the answer is not HTTP/2")]
    NotHttp2,
    /// The server ended the stream or the connection, with this code of HTTP/2's.
    #[error("the server ended the call: {0:?}")]
    Ended(h2::Reason),
}

/// Has `asks` use a connection on this stream. It is driven here, not in a task of its own: it goes with this future.
pub(super) async fn on<F: Future<Output = Result<(), super::Fault>>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    asks: impl FnOnce(SendRequest<Bytes>) -> F,
) -> Result<(), super::Fault> {
    let begun = Builder::new()
        .enable_push(false)
        .max_header_list_size(HEAD)
        .initial_window_size(HEAD)
        .initial_connection_window_size(HEAD)
        .handshake(stream);
    let (sender, connection) = begun.await.map_err(failure)?;
    let answer = async { asks(sender.ready().await.map_err(failure)?).await };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        judged = &mut answer => judged,
        // An ended connection has told `answer` already.
        _ = &mut connection => answer.await,
    }
}

/// What an error says of a real.
pub(super) fn failure(error: h2::Error) -> super::Fault {
    if let Some(reason) = error.reason().filter(|_| error.is_remote()) {
        return Fault::Ended(reason).into();
    }
    if !error.is_io() {
        return Fault::NotHttp2.into();
    }
    match error.into_io() {
        Some(error) if error.raw_os_error().is_some() || error.get_ref().is_some_and(tls::is_tls) => tls::of_io(&error),
        Some(error) if error.kind() == io::ErrorKind::InvalidData => Fault::NotHttp2.into(),
        _ => super::Fault::Closed,
    }
}
