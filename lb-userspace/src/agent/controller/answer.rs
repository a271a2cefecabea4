//! What the API and signals ask the controller.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use tracing::{error, info};

use super::{Asked, Controller, Ownership, Told};
use crate::agent::{checks, status};
use crate::api::{Answer, Checks, Done, Question, Request, Status, VipOwner, Walk, Which};
use crate::config::endpoint;
use crate::config::{self, Protocol};
use crate::dataplane::Sought;
use crate::planner::model::protocol_number;
use crate::planner::plan::{key, mapped_address};
use crate::rates::Reading;
use crate::vrrp;

impl Controller {
    pub(super) async fn answer(&mut self, request: Request) {
        // Whoever asked may have gone.
        match request {
            Request::Status(answer) => self.begin_status(answer),
            Request::Checks(answer) => self.answer_checks(answer),
            Request::Connections(answer) => {
                let _ = answer.send(self.walk().await.map_err(|error| format!("{error:#}")));
            }
            Request::Which(question, answer) => self.which(&question, answer),
            Request::Routers(answer) => {
                let _ = answer.send(self.ask_routers(vrrp::Handle::status));
            }
            Request::Release(name, answer) => {
                let _ = answer.send(self.release(&name).await);
            }
            Request::Reclaim(name, answer) => {
                let _ = answer.send(self.reclaim(&name));
            }
            Request::Order(order, answer) => {
                let _ = answer.send(self.obey(&order).await);
            }
            Request::Changes(texts, answer) => {
                let _ = answer.send(self.would_change(&texts));
            }
            Request::Reload(answer) => {
                let _ = answer.send(self.reload().await);
            }
        }
    }

    /// What the connections are listed by.
    async fn walk(&self) -> anyhow::Result<Walk> {
        let (table, now, tick) = {
            let mut dataplane = self.dataplane.lock().await;
            (dataplane.remembered(), dataplane.ticks()?, dataplane.time_of(1))
        };
        let named = |service: &config::Service| {
            let placed = self.desired.services.get(&key(service))?;
            Some((placed.id, service.name.clone()))
        };
        let reals = self.desired.pools.iter().flat_map(|(pool, held)| {
            held.reals.iter().map(move |(number, real)| ((*pool, *number), status::plain_address(real.address)))
        });
        let names = self.model.config.services.iter().filter_map(named).collect();
        Ok(Walk { table, now, tick, names, reals: reals.collect() })
    }

    /// Looks a connection up beside the controller, since the maps may be being written.
    fn which(&self, question: &Question, answer: Answer<Vec<Which>>) {
        let protocols = [Protocol::Tcp, Protocol::Udp].into_iter();
        let asked = protocols.filter(|of| question.protocol.is_none_or(|protocol| protocol == *of)).map(|protocol| {
            let Question { client, client_port, vip, port, .. } = *question;
            let (client, vip) = (mapped_address(client), mapped_address(vip));
            let sought = Sought {
                client,
                client_port: client_port.unwrap_or(0),
                vip,
                port,
                protocol: protocol_number(protocol),
            };
            (protocol, sought)
        });
        let asked: Vec<(Protocol, Sought)> = asked.collect();
        let (dataplane, config, question) = (self.dataplane.clone(), self.model.config.clone(), *question);
        tokio::task::spawn_blocking(move || {
            let mut dataplane = dataplane.blocking_lock();
            let found = asked.iter().map(|(protocol, sought)| Ok((*protocol, dataplane.which(sought)?)));
            let found = found.collect::<Result<Vec<_>, crate::dataplane::Error>>();
            let told = found.map_err(|error| error.to_string()).and_then(|found| {
                let told: Vec<Which> = found
                    .into_iter()
                    .filter_map(|(protocol, told)| {
                        let told = told?;
                        let named = config.services.iter().find(|service| key(service) == told.service)?;
                        let real = |number| dataplane.real_of(&told.service, number).map(status::plain_address);
                        Some(Which::new(named.name.clone(), protocol, &told, real))
                    })
                    .collect();
                if told.is_empty() { Err(nobody(&config, &question)) } else { Ok(told) }
            });
            // Whoever asked may have gone.
            let _ = answer.send(told);
        });
    }

    /// The VRRP thread answers within microseconds.
    fn ask_routers<T>(&self, ask: impl FnOnce(&vrrp::Handle) -> Result<T, vrrp::Error>) -> Result<T, String> {
        match &self.routers {
            Some(Ownership { routers, .. }) => ask(routers.handle()).map_err(|error| error.to_string()),
            None => Err("VRRP is not running".to_owned()),
        }
    }

    fn router(&self, name: &str) -> Result<vrrp::Status, String> {
        let all = self.ask_routers(vrrp::Handle::status)?;
        let named = all.into_iter().find(|router| router.name == name);
        named.ok_or_else(|| vrrp::Error::Unknown(name.to_owned()).to_string())
    }

    async fn release(&mut self, name: &str) -> Result<Done, String> {
        let before = self.router(name)?;
        if before.state == vrrp::State::Master {
            self.tell_all().await;
        }
        self.ask_routers(|handle| handle.release(name))?;
        let again = format!("until `lb vrrp reclaim {name}`");
        Ok(Done::new(match before.state {
            _ if before.yielded => format!("vrrp.{name}: was released before; it leaves its VIPs to others {again}"),
            vrrp::State::Master => format!(
                "vrrp.{name}: hands its VIPs over to the backup that takes them, and leaves them there {again}.\n\
                 Without a backup they stay here. `lb vrrp` shows which"
            ),
            state => format!("vrrp.{name}: is {state}; it leaves its VIPs to others {again}"),
        }))
    }

