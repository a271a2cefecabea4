//! Which metrics there are: what `lb list` and `lb vrrp` show, as families of samples.
//!
//! Labels are names of the configuration and addresses: there are at most ten series for each real of a service, twelve for each
//! service, twelve and the reasons of refusal for each virtual router. docs/metrics.md has a line for each family,
//! and a test that they are the same.

use lb_common::Verdict;

use super::Snapshot;
use super::exposition::{Exposition, Family, Format, Kind};
use crate::api::{FleetStatus, RouterStatus, ServiceStatus, State};
use crate::peers;
use crate::vrrp;

/// The whole text.
pub fn render(snapshot: &Snapshot, format: Format) -> String {
    let mut out = Exposition::new(format);
    agent(&mut out, snapshot);
    services(&mut out, &snapshot.status.services);
    reals(&mut out, &snapshot.status.services);
    frames(&mut out, snapshot);
    routers(&mut out, &snapshot.routers);
    claims(&mut out, snapshot);
    if let Some(status) = &snapshot.status.peers {
        exchange(&mut out, status);
    }
    out.finish()
}

fn agent(out: &mut Exposition, snapshot: &Snapshot) {
    let status = &snapshot.status;
    let mut family = out.family("lb_build_info", Kind::Gauge, "Version of the agent; always 1");
    family.sample(&[("version", &status.version)], 1);
    let mut family = out.family(
        "lb_faulty",
        Kind::Gauge,
        "1 while the maps aren't what they should be, or the last reload was refused",
    );
    family.sample(&[], u8::from(status.fault.is_some()));
    let mut family = out.family("lb_log_dropped_lines", Kind::Counter, "Log lines that nobody took");
    family.sample(&[], status.log_dropped);
    if let Some(checks) = &status.checks {
        let help = "Health checks that had to wait, since as many ran as may at once";
        out.family("lb_checks_delayed", Kind::Counter, help).sample(&[], checks.delayed);
        let help = "Health checks that can't be made now, for a reason of this director's own";
        out.family("lb_checks_unasked", Kind::Gauge, help).sample(&[], checks.unasked);
    }
    let mut family = out.family("lb_interface_attached", Kind::Gauge, "1 where the program runs on the interface");
    for interface in &status.interfaces {
        let mode = interface.mode.map_or("", |mode| mode.name());
        let attached = interface.mode.is_some() && interface.awaited.is_none();
        family.sample(&[("interface", &interface.name), ("mode", mode)], u8::from(attached));
    }
}

/// What a service is called in labels.
struct Labels {
    name: String,
    vip: String,
    port: String,
    protocol: String,
}

impl Labels {
    fn of(service: &ServiceStatus) -> Self {
        Self {
            name: service.name.clone().unwrap_or_default(),
            vip: service.address.to_string(),
            port: service.port.map_or_else(|| "any".to_owned(), |port| port.to_string()),
            protocol: service.protocol.clone(),
        }
    }

    fn labels(&self) -> [(&str, &str); 4] {
        [("service", &self.name), ("vip", &self.vip), ("port", &self.port), ("protocol", &self.protocol)]
    }
}

fn services(out: &mut Exposition, services: &[ServiceStatus]) {
    let all: Vec<_> = services.iter().map(|service| (Labels::of(service), service)).collect();
    let mut each = |name, kind, help: &str, value: fn(&ServiceStatus) -> u64| {
        let mut family = out.family(name, kind, help);
        all.iter().for_each(|(labels, service)| family.sample(&labels.labels(), value(service)));
    };
    each(
        "lb_service_connections",
        Kind::Counter,
        "Connections that were opened, as far as the program tells them",
        |service| service.counters.connections,
    );
    each("lb_service_packets", Kind::Counter, "Packets sent to the service's reals", |service| {
        service.counters.packets
    });
    each("lb_service_bytes", Kind::Counter, "Bytes of those packets, by their IP headers", |service| {
        service.counters.bytes
    });
    let states = [
        ("up", State::Up),
        ("standby", State::Standby),
        ("quiesced", State::Quiesced),
        ("checking", State::Checking),
        ("down", State::Down),
    ];
    let mut family = out.family("lb_service_reals", Kind::Gauge, "Reals of the service by their state");
    for (labels, service) in &all {
        for (word, state) in states {
            let count = service.reals.iter().filter(|real| real.state == state).count();
            let [name, vip, port, protocol] = labels.labels();
            family.sample(&[name, vip, port, protocol, ("state", word)], count);
        }
    }
    let mut some = |name, help: &str, value: fn(&FleetStatus) -> Option<bool>| {
        let mut family = out.family(name, Kind::Gauge, help);
        for (labels, service) in &all {
            if let Some(value) = service.fleet.as_ref().and_then(value) {
                family.sample(&labels.labels(), u8::from(value));
            }
        }
    };
    some("lb_service_quorum", "1 while enough of its reals are healthy; absent where no quorum is needed", |fleet| {
        fleet.quorum.map(|quorum| quorum.met)
    });
    some("lb_service_sorry", "1 while the sorry server takes its new connections; absent without one", |fleet| {
        fleet.sorry
    });
    let help = "1 while all its reals take new connections, whatever their checks say; absent without a `fleet`";
    some("lb_service_panic", help, |fleet| Some(fleet.panic.is_some()));
}

