//! What is to be seen of a virtual router: the same in the thread, in the API's JSON and in `lb vrrp`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::machine::{Cause, State};
use super::settings::Settings;
use crate::vrrp::wire::checksum::Form;
use crate::vrrp::wire::refusal::{Refusal, Refusals};

/// What an instance has counted since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Adverts sent, to each peer one.
    pub sent: u64,
    /// Adverts that the system would not send.
    pub unsent: u64,
    /// Adverts taken.
    pub received: u64,
    /// Of those, version 3 over IPv4 with the pseudo-header in its checksum.
    pub with_pseudo_header: u64,
    /// Of those, version 3 over IPv4 without it.
    pub without_pseudo_header: u64,
    /// The form that each peer's last such advert had, for the first peers heard.
    pub forms: BTreeMap<IpAddr, Form>,
    /// Adverts refused, by reason.
    pub refused: Refusals,
    /// The last one that was refused.
    pub last_refused: Option<Refused>,
    /// Adverts taken that name other addresses than ours.
    pub mismatched: u64,
    /// The last advert's addresses, while they are others than ours.
    pub mismatch: Option<Mismatch>,
    /// How often this instance became master.
    pub elections: u64,
}

/// An advert that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Who sent it.
    pub source: IpAddr,
    /// Why it was.
    pub reason: Refusal,
}

/// An advert that names other addresses than ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// Who sent it.
    pub source: IpAddr,
    /// What it named.
    pub addresses: Vec<IpAddr>,
}

/// Peers whose checksum's form is remembered: more than a virtual router has.
const REMEMBERED: usize = 32;

impl Counters {
    /// Counts an advert of version 3 over IPv4, of a peer whose checksum has this form.
    pub(super) fn count_form(&mut self, peer: IpAddr, form: Form) {
        match form {
            Form::PseudoHeader => self.with_pseudo_header += 1,
            Form::Plain => self.without_pseudo_header += 1,
        }
        if self.forms.len() < REMEMBERED || self.forms.contains_key(&peer) {
            self.forms.insert(peer, form);
        }
    }
}

/// What is to be seen of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its virtual router id.
    #[serde(rename = "id")]
    pub router: u8,
    /// Its VIPs.
    pub addresses: Vec<IpAddr>,
    /// Its state.
    pub state: State,
    /// Why.
    pub cause: Cause,
    /// For how long; in JSON in seconds.
    #[serde(rename = "age_seconds", with = "seconds")]
    pub age: Duration,
    /// The master's address, if it is known.
    pub master: Option<IpAddr>,
    /// The priority in effect.
    pub priority: u8,
    /// The priority in the configuration.
    pub configured_priority: u8,
    /// How tracking explains it, if there is tracking.
    pub why: Option<String>,
    /// It was released and leaves the VIPs to others.
    pub yielded: bool,
    /// Why it can't take part, when it can't: no such interface, no address on it.
    pub obstacle: Option<String>,
    /// What it waits for before it displaces a master of lower priority, while it does.
    pub awaits: Option<String>,
    /// Adverts on its interface, of its family, for router ids that nobody here has.
    pub strangers: u64,
    /// Its counters.
    #[serde(flatten)]
    pub counters: Counters,
}

impl Status {
    /// Of an instance whose interface was not seen yet.
    pub fn waiting(settings: &Settings) -> Self {
        Self {
            name: settings.name.clone(),
            interface: settings.interface.clone(),
            router: settings.router,
            addresses: settings.addresses.iter().map(IpNet::addr).collect(),
            state: State::Initialize,
            cause: Cause::Created,
            age: Duration::ZERO,
            master: None,
            priority: settings.priority,
            configured_priority: settings.priority,
            why: None,
            yielded: false,
            obstacle: None,
            awaits: None,
            strangers: 0,
            counters: Counters::default(),
        }
    }
}

/// A duration as seconds with their fraction.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::wire::packet::Version;

    #[test]
    fn what_is_told_is_understood() {
        let settings = Settings::new("web", "eth0", 51, Version::V3, vec!["10.77.0.100/24".parse().unwrap()]);
        let source: IpAddr = [10, 77, 0, 12].into();
        let mut counters = Counters { sent: 7, forms: [(source, Form::Plain)].into(), ..Counters::default() };
        counters.refused.count(Refusal::Checksum);
        counters.last_refused = Some(Refused { source, reason: Refusal::Checksum });
        counters.mismatch = Some(Mismatch { source, addresses: vec![source] });
        for cause in Cause::ALL {
            let age = Duration::from_millis(1500);
            let status =
                Status { cause, age, counters: counters.clone(), state: State::Master, ..Status::waiting(&settings) };
            let json = serde_json::to_value(&status).unwrap();
            assert_eq!(serde_json::from_value::<Status>(json.clone()).unwrap(), status);
            assert_eq!(
                (&json["id"], &json["state"], &json["age_seconds"]),
                (&51.into(), &"master".into(), &1.5.into())
            );
            assert_eq!(json["refused"], serde_json::json!({ "checksum": 1 }));
            assert_eq!(json["last_refused"]["reason"], "checksum");
        }
    }
}
