//! Which real has a client's connection, or would get it, and why: the answer to `GET /v1/which`.

use std::net::IpAddr;

use lb_common::flow::Stage;
use lb_common::maps::Service as Entry;
use lb_common::slot::State as SlotState;
use lb_common::{Explained, Scheduler, Verdict};
use serde::{Deserialize, Serialize};

use super::ConnectionState;
use crate::config::Protocol;
use crate::dataplane::Told;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The client's address.
    pub client: IpAddr,
    /// The client's port; without one the answer is that of a scheduler that goes by addresses alone, or none.
    pub client_port: Option<u16>,
    /// The VIP.
    pub vip: IpAddr,
    /// Its port.
    pub port: u16,
    /// The protocol; without one, those that there are services of.
    pub protocol: Option<Protocol>,
}

impl Question {
    /// As the query of a request.
    #[must_use]
    pub fn query(&self) -> String {
        let Self { client, client_port, vip, port, protocol } = self;
        let client_port = client_port.map(|port| format!("&client_port={port}")).unwrap_or_default();
        let protocol = protocol.map(|of| format!("&protocol={}", of.label().to_lowercase())).unwrap_or_default();
        format!("client={client}&vip={vip}&port={port}{client_port}{protocol}")
    }
}

/// The answer for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// The service's name.
    pub service: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Its scheduler's word.
    pub scheduler: String,
    /// The VIP's traffic is another director's; the answer is what this one would do.
    pub standby: bool,
    /// The real of a new connection, or of the one that is remembered; `None` where none takes it.
    pub real: Option<IpAddr>,
    /// The real of a connection that is older than the slot's last change and that nobody remembers, where that is another.
    pub real_of_older: Option<IpAddr>,
    /// What becomes of a packet that no real takes: a verdict's name.
    pub verdict: Option<String>,
    /// What decides.
    pub why: Why,
    /// The slot, counted from 0.
    pub slot: u32,
    /// Slots of the ring.
    pub slots: u32,
}

/// What decides where a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Why {
    /// It is remembered.
    Remembered {
        /// Where in its life it is.
        state: ConnectionState,
        /// Seconds since its last packet from the client, to within about one.
        idle: u64,
    },
    /// Its slot is settled: every connection there is the real's.
    Settled,
    /// Its slot has changed, and connections from before may be the other real's.
    Moving,
    /// Its slot has changed, and what is another real's is remembered: this isn't.
    Exceptions,
    /// That real has its client: the last connections of that went there.
    Client,
    /// The next turn is that real's; the next connection takes it.
    Turn,
    /// That real has the least to do now.
    Load,
}

