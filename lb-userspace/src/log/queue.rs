//! The queue of lines, and the thread that writes them (one, from [`Queue::start`]; it lives as long as the process:
//! a write that hangs can't be ended).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::Level;

use super::lines;

/// Lines that wait at most. A refused configuration is one line of some KiB, all others are short.
const ROOM: usize = 4096;

/// Between two tries to get into a full queue at the end.
const AGAIN: Duration = Duration::from_millis(10);

/// Lines that this process has dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many log lines this process had to drop since it started.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Where lines are written.
pub(super) trait Sink: Send + 'static {
    /// Writes a part, at least one byte.
    fn write(&mut self, bytes: &[u8]) -> nix::Result<usize>;
    /// Waits until it takes more, after a write that would block.
    fn wait(&mut self);
}

/// See the module.
#[derive(Clone)]
pub(super) struct Queue {
    entries: mpsc::SyncSender<Entry>,
    dropped: &'static AtomicU64,
}

enum Entry {
    Lines(Vec<u8>),
    /// All before it are done with.
    Flush(mpsc::Sender<()>),
}

impl Queue {
    /// Starts the thread. `priority` is what it gives to lines of its own.
    pub(super) fn start(sink: impl Sink, priority: Option<Level>) -> Self {
        Self::start_with(sink, priority, ROOM, &DROPPED)
    }

    fn start_with(sink: impl Sink, priority: Option<Level>, room: usize, dropped: &'static AtomicU64) -> Self {
        let (entries, receiver) = mpsc::sync_channel(room);
        let thread = thread::Builder::new().name("log".to_owned());
        // Where no thread can be made, every line is dropped and counted.
        let _ = thread.spawn(move || Writer { sink, priority, dropped, told: 0, torn: false }.run(&receiver));
        Self { entries, dropped }
    }

    /// Adds whole lines, or drops and counts them. Never waits.
    pub(super) fn put(&self, lines: Vec<u8>) {
        if self.entries.try_send(Entry::Lines(lines)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all that was added is done with, at most for this long.
    pub(super) fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let (sender, done) = mpsc::channel();
        let mut entry = Entry::Flush(sender);
        loop {
            match self.entries.try_send(entry) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Full(back)) if Instant::now() < end => entry = back,
                Err(_) => return,
            }
            thread::sleep(AGAIN);
        }
        let _ = done.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

struct Writer<S> {
    sink: S,
    priority: Option<Level>,
    dropped: &'static AtomicU64,
    /// Of the dropped ones, those that were told of.
    told: u64,
    /// The last line was written in part.
    torn: bool,
}

impl<S: Sink> Writer<S> {
    fn run(mut self, entries: &mpsc::Receiver<Entry>) {
        while let Ok(entry) = entries.recv() {
            match entry {
                Entry::Lines(lines) => self.write(&lines),
                Entry::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    /// Writes the lines, behind a word on those that were dropped before them.
    fn write(&mut self, entry: &[u8]) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let mut text = Vec::new();
        if self.torn {
            text.push(b'\n');
        }
        if dropped > self.told {
            let note = format!("the log did not take {} lines: they are lost", dropped - self.told);
            text.extend(lines(note.as_bytes(), self.priority));
        }
        text.extend_from_slice(entry);
        match self.write_all(&text) {
            Ok(()) => (self.told, self.torn) = (dropped.max(self.told), false),
            Err(written) => {
                self.torn |= written > 0;
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// On failure, how much was written.
    fn write_all(&mut self, text: &[u8]) -> Result<(), usize> {
        let mut written = 0;
        while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
            match self.sink.write(rest) {
                Ok(0) => return Err(written),
                Ok(count) => written += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.sink.wait(),
                Err(_) => return Err(written),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const GENEROUS: Duration = Duration::from_secs(60);

    /// What a test's sink has taken, and how it behaves.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        text: String,
        refuses: Option<Errno>,
        /// Takes this much at once.
        bite: Option<usize>,
    }

    impl Paper {
        fn set(&self, refuses: Option<Errno>) {
            self.0.lock().unwrap().refuses = refuses;
        }

        fn text(&self) -> String {
            self.0.lock().unwrap().text.clone()
        }
    }

    impl Sink for Paper {
        fn write(&mut self, bytes: &[u8]) -> nix::Result<usize> {
            let mut state = self.0.lock().unwrap();
            if let Some(error) = state.refuses {
                return Err(error);
            }
            let taken = &bytes[..bytes.len().min(state.bite.unwrap_or(usize::MAX))];
            state.text += std::str::from_utf8(taken).unwrap();
            Ok(taken.len())
        }

        fn wait(&mut self) {
            // It would block until the test says otherwise.
            while self.0.lock().unwrap().refuses == Some(Errno::EAGAIN) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn queue(paper: &Paper, room: usize) -> Queue {
        Queue::start_with(paper.clone(), None, room, Box::leak(Box::default()))
    }

    fn put(queue: &Queue, text: &str) {
        queue.put(format!("{text}\n").into_bytes());
    }

    #[test]
    fn lines_come_in_order_however_small_the_bites() {
        let paper = Paper::default();
        paper.0.lock().unwrap().bite = Some(2);
        let queue = queue(&paper, 100);
        ["one", "two", "three"].iter().for_each(|text| put(&queue, text));
        queue.flush(GENEROUS);
        assert_eq!(paper.text(), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_full_disk_or_a_gone_reader_drops_lines_and_is_told_once_it_is_over() {
        for error in [Errno::ENOSPC, Errno::EPIPE, Errno::EIO] {
            let paper = Paper::default();
            let queue = queue(&paper, 100);
            put(&queue, "before");
            queue.flush(GENEROUS);
            paper.set(Some(error));
            ["one", "two"].iter().for_each(|text| put(&queue, text));
            queue.flush(GENEROUS);
            assert_eq!(queue.dropped.load(Ordering::Relaxed), 2);
            paper.set(None);
            ["after", "more"].iter().for_each(|text| put(&queue, text));
            queue.flush(GENEROUS);
            let expected = "before\nthe log did not take 2 lines: they are lost\nafter\nmore\n";
            assert_eq!(paper.text(), expected, "{error}");
        }
    }

    #[test]
    fn a_reader_that_hangs_holds_nobody_up() {
        let paper = Paper::default();
        paper.set(Some(Errno::EAGAIN));
        let queue = queue(&paper, 10);
        let start = Instant::now();
        for number in 0..1000 {
            put(&queue, &number.to_string());
        }
        queue.flush(Duration::from_millis(50));
        assert!(start.elapsed() < GENEROUS);
        let dropped = queue.dropped.load(Ordering::Relaxed);
        assert!((989..1000).contains(&dropped), "{dropped}");
        paper.set(None);
        queue.flush(GENEROUS);
        put(&queue, "after");
        queue.flush(GENEROUS);
        let text = paper.text();
        assert!(text.ends_with("after\n"), "{text}");
        let told = text.lines().filter_map(|line| line.strip_prefix("the log did not take ")?.split(' ').next());
        assert_eq!(told.map(|count| count.parse::<u64>().unwrap()).sum::<u64>(), dropped, "{text}");
    }
}
