//! What several checks of one real say together.

use std::time::SystemTime;

use super::{Failure, Health};
use crate::config::Join;

/// The health of a real of these checks, each with its label and what is known of it. `None` where there is no check.
///
/// - [`Join::All`]: down as soon as one is, else unknown while one is; up since the last of them came up.
/// - [`Join::Any`]: up as soon as one is, else unknown while one is; up since the first of them came up.
///
/// A real that is down has the reason of each check that fails, behind its label where there are several checks. Where some of these
/// didn't reach it and others did: with `all` it counts as not reached, since a part of what it should do is dead; with
/// `any` as reached, since one of the ways to it works.
#[must_use]
pub fn join<'a>(how: Join, all: impl Iterator<Item = (String, Option<&'a Health>)>) -> Option<Health> {
    let all: Vec<(String, &Health)> = all.map(|(label, health)| (label, health.unwrap_or(&Health::Unknown))).collect();
    if let [(_, one)] = all.as_slice() {
        return Some((*one).clone());
    }
    if all.is_empty() {
        return None;
    }
    let up = all.iter().filter_map(|(_, health)| match health {
        Health::Up { since } => Some(*since),
        _ => None,
    });
    let is_unknown = all.iter().any(|(_, health)| matches!(health, Health::Unknown));
    let down = down(how, &all);
    Some(match (how, down) {
        (Join::All, Some(down)) => down,
        (Join::All, None) if is_unknown => Health::Unknown,
        (Join::All, None) => up.max().map_or(Health::Unknown, |since| Health::Up { since }),
        (Join::Any, down) => match up.min() {
            Some(since) => Health::Up { since },
            None if is_unknown => Health::Unknown,
            None => down.unwrap_or(Health::Unknown),
        },
    })
}

/// Those that are down, as one.
fn down(how: Join, all: &[(String, &Health)]) -> Option<Health> {
    let mut joined: Option<(SystemTime, Failure, String)> = None;
    for (label, health) in all {
        let Health::Down { since, failure, reason } = health else { continue };
        let told = format!("{label}: {reason}");
        joined = Some(match joined {
            None => (*since, *failure, told),
            Some((first, held, before)) => {
                let since = match how {
                    Join::All => first.min(*since),
                    Join::Any => first.max(*since),
                };
                (since, both(how, held, *failure), format!("{before}; {told}"))
            }
        });
    }
    joined.map(|(since, failure, reason)| Health::Down { since, failure, reason })
}

fn both(how: Join, one: Failure, other: Failure) -> Failure {
    match how {
        _ if one == other => one,
        Join::All => Failure::Unreachable,
        Join::Any => Failure::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn up(since: u64) -> Health {
        Health::Up { since: SystemTime::UNIX_EPOCH + Duration::from_secs(since) }
    }

    fn down(since: u64, failure: Failure, reason: &str) -> Health {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(since);
        Health::Down { since, failure, reason: reason.to_owned() }
    }

    #[test]
    fn two_checks_in_all_their_states() {
        use Failure::{Unreachable, Wrong};
        use Health::Unknown;
        let a = || down(5, Unreachable, "refused");
        let b = || down(7, Wrong, "status 503");
        #[rustfmt::skip]
        let rows = [
            // (the one, the other, all, any)
            (Unknown, Unknown, Unknown, Unknown),
            (Unknown, up(3),   Unknown, up(3)),
            (Unknown, a(),     down(5, Unreachable, "x: refused"), Unknown),
            (up(3),   up(4),   up(4), up(3)),
            (up(9),   b(),     down(7, Wrong, "x: status 503"), up(9)),
            (up(9),   a(),     down(5, Unreachable, "x: refused"), up(9)),
            (b(),     b(),     down(7, Wrong, "x: status 503; x: status 503"), down(7, Wrong, "x: status 503; x: status 503")),
            (a(),     b(),     down(5, Unreachable, "x: refused; x: status 503"), down(7, Wrong, "x: refused; x: status 503")),
        ];
        for (one, other, all, any) in rows {
            let joined = |how, pair: [&Health; 2]| join(how, pair.into_iter().map(|held| ("x".to_owned(), Some(held))));
            for (how, expected) in [(Join::All, &all), (Join::Any, &any)] {
                assert_eq!(joined(how, [&one, &other]).as_ref(), Some(expected), "{one:?} {how:?} {other:?}");
                let words = |health: Option<Health>| match health {
                    Some(Health::Down { since, failure, .. }) => Some((since, failure)),
                    _ => None,
                };
                let turned = joined(how, [&other, &one]);
                assert_eq!(words(turned), words(Some(expected.clone())), "the order doesn't matter");
            }
        }
    }

    #[test]
    fn one_check_speaks_for_itself_and_none_says_nothing() {
        let refused = down(5, Failure::Unreachable, "refused");
        for how in [Join::All, Join::Any] {
            let one = |held| join(how, std::iter::once(("x".to_owned(), held)));
            assert_eq!(one(Some(&refused)), Some(refused.clone()));
            assert_eq!(one(None), Some(Health::Unknown));
            assert_eq!(join(how, std::iter::empty()), None);
        }
    }
}
