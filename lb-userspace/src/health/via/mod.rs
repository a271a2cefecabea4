//! Asking a real on a VIP: what a client would send, in frames to that one real's MAC address, on master and backup alike.
//!
//! The kernel can't do it: to a master the VIP is an address of its own, to a backup it is its master's. So a check's packets
//! are made by a TCP/IP stack in this process's memory ([`stack`], by the crate smoltcp), one for each check, and leave as
//! whole frames by a packet socket, through the interface and with the addresses that the data plane uses for that real
//! ([`Resolved`]). They are sent from an address of this director's own, so that the real's answers find their way.
//! [`tap`] hears these where the kernel hands packets up, and gives each to its check.
//!
//! The kernel sees the answers as well, and knows nothing of their connections. It stays silent, since the port that a check
//! is sent from is held in the kernel meanwhile, by a socket that takes nothing in ([`port`]); a master has dropped most of
//! them before, since they come from an address of its own.
//!
//! Nothing is left behind by an agent that is killed: the sockets go with it, and no route, address, rule, device or
//! namespace is made. Frames that are forwarded are seen by none of it.

mod datagram;
mod port;
mod stack;
mod stream;
mod syscall;
mod tap;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

pub(super) use datagram::Datagrams;
pub(super) use stream::Stream;

use crate::host::neighbour::Resolved;
use tap::Tap;

/// The way to each real that is asked on a VIP, by its own address.
pub type Hops = HashMap<IpAddr, Resolved>;

/// What all checks on VIPs share.
#[derive(Debug)]
pub struct Passage {
    hops: watch::Sender<Hops>,
    /// Opened by the first check that needs it.
    tap: Mutex<Option<Arc<Tap>>>,
}

impl Default for Passage {
    fn default() -> Self {
        Self { hops: watch::Sender::new(Hops::new()), tap: Mutex::default() }
    }
}

impl Passage {
    /// Makes these the ways to reals, for the checks that begin from then on, and those that wait for one.
    pub fn set_hops(&self, hops: Hops) {
        self.hops.send_if_modified(|held| {
            let changes = *held != hops;
            *held = hops;
            changes
        });
    }

    /// The way to a real, once it is known.
    pub(super) async fn hop(&self, real: IpAddr) -> Resolved {
        let mut hops = self.hops.subscribe();
        loop {
            if let Some(hop) = hops.borrow_and_update().get(&real) {
                return *hop;
            }
            if hops.changed().await.is_err() {
                // Never, since the sender is in `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The road to a real's VIP.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, EMFILE, or what else the system says of a packet socket.
    pub(super) fn road(&self, hop: Resolved, own: IpAddr, vip: SocketAddr) -> io::Result<Road> {
        let mut held = self.tap.lock().unwrap_or_else(PoisonError::into_inner);
        let tap = match held.as_ref().filter(|tap| tap.is_open()) {
            Some(tap) => Arc::clone(tap),
            None => Arc::clone(held.insert(Arc::new(Tap::open()?))),
        };
        Ok(Road { tap, hop, own, vip })
    }
}

/// From an address of this director to a VIP, by one real.
#[derive(Debug)]
pub(super) struct Road {
    tap: Arc<Tap>,
    hop: Resolved,
    own: IpAddr,
    vip: SocketAddr,
}
