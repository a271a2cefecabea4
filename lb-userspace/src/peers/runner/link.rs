//! One connection to a peer that has greeted, until it ends.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::Item;
use super::greet::{GREETING, Met};
use super::shared::{Changes, Peer, Shared};
use crate::peers::noise::{Channel, LONGEST, first};
use crate::peers::session::{Fault, Session, State, Time};
use crate::peers::state::Told;

/// Encrypted bytes that are made ready to be written.
const OUTPUT: usize = 128 << 10;
/// Bytes that are read at once: two of the longest messages.
const INPUT: usize = 2 * LONGEST;
/// Of two connections the one that the peer keeps is met here at most so long after the other's end.
const OTHER: Duration = Duration::from_millis(100);

/// One connection.
pub struct Link<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    changes: Changes,
    channel: Channel,
    session: Session,
    /// What the peer told and the agent has not taken; nothing is read meanwhile.
    told: Vec<Told>,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    began: Time,
    opened: Vec<u8>,
}

/// Serves a connection, until it ends or the peer has made another that replaces it.
pub async fn serve(
    shared: &Shared,
    place: usize,
    peer: &Peer,
    met: Met,
    calls: &mut mpsc::Receiver<Met>,
    items: &mpsc::Sender<Item>,
) -> (Fault, Option<Met>) {
    let now = shared.now();
    let mut link = Link {
        shared,
        peer,
        changes: shared.subscribe(place),
        channel: met.channel,
        session: Session::new(now, shared.own, met.called),
        told: Vec::new(),
        input: Vec::with_capacity(INPUT),
        output: Vec::with_capacity(OUTPUT + LONGEST),
        written: 0,
        began: now,
        opened: Vec::new(),
    };
    let mut stream = met.stream;
    let (mut reader, mut writer) = stream.split();
    let mut fault = link.hear(&met.greeting).err();
    link.note();
    loop {
        if let Some(fault) = fault {
            return (fault, None);
        }
        fault = link.turn().err();
        let idle = link.written == link.output.len();
        link.changes.set_idle(idle && link.session.has_told());
        let deadline = shared.instant(link.session.deadline());
        tokio::select! {
            read = reader.read_buf(&mut link.input), if link.told.is_empty() && link.input.len() < INPUT => match read {
                Ok(0) => return link.ended("ended the connection".to_owned(), calls).await,
                Ok(_) => fault = link.take().err(),
                Err(error) => return link.ended(format!("lost the connection: {error}"), calls).await,
            },
            wrote = writer.write(link.output.get(link.written..).unwrap_or_default()), if !idle => match wrote {
                Ok(bytes) => link.written += bytes,
                Err(error) => fault = Some(Fault::Connection(format!("lost the connection: {error}"))),
            },
            permit = items.reserve(), if !link.told.is_empty() => match permit {
                Ok(permit) => {
                    link.session.excuse(shared.now());
                    permit.send(Item { peer: peer.address, told: std::mem::take(&mut link.told) });
                }
                Err(_) => return (Fault::Connection("nobody takes what it tells".to_owned()), None),
            },
            change = link.changes.next() => match change {
                Some(change) => shared.with_ours(|ours| {
                    let mut record = peer.record();
                    link.session.change(shared.now(), &change, ours, &mut record.differences);
                }),
                None => fault = Some(Fault::Behind("too many changes wait")),
            },
            Some(call) = calls.recv() => {
                let instance = link.session.peer().map(|peer| peer.instance);
                // Both called at the same time, and each has heard the other's call: that of the lower number stays.
                let race = instance == Some(call.instance) && met.since.elapsed() < GREETING;
                let called_lower = shared.own.instance < call.instance;
                if !(race && met.called == called_lower && met.called != call.called) {
                    return (Fault::Replaced, Some(call));
                }
            },
            () = tokio::task::yield_now(), if idle && link.session.is_filling() => {}
            () = sleep_until(deadline) => {}
        }
    }
}

