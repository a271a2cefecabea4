//! When each VIP is asked for, and what is made of the answers. No socket, no clock: times are since any moment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::wire::{Mac, Says};
use super::{Claim, Vips};

/// Between two questions for a VIP that nobody else has.
pub(super) const INTERVAL: Duration = Duration::from_secs(30);
/// While somebody else has it: whoever mends that waits for it.
pub(super) const CLAIMED: Duration = Duration::from_secs(5);
/// While it isn't sure.
pub(super) const SOON: Duration = Duration::from_secs(1);
/// So many questions in a row must be answered, or not be: a master that hands over answers for a moment longer, and an answer
/// may be lost.
const SURE: u8 = 2;
/// Stations that are kept of one VIP.
const MOST: usize = 8;

/// The VIPs and who answers for them.
#[derive(Debug, Default)]
pub(super) struct Machine {
    vips: BTreeMap<IpAddr, Vip>,
}

#[derive(Debug)]
struct Vip {
    /// When it is asked for next.
    due: Duration,
    others: BTreeMap<Mac, Other>,
}

#[derive(Debug, Default)]
struct Other {
    /// It has answered the last question.
    answered: bool,
    /// Questions that it answered, if it isn't told of, or else didn't answer, in a row.
    in_a_row: u8,
    /// It is told of.
    claims: bool,
}

impl Machine {
    /// These are to be asked for, and no others: new ones at once.
    pub fn follow(&mut self, vips: &Vips, now: Duration) {
        self.vips.retain(|vip, _| vips.contains_key(vip));
        for vip in vips.keys() {
            self.vips.entry(*vip).or_insert(Vip { due: now, others: BTreeMap::new() });
        }
    }

    /// When something is to be done.
    pub fn deadline(&self) -> Option<Duration> {
        self.vips.values().map(|vip| vip.due).min()
    }

    /// Another station says that it has an address.
    pub fn heard(&mut self, Says { address, mac, is_answer }: Says, now: Duration) {
        let Some(vip) = self.vips.get_mut(&address) else { return };
        if !is_answer {
            // It will have to say so when it is asked.
            vip.due = vip.due.min(now + SOON);
            return;
        }
        if !vip.others.contains_key(&mac) && vip.others.len() >= MOST {
            return;
        }
        let other = vip.others.entry(mac).or_default();
        other.answered = true;
        if !other.claims {
            vip.due = vip.due.min(now + SOON);
        }
    }

    /// The VIPs that are to be asked for now, after what their last question has brought was counted.
    pub fn ask(&mut self, now: Duration) -> Vec<IpAddr> {
        let mut asked = Vec::new();
        for (address, vip) in self.vips.iter_mut().filter(|(_, vip)| vip.due <= now) {
            vip.others.retain(|_, other| other.count());
            let in_doubt = vip.others.values().any(|other| other.in_a_row > 0);
            vip.due = now
                + match in_doubt {
                    true => SOON,
                    false if vip.others.is_empty() => INTERVAL,
                    false => CLAIMED,
                };
            asked.push(*address);
        }
        asked
    }

    /// Who is sure to answer for a VIP.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        let claims =
            self.vips.iter().flat_map(|(vip, held)| held.others.iter().map(move |(mac, other)| (vip, mac, other)));
        claims.filter(|(_, _, other)| other.claims).map(|(vip, mac, _)| Claim {
            vip: *vip,
            mac: *mac,
            addresses: Vec::new(),
        })
    }
}

impl Other {
    /// Counts the last question. Whether it is still of interest.
    fn count(&mut self) -> bool {
        let answered = std::mem::take(&mut self.answered);
        if answered == self.claims {
            // As it was told, or still not told.
            self.in_a_row = 0;
            return self.claims;
        }
        self.in_a_row += 1;
        if self.in_a_row >= SURE {
            (self.claims, self.in_a_row) = (answered, 0);
        }
        self.claims || answered
    }
}

#[cfg(test)]
mod tests;
