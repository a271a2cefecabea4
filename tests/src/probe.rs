//! A probe that sees milliseconds: a numbered datagram to a VIP every 2 ms, and who answered each.
//!
//! A datagram counts as lost when no answer to it ever comes: on a busy machine an answer may be late, or the
//! next datagram may be, and neither is the fault of what is measured.

mod echo;

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use echo::Echo;

use crate::lab::{DEADLINE, Host, Mac, wait_until};

/// The time from one datagram to the next.
pub const INTERVAL: Duration = Duration::from_millis(2);

/// After the last datagram, the answers are over when none has come for this long: longer than a client's
/// kernel holds datagrams back while it asks for a MAC address.
const QUIET: Duration = Duration::from_millis(1500);

/// Answers in a row that show that the traffic goes through a director.
const ENOUGH: usize = 10;

/// One datagram.
#[derive(Debug, Clone)]
pub struct Sent {
    /// When it was sent.
    pub at: Instant,
    /// Who answered; `None` if nobody did.
    pub answer: Option<Answer>,
}

/// An answer to a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The title of the host that answered, such as `Real-1`.
    pub host: String,
    /// The source MAC address of the datagram as that host received it: a director's, if one forwarded it.
    pub through: Mac,
}

/// A running probe. It ends when dropped.
#[derive(Debug)]
pub struct Probe {
    log: Arc<Mutex<Vec<Sent>>>,
    stop_sending: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Probe {
    /// Probes a VIP from `client`, and waits for the first answers.
    ///
    /// # Errors
    /// No socket, or no answer within the deadline.
    pub fn start(client: &Host, vip: (impl Into<IpAddr>, u16)) -> Result<Self> {
        let probe = Self::start_unanswered(client, vip)?;
        probe.wait_for(ENOUGH, "an answer to the probe", |_| true)?;
        Ok(probe)
    }

    /// As [`Self::start`], without waiting.
    ///
    /// # Errors
    /// No socket.
    pub fn start_unanswered(client: &Host, vip: (impl Into<IpAddr>, u16)) -> Result<Self> {
        let vip = SocketAddr::from((vip.0.into(), vip.1));
        let socket = client.within(|| bind(vip))?.with_context(|| format!("no socket to probe {vip}"))?;
        let log = Arc::new(Mutex::new(Vec::with_capacity(1 << 14)));
        let [stop_sending, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let sender = {
            let (socket, log, stop) = (socket.try_clone()?, log.clone(), stop_sending.clone());
            thread::Builder::new().name("probe".to_owned()).spawn(move || send(&socket, vip, &log, &stop))?
        };
        let receiver = {
            let (log, stop) = (log.clone(), stop.clone());
            thread::Builder::new().name("answers".to_owned()).spawn(move || receive(&socket, &log, &stop))?
        };
        Ok(Self { log, stop_sending, stop, threads: vec![sender, receiver] })
    }

    /// Waits until datagrams that are sent from now on are answered.
    ///
    /// # Errors
    /// They aren't within the deadline.
    pub fn wait_for_answers(&self) -> Result<Duration> {
        self.wait_for(ENOUGH, "answers", |_| true)
    }

    /// Waits until datagrams that are sent from now on come through this director.
    ///
    /// # Errors
    /// They don't within the deadline.
    pub fn wait_until_through(&self, director: &Host) -> Result<Duration> {
        let what = format!("answers through {}", director.name());
        self.wait_for(ENOUGH, &what, |answer| answer.through == director.mac())
    }

    /// Waits until datagrams that are sent from now on are answered by a host of this title.
    ///
    /// # Errors
    /// They aren't within the deadline.
    pub fn wait_until_from(&self, host: &Host) -> Result<Duration> {
        let what = format!("answers of {}", host.name());
        self.wait_for(ENOUGH, &what, |answer| answer.host == host.title())
    }

    /// Waits until so many datagrams that are sent from now on were answered so.
    fn wait_for(&self, count: usize, what: &str, good: impl Fn(&Answer) -> bool) -> Result<Duration> {
        let start = lock(&self.log).len();
        wait_until(DEADLINE, what, || {
            let log = lock(&self.log);
            log.iter().skip(start).filter(|sent| sent.answer.as_ref().is_some_and(&good)).count() >= count
        })
    }

    /// Ends it, when the last answers are in.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.stop_sending.store(true, Ordering::Relaxed);
        let answered = || lock(&self.log).iter().filter(|sent| sent.answer.is_some()).count();
        let (mut count, mut since) = (answered(), Instant::now());
        while count < lock(&self.log).len() && since.elapsed() < QUIET {
            thread::sleep(INTERVAL);
            if answered() > count {
                (count, since) = (answered(), Instant::now());
            }
        }
        self.end();
        Report { sent: std::mem::take(&mut *lock(&self.log)) }
    }

    fn end(&mut self) {
        self.stop_sending.store(true, Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.end();
    }
}

/// What became of every datagram.
#[derive(Debug, Clone)]
pub struct Report {
    /// In the order in which they were sent.
    pub sent: Vec<Sent>,
}

impl Report {
    /// How many were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.sent.iter().filter(|sent| sent.answer.is_none()).count()
    }

    /// The most that were lost in a row.
    #[must_use]
    pub fn lost_in_a_row(&self) -> usize {
        self.gaps().iter().map(|gap| gap.0).max().unwrap_or(0)
    }

    /// The longest time without a datagram that was answered, between one that was lost and the next that was
    /// not. With every datagram sent in time that is [`INTERVAL`] for each one lost in a row.
    #[must_use]
    pub fn gap(&self) -> Duration {
        self.gaps().iter().map(|gap| gap.1).max().unwrap_or_default()
    }

    /// Every run of lost datagrams: how many, and from the first of them to the next that was answered.
    fn gaps(&self) -> Vec<(usize, Duration)> {
        let runs = self.sent.chunk_by(|a, b| a.answer.is_none() == b.answer.is_none());
        let mut at = 0;
        let mut gaps = Vec::new();
        for run in runs {
            at += run.len();
            if let [Sent { at: first, answer: None }, ..] = run {
                let end = self.sent.get(at).or(run.last()).map_or(*first, |sent| sent.at);
                gaps.push((run.len(), end - *first));
            }
        }
        gaps
    }

    /// The MAC addresses that datagrams came through, in the order of their first ones.
    #[must_use]
    pub fn through(&self) -> Vec<Mac> {
        let mut seen = BTreeSet::new();
        let answers = self.sent.iter().filter_map(|sent| sent.answer.as_ref());
        answers.map(|answer| answer.through).filter(|mac| seen.insert(*mac)).collect()
    }

    /// # Errors
    /// One was lost.
    pub fn without_loss(&self) -> Result<()> {
        ensure!(self.lost() == 0, "{self}");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, sent, row) = (self.lost(), self.sent.len(), self.lost_in_a_row());
        write!(f, "{lost} of {sent} datagrams lost, {row} in a row over {:?}; through {:?}", self.gap(), self.through())
    }
}