impl Link<'_> {
    /// The peer's end is gone: the peer too, or where both had called it has kept the other connection, which is about to be met
    /// here. Then nothing is wrong.
    async fn ended(&self, words: String, calls: &mut mpsc::Receiver<Met>) -> (Fault, Option<Met>) {
        let call = timeout(OTHER, calls.recv()).await.ok().flatten();
        let instance = self.session.peer().map(|peer| peer.instance);
        let is_same = call.as_ref().is_some_and(|call| instance == Some(call.instance));
        (if is_same { Fault::Replaced } else { Fault::Connection(words) }, call)
    }

    /// What is done before each wait.
    fn turn(&mut self) -> Result<(), Fault> {
        let now = self.shared.now();
        if !self.told.is_empty() {
            self.session.excuse(now);
        }
        self.session.tick(now)?;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
            self.refill()?;
        }
        if self.session.state() != self.peer.record().state {
            self.note();
        }
        self.measure();
        Ok(())
    }

    fn refill(&mut self) -> Result<(), Fault> {
        while self.output.len() < OUTPUT {
            if self.session.is_filling() {
                self.shared.with_ours(|ours| {
                    let now = self.shared.now();
                    let mut record = self.peer.record();
                    // What was told before the table is read goes before what is read there.
                    while let Some(change) = self.changes.try_next() {
                        self.session.change(now, &change, ours, &mut record.differences);
                    }
                    self.session.fill(ours, self.shared.flows.as_ref());
                });
            }
            let Some(message) = self.session.transmit() else { return Ok(()) };
            self.channel.seal(&message, &mut self.output).map_err(|error| Fault::Connection(error.to_string()))?;
        }
        Ok(())
    }

    /// Takes the whole messages of what was read.
    fn take(&mut self) -> Result<(), Fault> {
        let mut used = 0;
        let mut opened = std::mem::take(&mut self.opened);
        while let Some((sealed, size)) = first(self.input.get(used..).unwrap_or_default()) {
            let genuine = self.channel.open(sealed, &mut opened);
            genuine.map_err(|_| Fault::Connection("sent what isn't by this key; the connection was cut".to_owned()))?;
            used += size;
            self.hear(&opened)?;
        }
        self.opened = opened;
        self.input.drain(..used);
        Ok(())
    }

    fn hear(&mut self, message: &[u8]) -> Result<(), Fault> {
        let now = self.shared.now();
        self.shared.with_ours(|ours| {
            let mut record = self.peer.record();
            if self.session.peer().is_none() {
                while let Some(change) = self.changes.try_next() {
                    self.session.change(now, &change, ours, &mut record.differences);
                }
            }
            self.session.receive(now, message, ours, &mut record.differences, &mut self.told)
        })
    }

    /// Notes another state.
    fn note(&mut self) {
        let state = self.session.state();
        {
            let mut record = self.peer.record();
            record.state = state;
            record.since = std::time::Instant::now();
            record.other_rings = self.session.peer().is_some() && !self.session.has_same_rings();
            if state == State::Live {
                record.error = None;
            }
        }
        match state {
            State::Live => {
                let (sent, received) = self.session.traffic();
                let took = self.shared.now().saturating_sub(self.began);
                let took = Duration::from_millis(took.as_millis().try_into().unwrap_or(u64::MAX));
                let words = format!(
                    "everything was told both ways, {} connections there and {} here in {}",
                    sent.flows,
                    received.flows,
                    humantime::format_duration(took),
                );
                self.peer.say(&words);
            }
            State::Bulk if !self.session.has_same_rings() => self.peer.warn_once(
                "rings",
                "computes slots otherwise (another version of lb, or another key), so that its slots aren't taken",
            ),
            _ => {}
        }
        self.shared.changed.send_replace(());
    }

    fn measure(&mut self) {
        let mut record = self.peer.record();
        record.lag = self.session.lag();
        (record.sent, record.received) = self.session.traffic();
        if self.session.is_taken() && self.told.is_empty() && !record.taken {
            record.taken = true;
            drop(record);
            self.shared.changed.send_replace(());
        }
    }
}
