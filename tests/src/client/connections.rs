//! Many connections that are held through changes: each asks over and over, and must go on at the real that took it.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Client, real_of};
use crate::lab::{DEADLINE, sys, wait_until};

/// The longest answer, head and all.
const LONGEST: usize = 4096;

/// The first connection's own port.
const FIRST_PORT: u16 = 10_000;

/// Events that are taken at once.
const BATCH: usize = 256;

/// How long the loop sleeps at most: who stops it, or gives it another connection, needn't wake it.
const TICK: Duration = Duration::from_millis(10);

/// Connections to one server. Each asks once in every interval, by HTTP/1.1, unless its last question wasn't answered yet:
/// that is for TCP to send again. They are closed when this is dropped.
#[derive(Debug)]
pub struct Connections {
    client: Client,
    server: SocketAddr,
    /// The next one's own port. None is used twice: a real may still know a connection that the client was told the end of.
    port: AtomicU16,
    shared: Arc<Shared>,
    asker: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    epoll: Epoll,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    lines: Vec<Line>,
    /// Who is to ask, and when, the next one first.
    turns: VecDeque<(Instant, usize)>,
    moved: Vec<Moved>,
}

/// An answer that came from another real than the one before.
#[derive(Debug)]
struct Moved {
    number: usize,
    before: String,
    now: String,
}

/// One connection.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    /// It was open by then.
    opened: Instant,
    /// Who answered first.
    real: Option<String>,
    /// When the question was asked that waits for its answer.
    asks: Option<Instant>,
    /// When the last question was asked that was answered.
    answered: Option<Instant>,
    /// What there is of an answer.
    part: Vec<u8>,
    lost: Option<Lost>,
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Its number.
    pub number: usize,
    /// The real that had it; nothing where none ever answered.
    pub real: Option<String>,
    /// Why.
    pub cause: ErrorKind,
    /// When the question was asked that has no answer.
    pub asked: Option<Instant>,
    /// Segments that were sent again, since the connection began.
    pub again: u32,
}

impl Connections {
    /// Opens `count` connections.
    ///
    /// # Errors
    /// One can't be opened.
    pub fn open(client: &Client, server: (impl Into<IpAddr>, u16), count: usize, interval: Duration) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), epoll, held: Mutex::default() });
        let asker = thread::Builder::new().name("connections".to_owned()).spawn({
            let shared = shared.clone();
            move || shared.ask(interval)
        })?;
        let server = SocketAddr::from((server.0.into(), server.1));
        let opened = Self { client: client.clone(), server, port: FIRST_PORT.into(), shared, asker: Some(asker) };
        opened.join(count, interval)?;
        Ok(opened)
    }

    /// Those that are opened from now on have this port and the next ones.
    #[must_use]
    pub fn from_port(self, port: u16) -> Self {
        self.port.store(port, Ordering::Relaxed);
        self
    }

    /// Opens `count` more. Their first questions are spread over `interval`.
    ///
    /// # Errors
    /// One can't be opened.
    pub fn join(&self, count: usize, interval: Duration) -> Result<()> {
        let streams = self.connect(count)?;
        let mut held = self.shared.lock();
        let held = &mut *held;
        for stream in streams {
            let number = held.lines.len();
            self.shared.watch(&stream, number)?;
            held.lines.push(Line::new(stream));
            held.turns.push_back((Instant::now(), number));
        }
        held.spread(interval);
        Ok(())
    }

    /// Opens another in place of each that was lost, and forgets these.
    ///
    /// # Errors
    /// One can't be opened.
    pub fn reopen(&self) -> Result<()> {
        let lost: Vec<usize> = self.lost().iter().map(|lost| lost.number).collect();
        let streams = self.connect(lost.len())?;
        let mut held = self.shared.lock();
        for (number, stream) in lost.into_iter().zip(streams) {
            self.shared.watch(&stream, number)?;
            if let Some(line) = held.lines.get_mut(number) {
                *line = Line::new(stream);
            }
        }
        Ok(())
    }

    fn connect(&self, count: usize) -> Result<Vec<TcpStream>> {
        let (client, server) = (&self.client, self.server);
        let open = |_| client.clone().source_port(self.port.fetch_add(1, Ordering::Relaxed)).open(server);
        let connect = || (0..count).map(open).collect::<std::io::Result<Vec<_>>>();
        let streams = client.host.within(connect)?;
        let streams = streams.with_context(|| format!("{} cannot connect to {server}", client.host.name()))?;
        streams.iter().try_for_each(|stream| stream.set_nonblocking(true))?;
        Ok(streams)
    }

    /// Waits until each connection is lost or was answered a question that it has asked since then.
    ///
    /// # Errors
    /// One is silent for longer than the deadline; the text says how many are, and whose.
    pub fn wait_for_a_round(&self, since: Instant) -> Result<Duration> {
        let silent = |line: &&Line| line.lost.is_none() && line.answered.is_none_or(|asked| asked < since);
        let waited = wait_until(DEADLINE, "each connection to be answered", || {
            !self.shared.lock().lines.iter().any(|line| silent(&line))
        });
        waited.with_context(|| format!("silent: {:?}", tally(self.shared.lock().lines.iter().filter(silent))))
    }

    /// Those that were lost.
    #[must_use]
    pub fn lost(&self) -> Vec<Lost> {
        self.shared.lock().lines.iter().filter_map(|line| line.lost.clone()).collect()
    }

    /// Answers that came from another real than the one before.
    #[must_use]
    pub fn moved(&self) -> Vec<String> {
        let word = |Moved { number, before, now }: &Moved| format!("{number} from {before} to {now}");
        self.shared.lock().moved.iter().map(word).collect()
    }

    /// Of those that were open by then: how many they are, and how many of them live at the real that they began at.
    #[must_use]
    pub fn kept(&self, opened_by: Instant) -> (usize, usize) {
        let held = self.shared.lock();
        let of = |line: &&Line| line.opened <= opened_by;
        let is_kept = |(number, line): &(usize, &Line)| {
            line.lost.is_none() && !held.moved.iter().any(|moved| moved.number == *number)
        };
        let kept = held.lines.iter().enumerate().filter(|(_, line)| of(line)).filter(is_kept).count();
        (held.lines.iter().filter(of).count(), kept)
    }

    /// How many live at each real, of those numbered `from` and up.
    #[must_use]
    pub fn living(&self, from: usize) -> BTreeMap<String, usize> {
        tally(self.shared.lock().lines.iter().skip(from).filter(|line| line.lost.is_none()))
    }

    /// All, the lost ones with them.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.lock().lines.len()
    }

    /// Segments that each has sent again so far.
    ///
    /// # Errors
    /// A socket is broken.
    pub fn again(&self) -> Result<Vec<u32>> {
        self.shared.lock().lines.iter().map(|line| Ok(sys::retransmitted_segments(&line.stream)?)).collect()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(asker) = self.asker.take() {
            // One that has panicked has said so.
            let _ = asker.join();
        }
    }
}