fn reals(out: &mut Exposition, services: &[ServiceStatus]) {
    let mut each = |name, kind, help: &str, value: fn(&crate::api::RealStatus) -> Option<u64>| {
        let mut family = out.family(name, kind, help);
        for service in services {
            let labels = Labels::of(service);
            let [name, vip, port, protocol] = labels.labels();
            for real in &service.reals {
                let address = real.address.to_string();
                if let Some(value) = value(real) {
                    family.sample(&[name, vip, port, protocol, ("real", &address)], value);
                }
            }
        }
    };
    each("lb_real_connections", Kind::Counter, "Connections that were opened to the real", |real| {
        Some(real.counters.connections)
    });
    each("lb_real_packets", Kind::Counter, "Packets sent to the real", |real| Some(real.counters.packets));
    each("lb_real_bytes", Kind::Counter, "Bytes of those packets, by their IP headers", |real| {
        Some(real.counters.bytes)
    });
    let help = "Connections through which packets go, of a tracked service";
    each("lb_real_active_connections", Kind::Gauge, help, |real| real.active_connections);
    let help = "Connections that begin, or whose client has said that they end, of a tracked service";
    each("lb_real_inactive_connections", Kind::Gauge, help, |real| real.inactive_connections);
    each("lb_real_up", Kind::Gauge, "1 where the real is healthy, whatever its weight", |real| {
        Some(u64::from(matches!(real.state, State::Up | State::Standby | State::Quiesced | State::Draining)))
    });
    each("lb_real_set_at_run_time", Kind::Gauge, "1 where it is otherwise than the configuration says", |real| {
        Some(u64::from(real.set_at_run_time))
    });
    each("lb_real_weight", Kind::Gauge, "Its weight", |real| Some(real.weight.into()));
    let help = "The percentage of its share that it has while it starts slowly; absent where it has all of it";
    each("lb_real_slow_start_percent", Kind::Gauge, help, |real| real.slow_start.map(u64::from));
    each(
        "lb_real_state_timestamp_seconds",
        Kind::Gauge,
        "Since when its state is what it is; absent where nobody knows",
        |real| real.since,
    );
}

fn frames(out: &mut Exposition, snapshot: &Snapshot) {
    let mut family =
        out.family("lb_verdict_packets", Kind::Counter, "Packets that the program saw, by what became of them");
    for verdict in Verdict::ALL.iter().map(|verdict| verdict.name()) {
        let met = snapshot.status.verdicts.iter().find(|met| met.verdict == verdict);
        family.sample(&[("verdict", verdict)], met.map_or(0, |met| met.packets));
    }
    let help = "Frames that the kernel dropped behind the program: refused of those that came in by the interface, unsent \
                of those that were to leave by it";
    let mut family = out.family("lb_interface_dropped_frames", Kind::Counter, help);
    for drops in &snapshot.status.drops {
        family.sample(&[("interface", &drops.interface), ("reason", "refused")], drops.refused);
        family.sample(&[("interface", &drops.interface), ("reason", "unsent")], drops.unsent);
    }
}

