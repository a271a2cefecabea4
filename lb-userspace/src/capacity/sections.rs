//! The `[vrrp.*]` sections of a plan, one file for each director.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Plan, letter};

/// The priority of a VIP's first director; each next one has [`STEP`] less, which leaves room for weights.
const FIRST: usize = 250;
const STEP: usize = 10;

/// What the virtual routers of a plan are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sections {
    /// Where adverts are sent and VIPs are put.
    pub interface: String,
    /// The first VIP, with its segment's prefix length; the others follow it.
    pub first_address: IpNet,
    /// The first virtual router id; the others follow it.
    pub first_id: u8,
}

/// One director's sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, such as `director-a.toml`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The numbers don't go so far, with the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SectionsError {
    /// The segment ends before the last VIP.
    #[error("{vips} VIPs from {first} on don't fit in {}: give a lower --addresses", first.trunc())]
    Addresses {
        /// The first one.
        first: IpNet,
        /// How many are needed.
        vips: usize,
    },
    /// An interface has 255 ids.
    #[error("{vips} ids from {first} on go beyond 255: give --id {} or less", 256 - vips)]
    Ids {
        /// The first one.
        first: u8,
        /// How many are needed.
        vips: usize,
    },
}

impl Sections {
    /// The address and id of each of `vips`.
    ///
    /// # Errors
    /// There are not enough.
    pub fn numbers(&self, vips: usize) -> Result<Vec<(IpNet, u8)>, SectionsError> {
        let ids = usize::from(self.first_id)..usize::from(self.first_id) + vips;
        let ids: Result<Vec<u8>, _> = ids.map(u8::try_from).collect();
        let ids = ids.map_err(|_| SectionsError::Ids { first: self.first_id, vips })?;
        let mut addresses = Vec::new();
        for offset in 0..vips {
            let address = host(self.first_address, offset);
            addresses.push(address.ok_or(SectionsError::Addresses { first: self.first_address, vips })?);
        }
        Ok(addresses.into_iter().zip(ids).collect())
    }

    /// Each director's sections, in the order of their letters. `command` is what they were made by.
    ///
    /// # Errors
    /// As [`Self::numbers`].
    pub fn files(&self, plan: &Plan, command: &str) -> Result<Vec<File>, SectionsError> {
        let numbers = self.numbers(plan.orders.len())?;
        Ok((0..plan.demand.directors).map(|director| self.file(plan, director, &numbers, command)).collect())
    }

    fn file(&self, plan: &Plan, director: usize, numbers: &[(IpNet, u8)], command: &str) -> File {
        let own = letter(director);
        let digits = plan.orders.len().to_string().len();
        let mut text = format!(
            "# Director {own} of {}: add this to its /etc/lb/lb.toml. Made by\n# {command}\n",
            plan.demand.directors
        );
        for (number, (order, (address, id))) in (1..).zip(plan.orders.iter().zip(numbers)) {
            let letters: Vec<String> = order.iter().map(|&director| letter(director).to_string()).collect();
            let place = order.iter().position(|&other| other == director).unwrap_or(order.len());
            // Writing to a String can't fail.
            let _ = write!(
                text,
                "\n# {}\n[vrrp.vip-{number:0digits$}]\ninterface = \"{}\"\nid = {id}\npriority = {}\n\
                 addresses = [\"{address}\"]\n",
                letters.join(", then "),
                self.interface,
                FIRST - place * STEP,
            );
        }
        File { name: format!("director-{}.toml", own.to_ascii_lowercase()), text }
    }
}

/// The address `offset` behind the first, a host of the same segment.
fn host(first: IpNet, offset: usize) -> Option<IpNet> {
    let address: IpAddr = match first.addr() {
        IpAddr::V4(v4) => u32::from(v4).checked_add(u32::try_from(offset).ok()?).map(|bits| IpAddr::V4(bits.into()))?,
        IpAddr::V6(v6) => u128::from(v6).checked_add(offset as u128).map(|bits| IpAddr::V6(bits.into()))?,
    };
    let whole = first.prefix_len() == first.max_prefix_len();
    let last = address.is_ipv4() && first.max_prefix_len() - first.prefix_len() > 1 && address == first.broadcast();
    let net = IpNet::new(address, first.prefix_len()).ok()?;
    (whole || first.contains(&address) && !last).then_some(net)
}
