//! Scripts that are told of changes: in order for each whom they are about, bounded, and in nobody's way.
//!
//! A task runs the scripts of each. It ends when the queues are closed and all is told.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::host::command;

/// Runs that wait for one at most. The oldest goes where there are more: the last state is always told.
const WAITING: usize = 256;

/// One script's run.
#[derive(Debug)]
pub(super) struct Run {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// When it is ended.
    pub timeout: Duration,
    /// Whose rights it has; `None` for the agent's.
    pub user: Option<String>,
}

/// The queues by whom they are about, such as `vrrp.web`.
pub(super) struct Queues {
    queues: HashMap<String, Arc<Queue>>,
    permits: Arc<Semaphore>,
    workers: JoinSet<()>,
}

#[derive(Default)]
struct Queue {
    runs: Mutex<VecDeque<Run>>,
    more: Notify,
    closed: AtomicBool,
}

impl Queues {
    /// With so many scripts at once at most.
    pub(super) fn new(at_once: usize) -> Self {
        Self { queues: HashMap::new(), permits: Arc::new(Semaphore::new(at_once)), workers: JoinSet::new() }
    }

    /// Has a script run after those that wait for the same.
    pub(super) fn push(&mut self, about: &str, run: Run) {
        let queue = match self.queues.get(about) {
            Some(queue) => queue,
            None => {
                let queue = Arc::new(Queue::default());
                self.workers.spawn(work(about.to_owned(), queue.clone(), self.permits.clone()));
                self.queues.entry(about.to_owned()).or_insert(queue)
            }
        };
        let mut runs = queue.runs();
        runs.push_back(run);
        if runs.len() > WAITING
            && let Some(run) = runs.pop_front()
        {
            warn!("{about}: notify {}: left out, since {WAITING} others wait", run.argv.join(" "));
        }
        drop(runs);
        queue.more.notify_one();
    }

    /// Waits until all is told.
    pub(super) async fn join(mut self) {
        for queue in self.queues.values() {
            queue.closed.store(true, Ordering::Release);
            queue.more.notify_one();
        }
        while self.workers.join_next().await.is_some() {}
    }
}

impl Queue {
    fn runs(&self) -> MutexGuard<'_, VecDeque<Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn work(about: String, queue: Arc<Queue>, permits: Arc<Semaphore>) {
    loop {
        let next = queue.runs().pop_front();
        let Some(Run { argv, timeout, user }) = next else {
            if queue.closed.load(Ordering::Acquire) && queue.runs().is_empty() {
                return;
            }
            queue.more.notified().await;
            continue;
        };
        // It is closed by nobody.
        let _permit = permits.acquire().await;
        match command::run_as(&argv, timeout, user.as_deref()).await {
            Ok(said) if said.is_empty() => {}
            Ok(said) => info!("{about}: notify {}: {said}", argv.join(" ")),
            Err(failure) => warn!("{about}: notify {}: {failure}", argv.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_of_too_many_is_told_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let run = |words: String| Run {
            argv: ["/bin/sh", "-c", &words].map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(60),
            user: None,
        };
        let mut queues = Queues::new(2);
        for number in 0..WAITING + 10 {
            queues.push("service.web", run(format!("echo {number} >> {}", log.display())));
        }
        tokio::time::timeout(Duration::from_secs(120), queues.join()).await.unwrap();
        let told: Vec<usize> =
            std::fs::read_to_string(log).unwrap().lines().map(|line| line.parse().unwrap()).collect();
        // Nobody has begun before all were there, since nothing was waited for.
        assert_eq!(told, (10..WAITING + 10).collect::<Vec<_>>());
    }
}