fn tally<'a>(lines: impl Iterator<Item = &'a Line>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for line in lines {
        *tally.entry(line.real.clone().unwrap_or_default()).or_default() += 1;
    }
    tally
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, stream: &TcpStream, number: usize) -> Result<()> {
        // By the edge: the end of a lost one is told once.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, u64::try_from(number)?);
        Ok(self.epoll.add(stream, event)?)
    }

    /// The loop.
    fn ask(&self, interval: Duration) {
        let mut events = [EpollEvent::empty(); BATCH];
        while !self.stop.load(Ordering::Relaxed) {
            let pause = self.lock().take_turns(interval).min(TICK);
            let pause = EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::ZERO);
            // Interrupted by a signal: as if nothing had come.
            let count = self.epoll.wait(&mut events, pause).unwrap_or_default();
            let mut held = self.lock();
            for event in events.iter().take(count) {
                held.read(event.data() as usize);
            }
        }
    }
}

impl Held {
    /// Spreads the turns evenly, so that not all ask at once.
    fn spread(&mut self, interval: Duration) {
        let (now, count) = (Instant::now(), self.turns.len().max(1));
        for (place, (at, _)) in (0_u32..).zip(&mut self.turns) {
            *at = now + interval * place / u32::try_from(count).unwrap_or(u32::MAX);
        }
    }

    /// Asks where it is time to; tells how long nobody will have to.
    fn take_turns(&mut self, interval: Duration) -> Duration {
        while let Some((at, number)) = self.turns.front().copied() {
            let now = Instant::now();
            if at > now {
                return at - now;
            }
            self.turns.pop_front();
            self.turns.push_back((at.max(now - interval) + interval, number));
            if let Some(line) = self.lines.get_mut(number) {
                line.ask(number, now);
            }
        }
        interval
    }

    fn read(&mut self, number: usize) {
        let Some(line) = self.lines.get_mut(number) else { return };
        let Some(real) = line.read(number) else { return };
        match &line.real {
            None => line.real = Some(real),
            Some(before) if *before != real => {
                self.moved.push(Moved { number, before: before.clone(), now: real });
            }
            Some(_) => {}
        }
    }
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        Self { stream, opened: Instant::now(), real: None, asks: None, answered: None, part: Vec::new(), lost: None }
    }

    fn ask(&mut self, number: usize, now: Instant) {
        if self.lost.is_some() || self.asks.is_some() {
            return;
        }
        self.asks = Some(now);
        if let Err(error) = self.stream.write_all(b"GET / HTTP/1.1\r\nHost: lb\r\n\r\n") {
            self.lose(number, error.kind());
        }
    }

    /// Takes what has come; tells who has answered, if the answer is whole.
    fn read(&mut self, number: usize) -> Option<String> {
        let mut buffer = [0; LONGEST];
        while self.lost.is_none() {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.lose(number, ErrorKind::UnexpectedEof),
                Ok(length) => self.part.extend_from_slice(buffer.get(..length)?),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.lose(number, error.kind()),
            }
        }
        let real = whole(&self.part)?;
        self.part.clear();
        self.answered = self.asks.take();
        Some(real)
    }

    fn lose(&mut self, number: usize, cause: ErrorKind) {
        if self.lost.is_none() {
            let again = sys::retransmitted_segments(&self.stream).unwrap_or_default();
            self.lost = Some(Lost { number, real: self.real.clone(), cause, asked: self.asks, again });
        }
    }
}

/// Who has answered, if the answer is whole.
fn whole(answer: &[u8]) -> Option<String> {
    let (_, body) = str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    body.ends_with('\n').then(|| real_of(body))
}
