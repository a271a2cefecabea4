//! Three active directors: each is master of two VIPs of six, and backup of the others. Whatever becomes of a director,
//! connections go on, each with its own real.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::agent::{Agent, binary, lb};
use lb_tests::client::{Client, Connections};
use lb_tests::config::{real, service};
use lb_tests::directors::{Router, Way, wait_until_holds};
use lb_tests::lab::{DEADLINE, Host, Lab, VIP, nginx, scenario, wait_for, wait_until};
use lb_tests::sharing::key_file;
use lb_userspace::peers::session::State;

/// Of each VIP's one service; two VIPs have the same.
const SCHEDULERS: [&str; 3] = ["mh", "rr", "wlc"];
const VIPS: u8 = 6;
const DIRECTORS: usize = 3;
/// Of whoever is first, second and third to have a VIP.
const PRIORITIES: [u8; DIRECTORS] = [200, 150, 100];

/// Connections to each service, and more of them after each change.
const COUNT: usize = 100;
const MORE: usize = 20;
/// How often each asks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Of those that are opened while a director loses its power, the first one's port.
const FRESH: u16 = 30_000;
/// Connections that are open for so long survive that.
const AGE: Duration = Duration::from_millis(200);

fn vip(number: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(VIP.to_bits() + u32::from(number))
}

/// Who has a VIP, and who would have it then: the two VIPs of a director go to different ones.
fn order(number: u8) -> [usize; DIRECTORS] {
    let (owner, step) = (usize::from(number / 2), 1 + usize::from(number % 2));
    [owner, (owner + step) % DIRECTORS, (owner + 2 * step) % DIRECTORS]
}

/// The VIPs that a director has while all are well.
fn own(place: usize) -> impl Iterator<Item = u8> {
    (0..VIPS).filter(move |number| order(*number)[0] == place)
}

fn scheduler(number: u8) -> &'static str {
    SCHEDULERS.get(usize::from(number) % SCHEDULERS.len()).copied().unwrap_or_default()
}

fn name(number: u8) -> String {
    format!("vip-{number}")
}

fn config(lab: &Lab, place: usize) -> Result<String> {
    let addresses: Vec<String> = lab.directors().map(|host| host.v4().to_string()).collect();
    let (listen, others): (Vec<_>, Vec<_>) = addresses.iter().enumerate().partition(|(other, _)| *other == place);
    let others: Vec<_> = others.iter().map(|(_, address)| address).collect();
    let listen = listen.first().context("no such director")?.1;
    let mut text = format!(
        "[director]\ninterfaces = [\"eth1\"]\n\n[limits]\nflows = 65536\n\n[peers]\nlisten = \"{listen}\"\naddresses = {others:?}\n\
         key_file = {:?}\n\n",
        key_file(lab)?
    );
    for number in 0..VIPS {
        let rank = order(number).iter().position(|other| *other == place).unwrap_or_default();
        let priority = PRIORITIES.get(rank).copied().unwrap_or(1);
        let router = Router::web(Way::V3_100MS, priority).of(vip(number));
        text += &Router { name: name(number), id: 210 + number, ..router }.section();
        let keys = format!(
            "protocol = \"tcp\"\nscheduler = \"{}\"\ncheck = {{ type = \"tcp\", interval = \"500ms\" }}",
            scheduler(number)
        );
        let reals = lab.reals().map(|host| real(host.v4(), "weight = 1"));
        text += &service(&name(number), SocketAddr::from((vip(number), 80)), &keys, reals);
    }
    Ok(text)
}

struct Directors<'a> {
    lab: &'a Lab,
    agents: Vec<Option<Agent<'a>>>,
    connections: Vec<Connections>,
}

