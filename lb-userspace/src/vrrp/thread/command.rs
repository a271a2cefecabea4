//! How the rest of the agent talks to the VRRP thread: a channel, and a byte that wakes it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::vrrp::protocol::machine::Event;
use crate::vrrp::protocol::settings::Settings;
use crate::vrrp::protocol::status::Status;
use crate::vrrp::protocol::weights::Standing;

/// The VRRP thread answers within microseconds; this is for one that is dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of the thread.
#[derive(Debug)]
pub(super) enum Request {
    Status,
    Event { instance: String, event: Event },
    Stand { instance: String, standing: Standing, why: String },
    Await(Option<String>),
    Answered(String),
    Reload(Vec<Settings>),
    ShutDown,
}

/// Why a command was not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No instance has this name.
    #[error("there is no [vrrp.{0}]")]
    Unknown(String),
    /// The new settings are wrong; the running ones stay.
    #[error("{0}")]
    Settings(String),
    /// A socket could not be made.
    #[error("VRRP has no socket: {0}")]
    System(String),
    /// The thread has ended.
    #[error("VRRP is not running")]
    Gone,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::System(error.to_string())
    }
}

type Answer = Result<Vec<Status>, Error>;

/// Commands the VRRP thread. Each call waits for its answer, which takes microseconds.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<(Request, Reply)>,
    wake: Arc<UnixStream>,
}

#[derive(Debug)]
pub(super) struct Reply(mpsc::Sender<Answer>);

/// The thread's end.
#[derive(Debug)]
pub(super) struct Inbox {
    requests: mpsc::Receiver<(Request, Reply)>,
    wake: UnixStream,
    is_open: bool,
}

pub(super) fn channel() -> io::Result<(Handle, Inbox)> {
    let (sender, requests) = mpsc::channel();
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let handle = Handle { requests: sender, wake: Arc::new(ours) };
    Ok((handle, Inbox { requests, wake: theirs, is_open: true }))
}

impl Handle {
    /// What is to be seen of every instance.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn status(&self) -> Answer {
        self.ask(Request::Status)
    }

    /// Hands the instance's VIPs over to a backup and leaves them there; without a backup they stay.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub fn release(&self, instance: &str) -> Result<(), Error> {
        self.event(instance, Event::Release)
    }

    /// Ends a release: the instance takes part in the election again.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub fn reclaim(&self, instance: &str) -> Result<(), Error> {
        self.event(instance, Event::Reclaim)
    }

    /// Brings the instance to where tracking says it stands: another priority, or out until the standing is
    /// a priority again. `why` is shown beside the priority.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub fn stand(&self, instance: &str, standing: Standing, why: String) -> Result<(), Error> {
        self.ask(Request::Stand { instance: instance.to_owned(), standing, why }).map(drop)
    }

    /// Says what this host waits for, for people, before it can serve what is behind the VIPs; `None` when it can. While it
    /// can't, instances let a master of lower priority be, though not for longer than [`super::UNREADY`] from when they
    /// started, or from when this was said to those that run.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn await_before_preemption(&self, awaited: Option<String>) -> Result<(), Error> {
        self.ask(Request::Await(awaited)).map(drop)
    }

    /// The other directors have told what they know of an instance's VIPs ([`super::Owner::ask`]).
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Gone`].
    pub fn answered(&self, instance: String) -> Result<(), Error> {
        self.ask(Request::Answered(instance)).map(drop)
    }

    /// Takes these settings in place of the running ones. An instance that stays the same router with the
    /// same addresses keeps its state, one that is gone hands over.
    ///
    /// # Errors
    /// [`Error::Settings`], with nothing changed; [`Error::Gone`].
    pub fn reload(&self, settings: Vec<Settings>) -> Result<(), Error> {
        self.ask(Request::Reload(settings)).map(drop)
    }

    /// Begins to hand every VIP over. The runner ends when that is done.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn shut_down(&self) -> Result<(), Error> {
        self.ask(Request::ShutDown).map(drop)
    }

    fn event(&self, instance: &str, event: Event) -> Result<(), Error> {
        self.ask(Request::Event { instance: instance.to_owned(), event }).map(drop)
    }

    fn ask(&self, request: Request) -> Answer {
        let (reply, answer) = mpsc::channel();
        self.requests.send((request, Reply(reply))).map_err(|_| Error::Gone)?;
        // A full pipe has woken the thread already.
        let _ = (&*self.wake).write(&[1]);
        answer.recv_timeout(PATIENCE).map_err(|_| Error::Gone)?
    }
}

impl Reply {
    /// Whoever asked may have gone.
    pub(super) fn send(self, answer: Answer) {
        let _ = self.0.send(answer);
    }
}

impl Inbox {
    pub(super) fn next(&mut self) -> Option<(Request, Reply)> {
        let mut bytes = [0; 64];
        while self.is_open {
            match self.wake.read(&mut bytes) {
                Ok(0) => self.is_open = false,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.requests.try_recv().ok()
    }

    /// What to wait on; `None` when every handle is gone, since a closed stream is always readable.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.is_open.then(|| self.wake.as_fd())
    }
}
