//! What a bulk transfer through the director makes: `cargo xtask bench bulk`.
//!
//! One upload after the other through one lab, in turns: by the tc program, and by the same logic as generic XDP, which
//! the kernel runs before it; with packets that the kernel merges, and with packets as a cable has them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use lb_tests::agent::Agent;
use lb_tests::config::{director, in_mode, real, service};
use lb_tests::lab::{DEADLINE, Host, Lab, Segment, VIP, cleanup_on_signal, require};

const PORT: u16 = 9000;

/// Measures uploads through the director, by the tc program and by generic XDP.
#[derive(Parser)]
struct Options {
    /// Rounds; each row's median, least and most are of these.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of an upload.
    #[arg(long, default_value_t = 1000)]
    time: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Err(reason) = require() {
        bail!("the bench can't run here: {reason}");
    }
    cleanup_on_signal()?;
    println!("{:<40} {:<12} {:>9} {:>9} {:>9}", "packets", "program", "MB/s", "least", "most");
    measure("back out of its interface", Segment::Front, &options)?;
    measure("out of another", Segment::Back, &options)
}

/// Uploads through a director whose real is on this segment.
fn measure(way: &str, segment: Segment, options: &Options) -> Result<()> {
    let lab = Lab::builder().reals(1).place("real-1", segment).build()?;
    let host = lab.director();
    let devices: Vec<&str> = host.nics().iter().map(|nic| nic.device.as_str()).collect();
    let web = service("web", format!("{VIP}:{PORT}"), "protocol = \"tcp\"", [real(lab.real(1).v4(), "")]);
    let agent = Agent::start(host, &in_mode("generic", &(director(&devices) + &web)))?;
    agent.wait_until_served()?;
    for nic in host.nics() {
        // The port's program is for native XDP; it would have every merged packet cut.
        lab.switch().run("rm", &[&format!("/sys/fs/bpf/{}_xdp", nic.port)])?;
    }
    let program = loaded(host)?;
    let mut rows = [("merged", true), ("as on a cable", false)].map(|(name, merged)| (name, merged, [vec![], vec![]]));
    let time = Duration::from_millis(options.time);
    for _ in 0..options.rounds {
        for (_, merged, [tc, generic]) in &mut rows {
            offloads(&lab, *merged)?;
            tc.push(upload(&lab, time)?);
            host.run("bpftool", &["net", "attach", "xdpgeneric", "id", &program, "dev", "eth1"])?;
            generic.push(upload(&lab, time)?);
            host.run("bpftool", &["net", "detach", "xdpgeneric", "dev", "eth1"])?;
        }
    }
    for (packets, _, [tc, generic]) in &mut rows {
        for (program, rates) in [("tc", tc), ("generic XDP", generic)] {
            rates.sort_by(f64::total_cmp);
            let at = |index: usize| rates.get(index).copied().unwrap_or_default();
            let (median, least, most) = (at(rates.len() / 2), at(0), at(rates.len().saturating_sub(1)));
            let packets = format!("{packets}, {way}");
            println!("{packets:<40} {program:<12} {median:>9.3} {least:>9.3} {most:>9.3}");
        }
    }
    Ok(())
}

/// The id of the XDP program that the agent has loaded and attached to nothing.
fn loaded(host: &Host) -> Result<String> {
    let shown = host.run("bpftool", &["prog", "show", "name", "lb"])?;
    let mut ids = shown.lines().filter(|line| line.contains(": xdp ")).filter_map(|line| line.split(':').next());
    // The youngest is this agent's.
    ids.next_back().map(str::to_owned).context("the agent has loaded no XDP program")
}

/// Whether what leaves an interface may stay merged, on the whole way from the client to the real.
fn offloads(lab: &Lab, merged: bool) -> Result<()> {
    let word = if merged { "on" } else { "off" };
    let set = |host: &Host, device: &str| host.run("ethtool", &["-K", device, "tx", word, "tso", word, "gso", word]);
    for host in [lab.client(), lab.director(), lab.real(1)] {
        for nic in host.nics() {
            set(host, &nic.device)?;
            set(lab.switch(), &nic.port)?;
        }
    }
    Ok(())
}

/// Megabytes a second that arrive at the real.
fn upload(lab: &Lab, time: Duration) -> Result<f64> {
    let listener = lab.real(1).within(|| TcpListener::bind((VIP, PORT)))??;
    let server = thread::spawn(move || -> Result<(usize, Duration)> {
        let (mut stream, _) = listener.accept()?;
        let (start, mut buffer, mut length) = (Instant::now(), vec![0; 1 << 20], 0);
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        // What is on its way when the time is over doesn't count.
        while start.elapsed() < time {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((length, start.elapsed()))
    });
    let mut stream = lab.client().within(|| TcpStream::connect_timeout(&(VIP, PORT).into(), DEADLINE))??;
    stream.set_write_timeout(Some(time))?;
    let (start, block) = (Instant::now(), vec![0; 1 << 16]);
    // The server closes first, or nothing goes through.
    while start.elapsed() < 2 * time && stream.write_all(&block).is_ok() {}
    let _ = stream.shutdown(Shutdown::Both);
    let (length, time) = server.join().ok().context("the server")??;
    Ok(length as f64 / 1e6 / time.as_secs_f64())
}
