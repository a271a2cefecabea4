//! Configurations of the lab's directors, put together of pieces: [`director`], then a [`service`] each.

use std::fmt::{Display, Write as _};

use crate::lab::{Lab, VIP};

/// A director whose program is on these interfaces, and that takes the VIP on its first one: at once, as its owner.
#[must_use]
pub fn director(interfaces: &[&str]) -> String {
    let first = interfaces.first().unwrap_or(&"eth1");
    format!(
        "[director]\ninterfaces = {interfaces:?}\n\n\
         [vrrp.web]\ninterface = \"{first}\"\nid = 210\npriority = 255\naddresses = [\"{VIP}/24\"]\n"
    )
}

/// A configuration whose program runs where `mode` says.
#[must_use]
pub fn in_mode(mode: &str, config: &str) -> String {
    config.replacen("[director]\n", &format!("[director]\nmode = \"{mode}\"\n"), 1)
}

/// A service at an address, with further keys, a line each, and its reals: see [`real`].
#[must_use]
pub fn service(name: &str, address: impl Display, keys: &str, reals: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("\n[service.{name}]\naddress = \"{address}\"\n{keys}\n");
    for real in reals {
        // Nobody can fail to write to a string.
        let _ = write!(text, "[[service.{name}.reals]]\n{real}\n");
    }
    text
}

/// A real at an address, with further keys, a line each.
#[must_use]
pub fn real(address: impl Display, keys: &str) -> String {
    format!("address = \"{address}\"\n{keys}")
}

/// The lab's director with a service `web` at the VIP, whose reals take turns and are checked ten times a second.
#[must_use]
pub fn watched_web(lab: &Lab) -> String {
    let keys = "protocol = \"tcp\"\nscheduler = \"rr\"\n\
                check = { type = \"tcp\", interval = \"100ms\", timeout = \"100ms\" }";
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), keys, lab.reals().map(|host| real(host.v4(), "")))
}
