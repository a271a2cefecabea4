//! Reals that clients' packets speak against: connections to them are opened again and again, and nothing follows.
//!
//! The packet path counts a real's packets and its new connections already, by service; this goes by two readings of those,
//! about a second apart, and costs no packet anything. A connection's first packet is followed by others within a round trip where its
//! real lives: its handshake's end, a request, a FIN. Where it doesn't, the client repeats the SYN after 1 s, 3 s and so on.
//!
//! What it says is a suspicion: the real is asked at once, and its check decides. It takes no real out and brings none in.

use std::collections::HashMap;
use std::hash::Hash;

/// Connections that were opened without a packet that follows make a real suspect.
pub const OPENED: u64 = 3;
/// A suspect that nothing was sent to in so many readings is forgotten.
const SILENT: u32 = 30;

/// New packets of a real of a service since the last reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// New connections. Of a service that remembers no connections each SYN counts as one, also one that is repeated.
    pub connections: u64,
    /// All packets, those among them.
    pub packets: u64,
}

/// What is known of each real of each service (`K`) that is sent something.
#[derive(Debug)]
pub struct Suspects<K>(HashMap<K, Seen>);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Connections since something else was sent.
    opened: u64,
    /// Readings in a row without a packet.
    silent: u32,
}

impl<K> Default for Suspects<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Copy> Suspects<K> {
    /// Takes a reading of all reals. Returns those that are suspect, and whether that is new.
    pub fn take(&mut self, all: impl Iterator<Item = (K, Sent)>) -> Vec<(K, bool)> {
        let mut suspect = Vec::new();
        let mut seen = HashMap::new();
        for (real, sent) in all {
            let before = self.0.remove(&real).unwrap_or_default();
            let Some(now) = before.after(sent) else { continue };
            if now.is_suspect() && sent.packets > 0 {
                suspect.push((real, !before.is_suspect()));
            }
            seen.insert(real, now);
        }
        self.0 = seen;
        suspect
    }

    /// How many connections to a real were opened in vain, where it is suspect.
    #[must_use]
    pub fn opened(&self, real: K) -> Option<u64> {
        self.0.get(&real).filter(|seen| seen.is_suspect()).map(|seen| seen.opened)
    }
}

impl Seen {
    fn is_suspect(self) -> bool {
        self.opened >= OPENED
    }

    /// `None` where nothing speaks against it.
    fn after(self, Sent { connections, packets }: Sent) -> Option<Self> {
        if packets == 0 {
            let silent = self.silent + 1;
            return (self.opened > 0 && silent < SILENT).then_some(Self { silent, ..self });
        }
        // A connection that lives has more packets than its first, whoever counts; a repeated SYN may be one of these.
        let followed = packets.saturating_sub(connections);
        if followed > 0 && followed >= connections {
            return None;
        }
        Some(Self { opened: self.opened + connections, silent: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_in_vain_makes_a_suspect_until_something_follows() {
        let mut suspects = Suspects::default();
        // (connections, packets, whether it is told, and as new)
        #[rustfmt::skip]
        let rows = [
            (100, 400, None),
            // A busy real, of which the reading has more beginnings than ends.
            (2, 3, None),
            (50, 200, None),
            (0, 0, None),
            (1, 1, None),
            (1, 1, None),
            (0, 0, None),
            (1, 1, Some(true)),
            (5, 6, Some(false)),
            // Nobody asks it now.
            (0, 0, None),
            (1, 1, Some(false)),
            (1, 3, None),
            (1, 1, None),
            (200, 200, Some(true)),
            // Its clients repeat their SYNs, which a service that remembers connections doesn't count as new ones.
            (10, 9, Some(false)),
            (0, 40, None),
        ];
        for (index, (connections, packets, expected)) in rows.into_iter().enumerate() {
            let told = suspects.take([(7, Sent { connections, packets })].into_iter());
            assert_eq!(told.first().map(|(_, new)| *new), expected, "{index}");
        }
    }

    #[test]
    fn what_nobody_asks_any_more_is_forgotten() {
        let mut suspects = Suspects::default();
        suspects.take([(1, Sent { connections: 4, packets: 4 })].into_iter());
        assert_eq!((suspects.opened(1), suspects.opened(2)), (Some(4), None));
        for _ in 0..SILENT {
            suspects.take([(1, Sent::default())].into_iter());
        }
        assert_eq!(suspects.opened(1), None);
        // One that isn't configured any more.
        suspects.take([(1, Sent { connections: 4, packets: 4 })].into_iter());
        suspects.take(std::iter::empty());
        assert_eq!(suspects.opened(1), None);
    }
}
