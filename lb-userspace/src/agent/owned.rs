//! VIPs on this director's interfaces. What the agent put there is written down, so that `lb detach` can take
//! it away, and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::api::RUN;
use crate::config::Config;
use crate::net::links::Link;

/// An address that the agent put on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// The interface's index.
    pub ifindex: u32,
    /// The address, with the prefix length that it was put there with.
    pub address: IpNet,
}

/// The list of them, in the agent's directory.
fn list() -> PathBuf {
    Path::new(RUN).join("addresses.json")
}

fn read() -> Vec<Owned> {
    fs::read(list()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write(owned: &[Owned]) -> io::Result<()> {
    let staged = list().with_extension("new");
    fs::write(&staged, serde_json::to_vec(owned).map_err(io::Error::other)?)?;
    fs::rename(staged, list())
}

/// Puts the `[vrrp.*]` addresses on their interfaces where they aren't yet, and takes away those that an
/// earlier configuration had put there. A failure is logged: forwarding doesn't depend on it.
pub async fn keep(config: &Config, links: &[Link]) {
    let index = |name: &str| links.iter().find(|link| link.name == name).map(|link| link.index);
    let wanted: Vec<Owned> = config
        .vrrp
        .iter()
        .filter_map(|router| index(&router.interface).map(|ifindex| (ifindex, &router.addresses)))
        .flat_map(|(ifindex, addresses)| addresses.iter().map(move |address| Owned { ifindex, address: *address }))
        .collect();
    let mut owned = read();
    for gone in owned.iter().filter(|held| !wanted.contains(held)) {
        change(gone, false).await;
    }
    owned.retain(|held| wanted.contains(held));
    for new in &wanted {
        let there = links
            .iter()
            .any(|link| link.index == new.ifindex && link.addresses.iter().any(|a| a.addr() == new.address.addr()));
        if there {
            continue;
        }
        // Written down first: an address that is on the list and not there does no harm.
        if !owned.contains(new) {
            owned.push(new.clone());
        }
        if let Err(error) = write(&owned) {
            warn!("{}: {error}; the address {} is not added", list().display(), new.address);
            continue;
        }
        if change(new, true).await {
            info!("{} added to interface {}", new.address, new.ifindex);
        }
    }
    if let Err(error) = write(&owned) {
        warn!("{}: {error}", list().display());
    }
}

/// Takes away every address that the agent put on an interface. Returns them.
pub async fn release() -> Vec<Owned> {
    let owned = read();
    for held in &owned {
        change(held, false).await;
    }
    let _ = fs::remove_file(list());
    owned
}

/// Adds or removes an address; false, and a logged reason, if that failed.
async fn change(owned: &Owned, add: bool) -> bool {
    let Owned { ifindex, address } = owned;
    let changed = async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let result = if add {
            handle.address().add(*ifindex, address.addr(), address.prefix_len()).execute().await
        } else {
            let mut held = handle.address().get().set_link_index_filter(*ifindex).execute();
            let mut result = Ok(());
            while let Ok(Some(message)) = held.try_next().await {
                let same = crate::net::links::address_of(&message).is_some_and(|held| held.addr() == address.addr());
                if same {
                    result = handle.address().del(message).execute().await;
                }
            }
            result
        };
        connection.abort();
        result.map_err(|error| error.to_string())
    };
    match changed.await {
        Ok(()) => true,
        Err(error) => {
            warn!("{address} on interface {ifindex}: {error}");
            false
        }
    }
}