fn routers(out: &mut Exposition, routers: &[RouterStatus]) {
    let mut each = |name, kind, help: &str, samples: &dyn Fn(&RouterStatus, &mut Sampler<'_, '_>)| {
        let mut family = out.family(name, kind, help);
        for router in routers {
            samples(router, &mut Sampler { family: &mut family, router: &router.name });
        }
    };
    each(
        "lb_vrrp_state",
        Kind::Gauge,
        "1 for the state that the virtual router is in, 0 for the others",
        &|router, to| {
            for state in vrrp::State::ALL {
                to.labelled("state", &state.to_string(), u64::from(state == router.state));
            }
        },
    );
    each("lb_vrrp_priority", Kind::Gauge, "The priority in effect", &|router, to| to.plain(router.priority.into()));
    each("lb_vrrp_elections", Kind::Counter, "How often this director became master", &|router, to| {
        to.plain(router.counters.elections);
    });
    each("lb_vrrp_adverts_sent", Kind::Counter, "Adverts sent", &|router, to| to.plain(router.counters.sent));
    each("lb_vrrp_adverts_unsent", Kind::Counter, "Adverts that the system would not send", &|router, to| {
        to.plain(router.counters.unsent);
    });
    each("lb_vrrp_adverts_received", Kind::Counter, "Adverts taken", &|router, to| to.plain(router.counters.received));
    each("lb_vrrp_adverts_refused", Kind::Counter, "Adverts that were not taken, by reason", &|router, to| {
        for (reason, count) in router.counters.refused.iter() {
            to.labelled("reason", reason.key(), count);
        }
    });
    each(
        "lb_vrrp_adverts_mismatched",
        Kind::Counter,
        "Adverts taken that name other addresses than ours",
        &|router, to| {
            to.plain(router.counters.mismatched);
        },
    );
}

fn claims(out: &mut Exposition, snapshot: &Snapshot) {
    let help = "Stations that answer for the VIP beside this director, where it is the master";
    let mut family = out.family("lb_vip_other_owners", Kind::Gauge, help);
    let masters = snapshot.routers.iter().filter(|router| router.state == vrrp::State::Master);
    for vip in masters.flat_map(|router| &router.addresses) {
        let count = snapshot.status.claims.iter().filter(|claim| claim.vip == *vip).count();
        family.sample(&[("vip", &vip.to_string())], count);
    }
}

/// A family, and the virtual router that samples are written of.
struct Sampler<'f, 'e> {
    family: &'f mut Family<'e>,
    router: &'f str,
}

impl Sampler<'_, '_> {
    fn plain(&mut self, value: u64) {
        self.family.sample(&[("router", self.router)], value);
    }

    fn labelled(&mut self, name: &str, label: &str, value: u64) {
        self.family.sample(&[("router", self.router), (name, label)], value);
    }
}

fn exchange(out: &mut Exposition, status: &peers::Status) {
    let mut family = out.family("lb_peers_listening", Kind::Gauge, "1 while other directors can call this one");
    family.sample(&[], u8::from(status.listen_error.is_none()));
    let mut each = |name, kind, help: &str, value: fn(&peers::status::PeerStatus) -> Option<f64>| {
        let mut family = out.family(name, kind, help);
        for peer in &status.peers {
            if let Some(value) = value(peer) {
                family.sample(&[("peer", &peer.address.to_string())], value);
            }
        }
    };
    each("lb_peer_live", Kind::Gauge, "1 while the peer is connected, and both have told everything", |peer| {
        Some(f64::from(u8::from(peer.state == peers::session::State::Live)))
    });
    each(
        "lb_peer_lag_seconds",
        Kind::Gauge,
        "A change is with the peer in less; absent before the first measurement",
        |peer| peer.lag_ms.map(|lag| lag / 1000.0),
    );
    each("lb_peer_differing_services", Kind::Gauge, "Services that the peer has configured otherwise", |peer| {
        Some(to_f64(peer.differing as u64))
    });
    each("lb_peer_sent_bytes", Kind::Gauge, "Told to the peer over the present connection", |peer| {
        Some(to_f64(peer.sent.bytes))
    });
    each("lb_peer_received_bytes", Kind::Gauge, "Told by the peer over the present connection", |peer| {
        Some(to_f64(peer.received.bytes))
    });
}

/// A count as Prometheus has all its values; what is over 2^53 loses its last digits there anyhow.
#[expect(clippy::cast_precision_loss, reason = "Prometheus stores 64-bit floats")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
