//! Reals that are drained, disabled, weighed or ill: living connections stay.

use std::time::Duration;

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::client::{Client, tally};
use lb_tests::config::{director, real, service};
use lb_tests::lab::{DEADLINE, Lab, VIP, nginx, scenario, wait_until};
use lb_tests::responder::Http;
use lb_userspace::api::State;

const RR: &str = "protocol = \"tcp\"\nscheduler = \"rr\"";
const CHECKED: &str = "protocol = \"tcp\"\nscheduler = \"rr\"\n\
                       check = { type = \"http\", interval = \"250ms\", timeout = \"250ms\", rise = 1, fall = 3 }";
const BEAT: Duration = Duration::from_millis(20);

fn config(lab: &Lab, keys: &str) -> String {
    director(&["eth1"]) + &service("web", format!("{VIP}:80"), keys, lab.reals().map(|host| real(host.v4(), "")))
}

#[test]
fn a_drained_real_keeps_its_connections_over_a_restart_until_it_is_reset() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, RR))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let held = [client.hold((VIP, 80), BEAT)?, client.hold((VIP, 80), BEAT)?];
        let one = lab.real(1).v4().to_string();
        agent.lb(&["drain", &one, "--deadline", "10m"])?;
        assert_eq!(tally(&client.get_many((VIP, 80), 10)?).into_keys().collect::<Vec<_>>(), ["Real-2"]);
        agent.wait_for_real("web", lab.real(1).v4(), |real| real.active_connections == Some(1))?;
        agent.stop()?;
        let agent = Agent::start_again(lab.director())?;
        assert_eq!(agent.real("web", lab.real(1).v4())?.state, State::Draining);
        for held in &held {
            held.wait_for_answers(10, DEADLINE)?;
        }
        agent.lb(&["reset"])?;
        wait_until(DEADLINE, "both reals to answer", || {
            client.get_many((VIP, 80), 4).is_ok_and(|answers| tally(&answers).len() == 2)
        })?;
        held.map(|held| held.finish().without_loss()).into_iter().collect()
    });
}

#[test]
fn a_real_that_answers_503_keeps_its_connections() {
    scenario(Lab::builder(), |lab| {
        let reals = lab.reals().map(Http::start).collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(lab.director(), &config(lab, CHECKED))?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        let held = [client.hold((VIP, 80), BEAT)?, client.hold((VIP, 80), BEAT)?];
        reals[0].set_status(503);
        agent.wait_for_real("web", lab.real(1).v4(), |real| real.state == State::Down && real.quiesced)?;
        assert_eq!(tally(&client.get_many((VIP, 80), 10)?).into_keys().collect::<Vec<_>>(), ["Real-2"]);
        for held in held {
            held.wait_for_answers(20, DEADLINE)?;
            let report = held.finish();
            assert_eq!(report.errors().count(), 0);
            assert_eq!(tally(report.answers()).len(), 1, "it stayed on its real");
        }
        Ok(())
    });
}
