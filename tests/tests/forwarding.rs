//! The main job, as clients see it: requests to the VIP are answered by the reals, in the scheduler's order.

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::client::{Client, tally};
use lb_tests::lab::{Lab, VIP, VIP6, nginx, scenario};

const REFERENCE: &str = include_str!("../../packaging/lb.toml");

#[test]
fn a_thousand_requests_alternate_exactly_over_both_families() {
    scenario(Lab::builder(), |lab| {
        let _reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let config = format!(
            "{REFERENCE}\n\
             [service.web6]\naddress = \"[{VIP6}]:80\"\nprotocol = \"tcp\"\nscheduler = \"rr\"\n\
             [[service.web6.reals]]\naddress = \"{}\"\n[[service.web6.reals]]\naddress = \"{}\"\n",
            lab.real(1).v6(),
            lab.real(2).v6(),
        );
        let agent = Agent::start(lab.director(), &config)?;
        lab.director().own(VIP6.into())?;
        agent.wait_until_served()?;
        let client = Client::new(lab.client());
        for vip in [std::net::IpAddr::from(VIP), VIP6.into()] {
            let answers = client.get_many((vip, 80), 1000)?;
            assert!(answers.windows(2).all(|pair| pair[0].real != pair[1].real), "two in a row");
            assert_eq!(tally(&answers).into_values().collect::<Vec<_>>(), [500, 500]);
        }
        let status = agent.status()?;
        for service in &status.services {
            assert_eq!(service.counters.connections, 1000, "{service:?}");
        }
        Ok(())
    });
}