impl Which {
    /// By what was found in the maps; `real` tells the address of a number.
    #[must_use]
    pub fn new(service: String, protocol: Protocol, told: &Told, real: impl Fn(u16) -> Option<IpAddr>) -> Self {
        let remembered = told.remembered().filter(|flow| told.goes_on.real == Ok(flow.real));
        let Explained { place, slot, real: opener, .. } = told.opens;
        let scheduler = Scheduler::of(told.scheduler);
        // A connection that is closed gives way to a new one, as one that was idle for long does; what is asked for is the old one.
        let taken = if remembered.is_some() { told.goes_on.real } else { opener };
        let why = match (remembered, scheduler) {
            (Some(flow), _) => Why::Remembered {
                state: match flow.stage {
                    Stage::Opening => ConnectionState::Opening,
                    Stage::Open => ConnectionState::Open,
                    Stage::Closing => ConnectionState::Closing,
                },
                idle: told.idle.unwrap_or_default().as_secs(),
            },
            _ if told.opens.persistent => Why::Client,
            _ if told.flags & Entry::COUNTED != 0 => Why::Load,
            _ if told.flags & Entry::TRACKED != 0 => Why::Turn,
            _ => match slot.state() {
                SlotState::Settled => Why::Settled,
                SlotState::Moving => Why::Moving,
                SlotState::Exceptions => Why::Exceptions,
            },
        };
        let older = told.goes_on.real.ok().filter(|number| remembered.is_none() && Ok(*number) != taken);
        Self {
            service,
            protocol: protocol.label().to_lowercase(),
            scheduler: scheduler.map_or("?", Scheduler::label).to_owned(),
            standby: told.standby,
            real: taken.ok().and_then(&real),
            real_of_older: older.filter(|_| why == Why::Moving).and_then(&real),
            verdict: taken.err().map(Verdict::name).map(str::to_owned),
            why,
            slot: place,
            slots: told.ring_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_common::flow::Flow;
    use lb_common::maps::{ServiceKey, mapped};
    use lb_common::slot::Slot;

    use super::*;

    fn told(
        flags: u16,
        scheduler: Scheduler,
        slot: Slot,
        remembered: Option<Flow>,
        reals: [Result<u16, Verdict>; 2],
    ) -> Told {
        let key = ServiceKey { address: mapped([192, 0, 2, 1]), port: [0, 80], protocol: 6, reserved: 0 };
        let of = |real| Explained { place: 7, slot, remembered, persistent: false, real };
        let [opens, goes_on] = reals.map(of);
        let idle = remembered.map(|_| Duration::from_secs(3));
        Told { service: key, flags, scheduler: scheduler as u16, ring_size: 251, standby: false, opens, goes_on, idle }
    }

    #[test]
    fn what_decides_is_told() {
        let flow = |stage, real| Some(Flow { tag: 1, seen: 2, stage, real });
        let (settled, moving) = (Slot::settled(1), Slot { current: 1, base: 2 });
        let tracked = Entry::TRACKED;
        let of = |told: &Told| {
            let which = Which::new("web".to_owned(), Protocol::Tcp, told, |number| {
                Some(IpAddr::from([192, 0, 2, number as u8]))
            });
            let last = |address: Option<IpAddr>| match address {
                Some(IpAddr::V4(address)) => address.octets()[3],
                _ => 0,
            };
            (last(which.real), last(which.real_of_older), which.verdict, which.why)
        };
        let open = Why::Remembered { state: ConnectionState::Open, idle: 3 };
        let closing = Why::Remembered { state: ConnectionState::Closing, idle: 3 };
        let refused = Some("refused".to_owned());
        let rows = [
            (told(0, Scheduler::Mh, settled, None, [Ok(1), Ok(1)]), (1, 0, None, Why::Settled)),
            (told(0, Scheduler::Mh, moving, None, [Ok(1), Ok(2)]), (1, 2, None, Why::Moving)),
            (told(0, Scheduler::Mh, moving, flow(Stage::Open, 2), [Ok(2), Ok(2)]), (2, 0, None, open)),
            (told(0, Scheduler::Mh, Slot { current: 1, base: 0 }, None, [Ok(1), Ok(1)]), (1, 0, None, Why::Exceptions)),
            (told(tracked, Scheduler::Rr, settled, None, [Ok(2), Ok(1)]), (2, 0, None, Why::Turn)),
            (told(tracked | Entry::COUNTED, Scheduler::Lc, settled, None, [Ok(2), Ok(1)]), (2, 0, None, Why::Load)),
            (told(tracked, Scheduler::Rr, settled, flow(Stage::Closing, 1), [Ok(2), Ok(1)]), (1, 0, None, closing)),
            // Its real has died.
            (told(tracked, Scheduler::Rr, settled, flow(Stage::Open, 3), [Ok(2), Ok(1)]), (2, 0, None, Why::Turn)),
            (
                told(0, Scheduler::Mh, Slot::default(), None, [Err(Verdict::Refused), Err(Verdict::Refused)]),
                (0, 0, refused, Why::Exceptions),
            ),
        ];
        for (told, expected) in rows {
            assert_eq!(of(&told), expected, "{told:?}");
        }
    }

    #[test]
    fn a_question_is_a_query() {
        let question = Question {
            client: "fd00::1".parse().unwrap(),
            client_port: Some(9),
            vip: "192.0.2.1".parse().unwrap(),
            port: 53,
            protocol: Some(Protocol::Udp),
        };
        assert_eq!(question.query(), "client=fd00::1&vip=192.0.2.1&port=53&client_port=9&protocol=udp");
    }
}
