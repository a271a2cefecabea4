//! The notify script that sends mail, with a real mail server's sendmail.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use lb_tests::agent::Agent;
use lb_tests::exim;
use lb_tests::lab::{DEADLINE, Lab, VIP, nginx, scenario, wait_until};

#[test]
fn mail_tells_of_virtual_routers_and_of_reals() {
    scenario(Lab::builder(), |lab| {
        let mut reals = lab.reals().map(nginx::start).collect::<Result<Vec<_>>>()?;
        let director = lab.director();
        let (sendmail, inbox) = exim::sendmail(director)?;
        let script = director.dir().join("notify-mail");
        fs::write(&script, include_str!("../../../packaging/notify-mail"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let notify = format!(
            "notify = [\"/usr/bin/env\", \"SENDMAIL={}\", \"MAIL_FROM=lb@example.org\", \"{}\", \"ops@example.org\"]\n",
            sendmail.display(),
            script.display(),
        );
        let text = format!(
            "[director]\ninterfaces = [\"eth1\"]\n\
             [vrrp.web]\ninterface = \"eth1\"\nid = 210\nadvertise = \"100ms\"\naddresses = [\"{VIP}/24\"]\n{notify}\
             [service.web]\naddress = \"{VIP}:80\"\nprotocol = \"tcp\"\n\
             check = {{ type = \"tcp\", interval = \"100ms\", timeout = \"90ms\", fall = 2 }}\n\
             reals = [{{ address = \"{}\" }}, {{ address = \"{}\" }}]\n{notify}",
            lab.real(1).v4(),
            lab.real(2).v4(),
        );
        let agent = Agent::start(director, &text)?;
        agent.wait_for_router("web", "master")?;
        agent.wait_until_served()?;
        drop(reals.remove(0));
        let mails = || fs::read_to_string(&inbox).unwrap_or_default();
        let host = lb_userspace::host::name();
        let subjects = [
            format!("\nSubject: lb on {host}: master web {VIP}\n"),
            format!("\nSubject: lb on {host}: real down web "),
        ];
        let all = || subjects.iter().all(|subject| mails().contains(subject));
        wait_until(DEADLINE, "mail of the VIP and of the real", all).inspect_err(|_| println!("{}", mails()))?;
        let told = mails();
        for part in [
            "\nTo: ops@example.org\n",
            "\nFrom: lb@example.org\n",
            "\nAuto-Submitted: auto-generated\n",
            "See: lb status",
        ] {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
        assert!(told.contains(&lab.real(1).v4().to_string()), "{told}");
        Ok(())
    });
}
