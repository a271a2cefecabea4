//! Alternative interface names (`ip link property`) that virtual routers and what they track are configured by: they are told
//! the kernel's own names. The director's own interfaces and those of its reals are found by either.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Condition, Config};
use crate::host::links::Link;

/// The device that each alternative name stood for last: one that is gone keeps its name until another one has it.
#[derive(Debug, Clone, Default)]
pub struct Devices(BTreeMap<String, String>);

impl Devices {
    /// Takes this machine's interfaces as they are now. Whether a name stands for another one.
    pub fn follow(&mut self, links: &[Link]) -> bool {
        let mut changed = false;
        for link in links {
            for altname in &link.altnames {
                changed |= self.0.insert(altname.clone(), link.name.clone()).as_ref() != Some(&link.name);
            }
        }
        changed
    }

    /// A configuration with the kernel's names in its virtual routers.
    pub fn name(&self, config: &Arc<Config>) -> Arc<Config> {
        if self.0.is_empty() {
            return config.clone();
        }
        let mut named = Config::clone(config);
        for router in named.vrrp.iter_mut().chain(named.observed.iter_mut().flatten()) {
            self.replace(&mut router.interface);
            router.addresses.iter_mut().filter_map(|vip| vip.interface.as_mut()).for_each(|name| self.replace(name));
            for track in &mut router.track {
                if let Condition::Interface(name) = &mut track.condition {
                    self.replace(name);
                }
            }
        }
        Arc::new(named)
    }

    fn replace(&self, name: &mut String) {
        if let Some(device) = self.0.get(name) {
            name.clone_from(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn link(name: &str, altname: &str) -> Link {
        Link { name: name.to_owned(), altnames: vec![altname.to_owned()], ..Link::default() }
    }

    #[test]
    fn virtual_routers_get_the_names_of_devices_and_keep_those_of_gone_ones() {
        let text = "[director]\ninterfaces = [\"lan\"]\n[vrrp.a]\ninterface = \"lan\"\nid = 1\n\
                    addresses = [{ address = \"192.0.2.1/24\", interface = \"wan\" }, \"192.0.2.2/24\"]\n\
                    track = [{ interface = \"wan\" }, { interface = \"eth7\" }]\n";
        let config = Arc::new(parse(Path::new("lb.toml"), text).unwrap().config);
        let mut devices = Devices::default();
        assert_eq!(devices.name(&config), config);
        assert!(devices.follow(&[link("eth0", "lan"), link("eth1", "wan")]));
        assert!(!devices.follow(&[link("eth1", "wan")]), "one is gone");
        let named = devices.name(&config);
        let router = &named.vrrp[0];
        assert_eq!((router.interface.as_str(), router.addresses[0].interface.as_deref()), ("eth0", Some("eth1")));
        let tracks: Vec<_> = router.track.iter().map(|track| track.condition.clone()).collect();
        assert_eq!(tracks, ["eth1", "eth7"].map(|name| Condition::Interface(name.to_owned())));
        assert_eq!(named.director.interfaces, ["lan"]);
        assert!(devices.follow(&[link("eth5", "lan")]));
        assert_eq!(devices.name(&config).vrrp[0].interface, "eth5");
    }
}
