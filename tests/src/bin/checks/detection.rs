//! From a failure to the slots, and back: what new connections go by is read from the maps themselves.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, Map, MapData};
use comfy_table::{Table, TableStyle};
use lb_common::maps::{Real, Service, SlotPair, mapped};
use lb_common::slot::Slot;
use lb_tests::agent::Agent;
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, Process, VIP, nginx};
use lb_userspace::api::State;
use lb_userspace::dataplane::Pins;
use nix::sys::signal::Signal;

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(200);
const FALL: u32 = 2;
const RISE: u32 = 1;
/// What the machine's own doing may add.
const MARGIN: Duration = Duration::from_millis(20);
/// Between two looks at the slots.
const LOOK: Duration = Duration::from_micros(500);
/// A whole ring is read at each look, so it is a small one.
const RING: u32 = 251;

/// What befalls the real.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// Its server ends.
    Refused,
    /// A firewall drops what comes to its port.
    Firewalled,
    /// Its server stops in its tracks (SIGSTOP).
    Frozen,
    /// Its server says that it isn't well.
    Unwell,
}

const ALL: [(Failure, &str); 4] = [
    (Failure::Refused, "nginx killed"),
    (Failure::Firewalled, "port dropped by nft"),
    (Failure::Frozen, "nginx frozen (SIGSTOP)"),
    (Failure::Unwell, "status 503"),
];

pub(crate) fn run(rounds: usize) -> Result<()> {
    let lab = Lab::builder().build()?;
    let pace = format!(
        "interval = \"{}ms\", timeout = \"{}ms\", fall = {FALL}, rise = {RISE}, jitter = 0",
        INTERVAL.as_millis(),
        TIMEOUT.as_millis()
    );
    let keys =
        format!("protocol = \"tcp\"\nring_size = {RING}\ncheck = {{ type = \"http\", path = \"/health\", {pace} }}");
    let reals = lab.reals().map(|host| real(host.v4(), ""));
    let agent =
        Agent::start(lab.director(), &(director(&["eth1"]) + &service("web", format!("{VIP}:80"), &keys, reals)))?;
    let host = lab.real(1);
    let _other = nginx::start(lab.real(2))?;
    let mut server = nginx::start(host)?;
    host.run("nft", &["add table inet lb; add chain inet lb input { type filter hook input priority 0; }"])?;
    agent.wait_for_real("web", host.v4(), |real| real.state == State::Up)?;
    agent.wait_for_real("web", lab.real(2).v4(), |real| real.state == State::Up)?;
    let slots = Slots::open(lab.director(), host.v4())?;
    slots.wait(true, DEADLINE)?;
    let bounds = (INTERVAL * FALL + TIMEOUT + MARGIN, INTERVAL * RISE + MARGIN);
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(["failure", "out, ms", "wanted", "back, ms", "wanted"]);
    for (failure, name) in ALL {
        let (mut out, mut back) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // At another moment of the interval each time.
            thread::sleep(INTERVAL + INTERVAL * u32::try_from(round % 10)? / 10);
            let began = Instant::now();
            fail(failure, host, &mut server)?;
            slots.wait(false, DEADLINE).with_context(|| name.to_owned())?;
            out.push(began.elapsed());
            thread::sleep(INTERVAL + INTERVAL * u32::try_from(round % 7)? / 7);
            let began = mend(failure, host, &mut server)?;
            slots.wait(true, DEADLINE).with_context(|| name.to_owned())?;
            back.push(began.elapsed());
        }
        let [out, back] = [out, back].map(told);
        table.add_row([name.to_owned(), out, most(bounds.0), back, most(bounds.1)]);
    }
    println!(
        "Checks every {INTERVAL:?} with a timeout of {TIMEOUT:?}, fall {FALL}, rise {RISE}, no jitter; median (least to most) of {rounds}."
    );
    println!("{table}");
    drop(agent);
    lab.close()
}

fn fail(failure: Failure, host: &Host, server: &mut Process) -> Result<()> {
    match failure {
        Failure::Refused => server.kill(),
        Failure::Firewalled => host.run("nft", &["add rule inet lb input tcp dport 80 drop"]).map(drop),
        Failure::Frozen => server.signal(Signal::SIGSTOP),
        Failure::Unwell => nginx::set_ill(host, true),
    }
}

/// When it was well again.
fn mend(failure: Failure, host: &Host, server: &mut Process) -> Result<Instant> {
    match failure {
        Failure::Refused => *server = nginx::start(host)?,
        Failure::Firewalled => host.run("nft", &["flush chain inet lb input"]).map(drop)?,
        Failure::Frozen => server.signal(Signal::SIGCONT)?,
        Failure::Unwell => nginx::set_ill(host, false)?,
    }
    Ok(Instant::now())
}

fn told(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default().as_millis();
    format!("{} ({} to {})", at(times.len() / 2), at(0), at(times.len().saturating_sub(1)))
}

fn most(bound: Duration) -> String {
    format!("{}", bound.as_millis())
}

/// The slots of the one service.
struct Slots {
    slots: Array<MapData, SlotPair>,
    first: u32,
    size: u32,
    number: u16,
}

impl Slots {
    /// As the agent of this director has pinned them; whether this real is in them is looked at.
    fn open(director: &Host, address: Ipv4Addr) -> Result<Self> {
        director.within(|| {
            let service = find(&map::<Service>("services")?, |service| service.ring_size == RING)?;
            let reals = map::<Real>("reals")?;
            let number = (1..service.room).find(|number| {
                reals.get(&(service.reals + number), 0).is_ok_and(|real| real.address == mapped(address.octets()))
            });
            let number = u16::try_from(number.context("the maps don't have the real")?)?;
            Ok(Self { slots: map("slots")?, first: service.ring, size: service.ring_size, number })
        })?
    }

    fn has(&self) -> Result<bool> {
        for pair in self.first / 2..(self.first + self.size).div_ceil(2) {
            let words = self.slots.get(&pair, 0)?;
            for (half, word) in words.into_iter().enumerate() {
                let index = pair * 2 + u32::try_from(half)?;
                let is_ours = (self.first..self.first + self.size).contains(&index);
                if is_ours && Slot::of(word).current == self.number {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Until new connections go to the real, or none do.
    fn wait(&self, there: bool, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        while self.has()? != there {
            ensure!(Instant::now() < end, "the slots have the real: {}, after {deadline:?}", !there);
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

fn map<T: aya::Pod>(name: &str) -> Result<Array<MapData, T>> {
    let data = MapData::from_pin(Pins::default().directory().join(name))?;
    Ok(Array::try_from(Map::from_map_data(data)?)?)
}

fn find<T: aya::Pod>(map: &Array<MapData, T>, wanted: impl Fn(&T) -> bool) -> Result<T> {
    for index in 0..map.len() {
        let value = map.get(&index, 0)?;
        if wanted(&value) {
            return Ok(value);
        }
    }
    bail!("the maps don't have the service")
}