impl<'a> Directors<'a> {
    fn start(lab: &'a Lab) -> Result<Self> {
        for real in lab.reals() {
            lab.hold(nginx::start(real)?);
        }
        let start = |(place, host)| Ok(Some(Agent::start(host, &config(lab, place)?)?));
        let agents: Vec<_> = lab.directors().enumerate().map(start).collect::<Result<_>>()?;
        let mut directors = Self { lab, agents, connections: Vec::new() };
        directors.are_well()?;
        let client = Client::new(lab.client());
        let open = |number| Connections::open(&client, (vip(number), 80), COUNT, INTERVAL);
        directors.connections = (0..VIPS).map(open).collect::<Result<_>>()?;
        Ok(directors)
    }

    fn host(&self, place: usize) -> Result<&'a Host> {
        self.lab.directors().nth(place).context("no such director")
    }

    /// Each has its own VIPs, and all are in step.
    fn are_well(&self) -> Result<()> {
        for (place, agent) in self.agents.iter().enumerate() {
            let agent = agent.as_ref().context("no agent")?;
            agent.wait_until_served()?;
            own(place).try_for_each(|number| self.has(place, number))?;
            wait_until(DEADLINE, "the directors to be in step", || {
                let status = agent.status().ok().and_then(|status| status.peers);
                status.is_some_and(|status| status.peers.iter().all(|peer| peer.state == State::Live))
            })?;
        }
        Ok(())
    }

    fn has(&self, place: usize, number: u8) -> Result<()> {
        let agent = self.agents.get(place).and_then(Option::as_ref).context("no agent")?;
        agent.wait_for_router(&name(number), "master")?;
        wait_until_holds(self.host(place)?, vip(number), true).map(drop)
    }

    /// Its VIPs are had by whoever is next.
    fn lost(&self, place: usize) -> Result<()> {
        own(place).try_for_each(|number| self.has(order(number)[1], number))
    }

    /// Cuts a director's power while connections are opened to a VIP of its that is told of them: those that were open for 200 ms stay
    /// with their reals. That is so where the next director knows all that was open 200 ms ago, as its own exchange says; on a machine
    /// that has no time for it, such a moment is waited for.
    fn cut(&mut self, place: usize) -> Result<()> {
        let number = own(place).find(|number| scheduler(*number) != "mh").context("no such VIP")?;
        let (client, host) = (Client::new(self.lab.client()), self.host(place)?);
        let after = self.agents.get(order(number)[1]).and_then(Option::as_ref).context("no agent")?;
        let fresh = Connections::open(&client, (vip(number), 80), 0, INTERVAL)?.from_port(FRESH);
        let stop = AtomicBool::new(false);
        let cut = thread::scope(|scope| {
            let opener = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // None is opened while nobody has the VIP; the next one is.
                    let _ = fresh.join(1, INTERVAL);
                    thread::sleep(Duration::from_millis(2));
                }
            });
            let cut = wait_for(DEADLINE, "the next director to know what was open 200 ms ago", || {
                let asked = Instant::now();
                let known = known_until(after, host, asked)?;
                let cut = Instant::now();
                (known + AGE >= cut && cut - asked < AGE).then_some(cut)
            });
            let cut = cut.and_then(|(cut, _)| self.lab.cable(host, false).map(|()| cut));
            // Some that are too young.
            thread::sleep(INTERVAL / 5);
            stop.store(true, Ordering::Relaxed);
            opener.join().ok().context("the opener")?;
            cut
        })?;
        self.take(place)?.process().kill()?;
        self.lost(place)?;
        let since = Instant::now();
        fresh.wait_for_a_round(since)?;
        let (count, kept) = fresh.kept(cut - AGE);
        let (all, all_kept) = fresh.kept(since);
        println!(
            "{kept} of {count} that were open for {AGE:?} before the power cut stayed, {} of {} younger ones",
            all_kept - kept,
            all - count
        );
        ensure!(count > 0 && kept == count, "{} of {count} were moved or lost", count - kept);
        Ok(())
    }

    /// Waits until whoever is next to have a director's VIPs was told of their connections.
    fn are_told(&self, place: usize) -> Result<()> {
        let start = Instant::now();
        for number in own(place).filter(|number| scheduler(*number) != "mh") {
            let (next, count) = (self.host(order(number)[1])?, self.connections.get(usize::from(number)));
            let count = count.map_or(0, Connections::count);
            wait_until(DEADLINE, "the next director to be told", || {
                let listed = lb(next, &["list", "--connections", "--service", &name(number)]);
                listed.is_ok_and(|listed| listed.matches(" open ").count() == count)
            })?;
        }
        println!("they were told of within {:.1?}", start.elapsed());
        Ok(())
    }

    fn take(&mut self, place: usize) -> Result<Agent<'a>> {
        self.agents.get_mut(place).and_then(Option::take).context("no agent")
    }

    fn put(&mut self, place: usize, agent: Agent<'a>) -> Result<()> {
        *self.agents.get_mut(place).context("no such director")? = Some(agent);
        self.are_well()
    }

    fn vrrp(&self, place: usize, word: &str) -> Result<()> {
        let host = self.host(place)?;
        own(place).try_for_each(|number| lb(host, &["vrrp", word, &name(number)]).map(drop))
    }

    /// A change that costs nobody a connection, those that were just opened with them.
    fn keep_all(&mut self, what: &str, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        self.connections.iter().try_for_each(|row| row.join(MORE, INTERVAL))?;
        let kept = change(self).and_then(|()| {
            let since = Instant::now();
            for (number, row) in (0..).zip(&self.connections) {
                row.wait_for_a_round(since).with_context(|| name(number))?;
            }
            for (number, row) in (0..).zip(&self.connections) {
                let (lost, moved) = (row.lost(), row.moved());
                let first = lost.first();
                ensure!(
                    lost.is_empty(),
                    "{}: {} of {} lost, the first: {first:?}",
                    name(number),
                    lost.len(),
                    row.count()
                );
                ensure!(moved.is_empty(), "{}: moved: {moved:?}", name(number));
            }
            Ok(())
        });
        kept.with_context(|| what.to_owned())?;
        let count: usize = self.connections.iter().map(Connections::count).sum();
        println!("{what}: {count} connections, 0 reset, 0 moved; {:.1?}", start.elapsed());
        Ok(())
    }
}

