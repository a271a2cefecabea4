//! Sync groups: virtual routers of this director that own their VIPs together or not at all, such as the inner and the
//! outer side of a router.
//!
//! - While one can't take part (no link, a condition that fails), none does: the others hand their VIPs over.
//! - One whose time to take over has come waits ([`Standing::held`]) until each of the others
//!   is master or waits too; then all take over at once. A master that is heard on one side keeps both: no
//!   split over the sides, and nobody flaps.
//! - When one loses its VIPs to another director, the others hand theirs over.
//! - VIPs that an agent before this one left are kept by all, until one of them hears a master.

use super::machine::{Standing, State};

/// A member as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Where its machine stands.
    pub standing: Standing,
    /// Nothing stands in its way: it has its interface, and no condition forbids it.
    pub able: bool,
}

/// What a member is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Take part.
    Start,
    /// Hand the VIPs over, and take no part.
    Stop,
    /// Hand the VIPs over, and be a backup.
    Yield,
    /// Become master.
    TakeOver,
}

/// A backup that follows another master, or waits whether there is one.
const FOLLOWER: Standing = Standing { state: State::Backup, held: false, keeps: false, stopping: false };

/// Whether the members may take part.
pub fn is_able(members: &[Member]) -> bool {
    members.iter().all(|member| member.able)
}

/// What follows from a group's state, by the members' positions, after the member at `changed` was in the state
/// `before`. Commands that were obeyed are not given again.
pub fn follow(members: &[Member], changed: usize, before: State) -> Vec<(usize, Command)> {
    let all = |command: Command, told: &dyn Fn(&Member) -> bool| {
        let told = members.iter().enumerate().filter(|(_, member)| told(member));
        told.map(|(index, _)| (index, command)).collect::<Vec<_>>()
    };
    let owns = |member: &Member| matches!(member.standing.state, State::Master | State::Releasing);
    if !is_able(members) {
        return all(Command::Stop, &|member| match member.standing.state {
            State::Backup | State::Master => true,
            State::Releasing => !member.standing.stopping,
            State::Initialize => false,
        });
    }
    if members.iter().any(|member| member.standing.stopping) {
        // A hand-over that nobody has followed yet is taken back by all, or by none.
        return if members.iter().all(owns) {
            all(Command::Start, &|member| member.standing.stopping)
        } else {
            Vec::new()
        };
    }
    if members.iter().any(|member| member.standing.state == State::Initialize) {
        return all(Command::Start, &|member| member.standing.state == State::Initialize);
    }
    let now = members.get(changed).map(|member| member.standing.state);
    if matches!(before, State::Master | State::Releasing) && now == Some(State::Backup) {
        return all(Command::Yield, &owns);
    }
    if members.iter().any(|member| member.standing == FOLLOWER) {
        return all(Command::Yield, &|member| member.standing.keeps);
    }
    if members.iter().all(|member| member.standing.held || member.standing.state == State::Master) {
        return all(Command::TakeOver, &|member| member.standing.held);
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    use Command::{Start, Stop, TakeOver, Yield};
    use State::{Backup, Initialize, Master, Releasing};

    const fn member(state: State) -> Member {
        Member { standing: Standing { state, held: false, keeps: false, stopping: false }, able: true }
    }

    const IDLE: Member = member(Initialize);
    const BACKUP: Member = member(Backup);
    const HELD: Member = Member { standing: Standing { held: true, ..BACKUP.standing }, ..BACKUP };
    const KEEPING: Member = Member { standing: Standing { keeps: true, ..BACKUP.standing }, ..BACKUP };
    const MASTER: Member = member(Master);
    const RELEASING: Member = member(Releasing);
    const STOPPING: Member = Member { standing: Standing { stopping: true, ..RELEASING.standing }, ..RELEASING };
    const OUT: Member = Member { able: false, ..IDLE };

    /// The first member has changed from the given state.
    type Row = (&'static str, State, [Member; 3], &'static [(usize, Command)]);

    const ROWS: &[Row] = &[
        ("all take part when all can", Initialize, [IDLE, IDLE, IDLE], &[(0, Start), (1, Start), (2, Start)]),
        ("one that comes back joins the others", Initialize, [IDLE, BACKUP, BACKUP], &[(0, Start)]),
        ("one out, all out", Master, [OUT, MASTER, BACKUP], &[(1, Stop), (2, Stop)]),
        ("a release becomes a stop", Master, [OUT, RELEASING, RELEASING], &[(1, Stop), (2, Stop)]),
        ("nothing is said twice", Master, [OUT, STOPPING, IDLE], &[]),
        ("one whose time has come waits", Backup, [HELD, BACKUP, BACKUP], &[]),
        ("for all", Backup, [HELD, HELD, BACKUP], &[]),
        ("all together", Backup, [HELD, HELD, HELD], &[(0, TakeOver), (1, TakeOver), (2, TakeOver)]),
        ("the last one follows the masters", Backup, [HELD, MASTER, MASTER], &[(0, TakeOver)]),
        ("nobody follows while one hands over", Backup, [HELD, MASTER, RELEASING], &[]),
        ("a loser takes the others along", Master, [BACKUP, MASTER, BACKUP], &[(1, Yield)]),
        ("and ends their hand-over", Releasing, [BACKUP, MASTER, RELEASING], &[(1, Yield), (2, Yield)]),
        ("a newcomer doesn't", Initialize, [BACKUP, MASTER, MASTER], &[]),
        ("a stop is taken back by all", Initialize, [STOPPING, STOPPING, MASTER], &[(0, Start), (1, Start)]),
        ("or by none", Initialize, [IDLE, STOPPING, MASTER], &[]),
        ("what is found is kept by all", Initialize, [KEEPING, KEEPING, HELD], &[]),
        ("until one hears a master", Backup, [BACKUP, KEEPING, KEEPING], &[(1, Yield), (2, Yield)]),
        ("masters are left alone", Backup, [MASTER, MASTER, MASTER], &[]),
        ("backups too", Backup, [BACKUP, BACKUP, BACKUP], &[]),
    ];

    #[test]
    fn each_row_holds() {
        for (name, before, members, expected) in ROWS {
            assert_eq!(follow(members, 0, *before), *expected, "{name}");
        }
    }

    /// Obeys every command as a machine would, in a world where nobody else is heard.
    fn settled(mut members: Vec<Member>, changed: usize, before: State) -> Option<Vec<Member>> {
        let mut news = vec![(changed, before)];
        for _ in 0..100 {
            let Some((changed, before)) = news.pop() else { return Some(members) };
            for (index, command) in follow(&members, changed, before) {
                let member = members[index];
                members[index] = match (command, member.standing.state) {
                    (Start, Initialize) => BACKUP,
                    (Start, _) | (TakeOver, _) => MASTER,
                    (Stop, Backup) => IDLE,
                    (Stop, _) => STOPPING,
                    (Yield, Backup) => BACKUP,
                    (Yield, _) => RELEASING,
                };
                if members[index] == member {
                    continue;
                }
                news.push((index, member.standing.state));
            }
        }
        None
    }

    #[test]
    fn every_group_comes_to_rest() {
        let all = [IDLE, BACKUP, HELD, KEEPING, MASTER, RELEASING, STOPPING, OUT];
        for a in all {
            for b in all {
                for c in all {
                    for before in [Initialize, Backup, Master, Releasing] {
                        assert!(settled(vec![a, b, c], 0, before).is_some(), "{a:?} {b:?} {c:?} {before:?}");
                    }
                }
            }
        }
    }
}