    fn reclaim(&self, name: &str) -> Result<Done, String> {
        let before = self.router(name)?;
        self.ask_routers(|handle| handle.reclaim(name))?;
        let releasing = before.state == vrrp::State::Releasing;
        Ok(Done::new(if before.yielded || releasing {
            format!("vrrp.{name}: takes part in the election again")
        } else {
            format!("vrrp.{name}: was not released: it takes part in the election as before")
        }))
    }

    /// Answers those who waited for the maps, after one more write.
    pub(super) fn answer_waiting(&mut self) {
        self.waiting.iter_mut().for_each(|(writes, _)| *writes -= 1);
        let (due, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(writes, _)| *writes == 0);
        self.waiting = waiting;
        let due: Vec<_> = due;
        due.into_iter().for_each(|(_, told)| self.tell_status(told));
    }

    /// Has the counters read for one who asked for the status: of ten thousand reals that takes longer than a task may that
    /// others wait for.
    fn begin_status(&mut self, answer: Answer<Status>) {
        let (stats, desired) = (self.stats.clone(), self.desired.clone());
        self.telling.spawn_blocking(move || (answer, Reading::take(&stats, &desired)));
    }

    /// The counters were read: the status is told, but not before the maps hold what it tells. It is the status of now: until
    /// then more may change, which another write is to bring to the maps.
    pub(super) fn answer_status(&mut self, (answer, read): Asked) {
        let told = (answer, self.status(read));
        if self.writing.is_empty() {
            self.tell_status(told);
        } else {
            self.waiting.push((1 + u32::from(self.stale), told));
        }
    }

    /// Tells a status. What the checks say is asked for beside the controller.
    fn tell_status(&self, (answer, mut status): Told) {
        let (look, config) = (self.checks.look(), self.model.config.clone());
        if let Ok(status) = &mut status {
            // The write that it waited for may have failed.
            status.fault = self.faults();
            self.add_suspects(status);
        }
        tokio::spawn(async move {
            if let (Ok(status), Ok(look)) = (&mut status, look.await) {
                checks::add_to(status, &look, &config);
            }
            let _ = answer.send(status);
        });
    }

    fn answer_checks(&self, answer: Answer<Checks>) {
        let (look, config) = (self.checks.look(), self.model.config.clone());
        tokio::spawn(async move {
            let told = look.await.map(|look| checks::checks(&look, &config, Instant::now()));
            let _ = answer.send(told.map_err(|_| "the health checks have ended".to_owned()));
        });
    }

    /// The status, by counters that were read.
    pub(super) fn status(&self, read: Result<Reading, crate::dataplane::Error>) -> Result<Status, String> {
        let unread = |error: crate::dataplane::Error| {
            error!("the counters can't be read: {error}");
            format!("the counters can't be read: {error}")
        };
        let reading = read.map_err(unread)?;
        let held = status::Held {
            model: &self.model,
            desired: &self.desired,
            stats: &self.stats,
            reading: &reading,
            sampled: &self.sampled,
            swept: &self.swept,
        };
        // Before VRRP is there, and at the agent's end, there are none.
        let routers = self.ask_routers(vrrp::Handle::status).unwrap_or_default();
        let owners: HashMap<IpAddr, VipOwner> = routers
            .into_iter()
            .flat_map(|router| {
                let owner = VipOwner { router: router.name, state: router.state };
                router.addresses.into_iter().map(move |address| (address, owner.clone()))
            })
            .collect();
        let owned = |mut status: Status| {
            status.services.iter_mut().for_each(|service| service.vrrp = owners.get(&service.address).cloned());
            status
        };
        let claims = self.claims.clone();
        let told =
            |status| Status { claims, peers: self.peers(), maps: self.fill(), program: self.program.clone(), ..status };
        status::status(&held, self.faults()).map(owned).map(told).map_err(unread)
    }

    /// Why the maps or the configuration aren't what they should be.
    fn faults(&self) -> Option<String> {
        let refused = self.refused.as_ref().map(ToString::to_string);
        let faults: Vec<String> = self.fault.iter().cloned().chain(refused).collect();
        (!faults.is_empty()).then(|| faults.join("\n"))
    }

    /// Writes the state to the log, as JSON.
    pub(super) fn dump(&self) {
        match self.status(Reading::take(&self.stats, &self.desired)) {
            Ok(status) => info!("SIGUSR1: state: {}", json(&status)),
            Err(error) => info!("SIGUSR1: {error}"),
        }
        match self.ask_routers(vrrp::Handle::status) {
            Ok(routers) => info!("SIGUSR1: vrrp: {}", json(&routers)),
            Err(error) => info!("SIGUSR1: {error}"),
        }
    }
}

/// No service has the address and port: those that there are at the VIP, or the VIPs.
fn nobody(config: &config::Config, question: &Question) -> String {
    let protocol = question.protocol.map(|of| format!("{} ", of.label())).unwrap_or_default();
    let asked = endpoint(question.vip, Some(question.port));
    let mut here: Vec<String> = config
        .services
        .iter()
        .filter(|service| service.address == question.vip)
        .map(|service| format!("{} {}", service.protocol.label(), endpoint(service.address, service.port)))
        .collect();
    let more = here.len().saturating_sub(LISTED);
    here.truncate(LISTED);
    here.extend((more > 0).then(|| format!("{more} more")));
    let here =
        if here.is_empty() { "no service has this VIP".to_owned() } else { format!("there: {}", here.join(", ")) };
    format!("no service is at {protocol}{asked}: its packets pass to the director's own stack.\n{here}")
}

/// Services that a refusal names at most.
const LISTED: usize = 8;

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}
