//! One service of several ports and protocols: an entry for each, which share their reals.

use std::time::Duration;

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::client::Client;
use lb_tests::config::{director, real, service};
use lb_tests::lab::{Lab, VIP, nginx, scenario};
use lb_userspace::api::State;

const BEAT: Duration = Duration::from_millis(5);
const CHECK: &str = "check = { type = \"http\", port = 80, interval = \"200ms\" }";

#[test]
fn verbs_take_the_whole_and_a_part() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let reals = || [real(lab.real(1).v4(), ""), real(lab.real(2).v4(), "")];
        let one = service("web", format!("{VIP}:80"), &format!("protocol = \"tcp\"\n{CHECK}"), reals());
        let keys = format!("ports = [\"80/tcp\", \"81/tcp\", \"80/udp\"]\n{CHECK}");
        let three = service("web", VIP, &keys, reals());
        let agent = Agent::start(lab.director(), &(director(&["eth1"]) + &one))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let (polled, held) = (client.poll((VIP, 80), BEAT), client.hold((VIP, 80), BEAT)?);

        // The port that is there goes on; its reals are those of a pool now.
        let told = agent.reload(&(director(&["eth1"]) + &three))?;
        assert!(told.contains("service.web:81/tcp: added") && !told.contains("connections\n"), "{told}");
        agent.wait_until_served()?;
        let names: Vec<Option<String>> = agent.status()?.services.into_iter().map(|one| one.name).collect();
        assert_eq!(names.iter().flatten().collect::<Vec<_>>(), ["web:80/tcp", "web:80/udp", "web:81/tcp"]);
        // Nothing listens there on the real: its own refusal comes back, by way of the director.
        assert!(client.get((VIP, 81)).is_err());
        assert_eq!(agent.service("web:81/tcp")?.counters.connections, 1);

        // All of them, or one; what is set for a real holds for all, which share it.
        for (name, count) in [("web", 3), ("web:81/tcp", 1)] {
            let told = agent.lb(&["list", name])?;
            assert_eq!(
                told.lines().filter(|line| line.starts_with("TCP ") || line.starts_with("UDP ")).count(),
                count,
                "{told}"
            );
        }
        let second = lab.real(2).v4();
        for name in ["web", "web:80/udp"] {
            agent.lb(&["drain", &second.to_string(), "--service", name])?;
            for part in ["web:80/tcp", "web:81/tcp", "web:80/udp"] {
                assert_eq!(agent.real(part, second)?.state, State::Draining, "{part} after {name}");
            }
            agent.lb(&["undrain", &second.to_string(), "--service", name])?;
        }
        assert!(agent.lb(&["checks", "--service", "web"])?.contains(&second.to_string()));
        assert!(agent.lb(&["events", "--service", "web"])?.contains("drain"));
        polled.finish().without_loss()?;
        held.finish().without_loss()
    });
}
