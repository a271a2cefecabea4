//! Datagrams to a VIP by one real, and the answers to them.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use nix::errno::Errno;
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};

use super::Road;
use super::stack::Stack;

/// Datagrams that wait to be read or sent.
const WAITING: usize = 8;
/// Bytes of those to be read.
const RECEIVE: usize = 64 * 1024;
/// Bytes of those to be sent.
const SEND: usize = 4 * 1024;

/// See the module.
pub(in crate::health) struct Datagrams(Box<Stack>);

impl Datagrams {
    /// A socket with a port of its own.
    ///
    /// # Errors
    /// EADDRNOTAVAIL and the like where this director can't.
    pub(in crate::health) fn new(road: &Road) -> io::Result<Self> {
        let buffer = |bytes| PacketBuffer::new(vec![PacketMetadata::EMPTY; WAITING], vec![0; bytes]);
        let mut stack = Stack::new(road, false, Socket::new(buffer(RECEIVE), buffer(SEND)))?;
        let (own, _) = stack.ends();
        stack.socket::<Socket<'_>>().0.bind(own).map_err(|_| Errno::EADDRNOTAVAIL)?;
        Ok(Self(Box::new(stack)))
    }

    /// Sends one.
    ///
    /// # Errors
    /// ECONNREFUSED where the real said so of an earlier one; EMSGSIZE; what else keeps a frame from being sent.
    pub(in crate::health) async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let (_, vip) = self.0.ends();
        poll_fn(|context| {
            let (socket, _) = self.0.socket::<Socket<'_>>();
            Poll::Ready(match socket.send_slice(payload, vip) {
                Ok(()) => self.0.poll(context),
                Err(_) => Err(Errno::EMSGSIZE.into()),
            })
        })
        .await
    }

    /// Waits for one, and gives its length; what the buffer has no room for is cut off.
    ///
    /// # Errors
    /// ECONNREFUSED or what else the real says by ICMP.
    pub(in crate::health) async fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| {
            self.0.poll(context)?;
            let (socket, _) = self.0.socket::<Socket<'_>>();
            let Ok((payload, _)) = socket.recv() else { return Poll::Pending };
            let length = payload.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..length), payload.get(..length)) {
                to.copy_from_slice(from);
            }
            Poll::Ready(Ok(length))
        })
        .await
    }
}