fn bind(vip: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if vip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Not connected: an ICMP error about one datagram must not keep the next from being sent.
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20)?;
    Ok(socket)
}

fn send(socket: &UdpSocket, vip: SocketAddr, log: &Mutex<Vec<Sent>>, stop: &AtomicBool) {
    let mut next = Instant::now();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Logged first: the answer may be quicker than this thread.
        lock(log).push(Sent { at: Instant::now(), answer: None });
        // One that the client's own kernel refuses is as lost as one on the way.
        let _ = socket.send_to(&number.to_be_bytes(), vip);
        // The beat is kept; what was missed is not made up for.
        next = (next + INTERVAL).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn receive(socket: &UdpSocket, log: &Mutex<Vec<Sent>>, stop: &AtomicBool) {
    let mut buffer = [0; 256];
    while !stop.load(Ordering::Relaxed) {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
            // About a datagram that was refused: it is lost, and the next may not be.
            Err(_) => continue,
        };
        let Some((number, answer)) = buffer.get(..length).and_then(echo::read) else {
            continue;
        };
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(sent) = lock(log).get_mut(index) {
            sent.answer.get_or_insert(answer);
        }
    }
}

fn lock(log: &Mutex<Vec<Sent>>) -> std::sync::MutexGuard<'_, Vec<Sent>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Lab, VIP, VIP6, scenario};

    const PORT: u16 = 7000;

    fn report(answered: &[bool]) -> Report {
        let start = Instant::now();
        let answer = Answer { host: "Real-1".to_owned(), through: Mac([2; 6]) };
        let sent = answered
            .iter()
            .zip(0_u32..)
            .map(|(answered, number)| Sent { at: start + INTERVAL * number, answer: answered.then(|| answer.clone()) });
        Report { sent: sent.collect() }
    }

    #[test]
    fn a_gap_is_the_longest_run_of_lost_datagrams() {
        assert_eq!(report(&[true; 4]).gap(), Duration::ZERO);
        report(&[true; 4]).without_loss().unwrap();
        let lossy = report(&[true, false, true, false, false, false, true]);
        assert_eq!((lossy.lost(), lossy.lost_in_a_row(), lossy.gap()), (4, 3, 3 * INTERVAL));
        assert!(lossy.without_loss().is_err());
        assert_eq!(report(&[true, false, false]).lost_in_a_row(), 2);
    }

    #[test]
    fn an_answer_says_by_whom_it_was_sent_and_through_whom_the_datagram_came() {
        scenario(Lab::builder(), |lab| {
            let _echo = Echo::behind(lab.real(1), PORT)?;
            for vip in [IpAddr::from(VIP), VIP6.into()] {
                // As a director would send it.
                lab.client().set_neighbour(vip, lab.real(1).mac())?;
                let report = Probe::start(lab.client(), (vip, PORT))?.finish();
                report.without_loss()?;
                let answer = report.sent[0].answer.clone();
                let expected = Answer { host: "Real-1".to_owned(), through: lab.client().mac() };
                assert_eq!(answer, Some(expected));
            }
            Ok(())
        });
    }

    #[test]
    fn a_host_answers_beside_its_vip_only_while_it_has_it() {
        scenario(Lab::builder(), |lab| {
            let _echo = Echo::beside(lab.director(), PORT)?;
            lab.client().set_neighbour(VIP.into(), lab.director().mac())?;
            let probe = Probe::start_unanswered(lab.client(), (VIP, PORT))?;
            lab.director().own(VIP.into())?;
            probe.wait_until_from(lab.director())?;
            lab.director().disown(VIP.into())?;
            thread::sleep(Duration::from_millis(50));
            lab.director().own(VIP.into())?;
            probe.wait_until_from(lab.director())?;
            let report = probe.finish();
            assert!(report.lost_in_a_row() >= 10, "{report}");
            Ok(())
        });
    }
}
