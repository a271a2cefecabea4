//! A TCP connection to a VIP by one real. It is reset when it is dropped, as a check's connection by the kernel is.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::errno::Errno;
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Road;
use super::stack::Stack;

/// Bytes that wait to be read, which is the window that the real sees.
const RECEIVE: usize = 16 * 1024;
/// Bytes that wait to be sent.
const SEND: usize = 4 * 1024;

/// See the module. One task may read and write; two would take each other's wake-ups.
pub(in crate::health) struct Stream(Box<Stack>);

impl Stream {
    /// Connects.
    ///
    /// # Errors
    /// ECONNREFUSED or what else the real says; EADDRNOTAVAIL and the like where this director can't.
    pub(in crate::health) async fn connect(mut self) -> io::Result<Self> {
        poll_fn(|context| -> Poll<io::Result<()>> {
            self.0.poll(context)?;
            match self.socket().state() {
                State::SynSent | State::SynReceived => Poll::Pending,
                State::Closed => Poll::Ready(Err(Errno::ECONNREFUSED.into())),
                _ => Poll::Ready(Ok(())),
            }
        })
        .await?;
        Ok(self)
    }

    /// A connection that is begun by [`Self::connect`].
    ///
    /// # Errors
    /// What this director can't: the real hasn't heard of it.
    pub(in crate::health) fn new(road: &Road) -> io::Result<Self> {
        let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
        let mut socket = Socket::new(buffer(RECEIVE), buffer(SEND));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut stack = Stack::new(road, true, socket)?;
        let (own, vip) = stack.ends();
        let (socket, context) = stack.socket::<Socket<'_>>();
        socket.connect(context, vip, own).map_err(|_| Errno::EADDRNOTAVAIL)?;
        Ok(Self(Box::new(stack)))
    }

    /// This end.
    pub(in crate::health) fn own(&self) -> SocketAddr {
        self.0.ends().0
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.0.socket().0
    }

    /// Lets the stack run. Once a connection stands, an ICMP error ends it no more than it ends one of the kernel's.
    fn run(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.0.poll(context) {
            Err(error) if is_soft(&error) => {
                context.waker().wake_by_ref();
                Ok(())
            }
            ended => ended,
        }
    }
}

fn is_soft(error: &io::Error) -> bool {
    use Errno::{EACCES, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT};
    let soft = [EACCES, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT];
    error.raw_os_error().is_some_and(|code| soft.contains(&Errno::from_raw(code)))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.run(context)?;
        let socket = stream.socket();
        if !socket.can_recv() && socket.may_recv() || matches!(socket.state(), State::SynSent | State::SynReceived) {
            return Poll::Pending;
        }
        match socket.recv_slice(buffer.initialize_unfilled()) {
            Ok(length) => {
                buffer.advance(length);
                // The real is told that there is room again.
                stream.run(context)?;
                Poll::Ready(Ok(()))
            }
            Err(RecvError::Finished) => Poll::Ready(Ok(())),
            Err(RecvError::InvalidState) => Poll::Ready(Err(Errno::ECONNRESET.into())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        stream.run(context)?;
        let socket = stream.socket();
        if !socket.may_send() {
            return Poll::Ready(Err(Errno::EPIPE.into()));
        }
        if !socket.can_send() {
            return Poll::Pending;
        }
        let taken = socket.send_slice(bytes).map_err(|_| Errno::EPIPE)?;
        stream.run(context)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written is sent by whoever reads on.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.socket().close();
        Poll::Ready(stream.run(context))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.socket().abort();
        self.0.exchange();
    }
}
