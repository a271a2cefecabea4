//! A check on VIPs, and what follows from it and from the one on the real's own address. All are asked at once, within the
//! check's timeout.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use nix::errno::Errno;
use tokio::time::timeout_at;

use super::{Deadline, Fault, Memory, Outcome, Vips, Way, ask, on_its_own, outcome, source};
use crate::health::Target;
use crate::health::via::Passage;

/// Checks the target on these VIPs, and on its own address too if `both`.
pub(super) async fn run(
    target: &Target,
    on: &[IpAddr],
    both: bool,
    vips: &Vips,
    passage: &Passage,
    memory: &Memory,
) -> Outcome {
    let deadline = &Deadline::new(target.check.timeout);
    let own = async { if both { Some(on_its_own(target, vips, memory, deadline).await.map(drop)) } else { None } };
    let asked =
        join_all(on.iter().map(async |vip| (*vip, on_vip(target, *vip, vips, passage, memory, deadline).await)));
    let (own, asked) = tokio::join!(own, asked);
    judge(own, asked)
}

async fn on_vip(
    target: &Target,
    vip: IpAddr,
    vips: &Vips,
    passage: &Passage,
    memory: &Memory,
    deadline: &Deadline,
) -> Result<(), Fault> {
    let hop = timeout_at(deadline.at, passage.hop(target.address)).await.map_err(|_| Fault::NoMac)?;
    let own = source::own(target.address, target.check.source.as_ref(), vips)?;
    let vip = SocketAddr::new(vip, target.check.port);
    let road = passage.road(hop, own, vip).map_err(Fault::Local)?;
    ask(target, Way { real: vip, source: None, through: Some(&road) }, memory, deadline).await
}

/// What the answers on the real's own address, if it was asked, and on VIPs say together.
fn judge(own: Option<Result<(), Fault>>, asked: Vec<(IpAddr, Result<(), Fault>)>) -> Outcome {
    let count = asked.len();
    let faults: Vec<(IpAddr, Fault)> =
        asked.into_iter().filter_map(|(vip, answer)| answer.err().map(|fault| (vip, fault))).collect();
    let answers = match own {
        Some(Err(fault)) if fault.is_own() || !faults.is_empty() => return outcome(Err(fault)),
        Some(Err(fault)) => return Outcome::Bad(fault.kind(), format!("{fault} on its own address; the VIP answers")),
        Some(Ok(())) => true,
        None => false,
    };
    // What a real is to blame for comes first.
    let Some((vip, fault)) = faults.iter().find(|(_, fault)| !fault.is_own()).or(faults.first()) else {
        return Outcome::Good;
    };
    if fault.is_own() {
        return Outcome::Void(fault.to_string());
    }
    let others = match faults.len() {
        1 if count > 1 => ", though well on other VIPs",
        _ => "",
    };
    let reason = match (answers, mend(fault, *vip)) {
        (true, Some(mend)) => format!("answers on its own address, not on the VIP: {mend} ({fault}{others})"),
        (true, None) => format!("answers well on its own address, not on the VIP {vip}: {fault}{others}"),
        (false, _) => format!("on the VIP {vip}: {fault}{others}"),
    };
    Outcome::Bad(fault.kind(), reason)
}

/// What to look for on a real that gives no answer on the VIP, though it does on its own address.
fn mend(fault: &Fault, vip: IpAddr) -> Option<String> {
    match fault {
        Fault::Connecting(_) | Fault::Waiting(_) => Some(format!("is {vip} on its lo? Or does its firewall drop it?")),
        Fault::Io(error) => match error.raw_os_error().map(Errno::from_raw)? {
            Errno::ECONNREFUSED => Some(format!("does its server listen on {vip}?")),
            Errno::EACCES | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ENOPROTOOPT => {
                Some(format!("does its firewall refuse {vip}?"))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Failure;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    type Asked = fn() -> Result<(), Fault>;

    #[test]
    fn what_answers_and_what_does_not_names_the_mend() {
        const SLOW: Asked = || Err(Fault::Connecting(Duration::from_millis(100)));
        const REFUSED: Asked = || Err(Fault::Io(Errno::ECONNREFUSED.into()));
        const REJECTED: Asked = || Err(Fault::Io(Errno::EHOSTUNREACH.into()));
        const RESET: Asked = || Err(Fault::Io(Errno::ECONNRESET.into()));
        const WRONG: Asked = || Err(Fault::Answer);
        const LOCAL: Asked = || Err(Fault::Local(Errno::EMFILE.into()));
        const GOOD: Asked = || Ok(());
        let unreachable = |text: &str| Outcome::Bad(Failure::Unreachable, text.to_owned());
        let wrong = |text: &str| Outcome::Bad(Failure::Wrong, text.to_owned());
        let void = Outcome::Void("this director is out of descriptors: raise LimitNOFILE".to_owned());
        let rows: [(Option<Asked>, &[Asked], Outcome); 15] = [
            (None, &[GOOD], Outcome::Good),
            (Some(GOOD), &[GOOD, GOOD], Outcome::Good),
            (None, &[SLOW], unreachable("on the VIP 192.0.2.1: timed out after 100ms connecting")),
            (
                Some(GOOD),
                &[SLOW],
                unreachable(
                    "answers on its own address, not on the VIP: is 192.0.2.1 on its lo? Or does its firewall drop it? \
                     (timed out after 100ms connecting)",
                ),
            ),
            (
                Some(GOOD),
                &[GOOD, SLOW],
                unreachable(
                    "answers on its own address, not on the VIP: is 192.0.2.2 on its lo? Or does its firewall drop it? \
                     (timed out after 100ms connecting, though well on other VIPs)",
                ),
            ),
            (
                Some(GOOD),
                &[REFUSED],
                unreachable(
                    "answers on its own address, not on the VIP: does its server listen on 192.0.2.1? (connection refused)",
                ),
            ),
            (
                Some(GOOD),
                &[REJECTED],
                unreachable(
                    "answers on its own address, not on the VIP: does its firewall refuse 192.0.2.1? (no route to host)",
                ),
            ),
            (
                Some(GOOD),
                &[WRONG],
                wrong("answers well on its own address, not on the VIP 192.0.2.1: another answer than expected"),
            ),
            (
                Some(GOOD),
                &[RESET],
                unreachable("answers well on its own address, not on the VIP 192.0.2.1: connection reset"),
            ),
            (Some(REFUSED), &[SLOW], unreachable("connection refused")),
            (Some(REFUSED), &[GOOD], unreachable("connection refused on its own address; the VIP answers")),
            (None, &[LOCAL], void.clone()),
            (Some(GOOD), &[LOCAL, GOOD], void.clone()),
            (Some(LOCAL), &[SLOW], void),
            (None, &[LOCAL, WRONG], wrong("on the VIP 192.0.2.2: another answer than expected")),
        ];
        for (own, asked, expected) in rows {
            let asked: Vec<_> = [VIP, OTHER].into_iter().zip(asked.iter().map(|asked| asked())).collect();
            assert_eq!(judge(own.map(|own| own()), asked), expected);
        }
    }
}