/// All that had happened on a director by then is known to another, as that one says when it is asked at this moment or later.
fn known_until(by: &Agent<'_>, of: &Host, asked: Instant) -> Option<Instant> {
    let status = by.status().ok()?.peers?;
    let peer = status.peers.iter().find(|peer| peer.address.ip() == of.v4())?;
    asked.checked_sub(Duration::try_from_secs_f64(peer.known_ms? / 1e3).ok()?)
}

#[test]
fn three_active_directors_keep_every_connection() {
    let vips = (0..VIPS).map(|number| IpAddr::from(vip(number)));
    scenario(Lab::builder().directors(3).reals(3).vips(vips), |lab| {
        let mut directors = Directors::start(lab)?;
        directors.keep_all("nothing happens", |_| Ok(()))?;
        directors.keep_all("A loses its power", |directors| {
            directors.are_told(0)?;
            directors.cut(0)
        })?;
        directors.keep_all("A boots and takes its VIPs back", |directors| {
            let host = directors.host(0)?;
            // Nothing is left in its memory.
            lb(host, &["detach"])?;
            lab.cable(host, true)?;
            directors.put(0, Agent::start_again(host)?)
        })?;
        directors.keep_all("B hands its VIPs over", |directors| {
            directors.vrrp(1, "release")?;
            directors.lost(1)
        })?;
        directors.keep_all("B takes them back", |directors| {
            directors.vrrp(1, "reclaim")?;
            directors.are_well()
        })?;
        directors.keep_all("C is upgraded", |directors| {
            let host = directors.host(2)?;
            let upgraded = host.dir().join("lb-new");
            fs::copy(binary()?, &upgraded)?;
            directors.take(2)?.stop()?;
            directors.lost(2)?;
            directors.put(2, Agent::start_binary(host, &upgraded)?)
        })
    });
}
