//! `vrrp_script`, `track_script` and `track_interface`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tree::Node;
use super::watched::Watched;
use super::words::{Context, changed, left, stranger};
use super::{carried, number, surplus, taken, timer};
use crate::import::ledger::Ledger;
use crate::import::model::{Key, Model, list, plain, quoted, time};

/// A script that virtual routers track.
#[derive(Debug, Clone)]
pub(super) struct Script {
    argv: Vec<String>,
    interval: Duration,
    timeout: Option<Duration>,
    rise: u32,
    fall: u32,
    weight: i32,
    reverse: bool,
    init_fail: bool,
    user: Option<String>,
}

/// What virtual routers track by a name.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub scripts: Scripts,
    pub files: Watched,
    pub processes: Watched,
}

/// All of them by their names.
pub(super) type Scripts = BTreeMap<String, Script>;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `vrrp_script NAME { … }`. keepalived runs it each second unless it says otherwise, for as long as the interval.
pub(super) fn script(node: &Node, user: Option<&str>, scripts: &mut Scripts, ledger: &mut Ledger) {
    let mut script = Script {
        argv: Vec::new(),
        interval: Duration::from_secs(1),
        timeout: None,
        rise: 1,
        fall: 1,
        weight: 0,
        reverse: false,
        init_fail: false,
        user: user.map(str::to_owned),
    };
    let Some(name) = node.arg() else { return left(node, "a script has a name", ledger) };
    for child in &node.children {
        match child.word() {
            "script" => {
                let text = child.args().join(" ");
                let (argv, by_shell) = command(&text);
                script.argv = argv;
                if by_shell {
                    changed(child, "it is run by /bin/sh, which looks it up and splits it", ledger);
                } else {
                    carried(child, ledger);
                }
            }
            "interval" => {
                if let Some(interval) = timer(child, ledger) {
                    script.interval = bounded(child, interval, Duration::from_millis(10), HOUR, ledger);
                }
            }
            "timeout" => {
                if let Some(timeout) = timer(child, ledger) {
                    script.timeout = Some(bounded(child, timeout, Duration::from_millis(1), DAY, ledger));
                }
            }
            "init_fail" => {
                script.init_fail = true;
                taken(child, 0, ledger);
            }
            "user" => {
                script.user = child.arg().map(str::to_owned);
                match child.args()[..] {
                    [_, _, ..] => changed(child, "it has its user's own group", ledger),
                    _ => taken(child, 1, ledger),
                }
            }
            "rise" => script.rise = count(child, ledger).unwrap_or(script.rise),
            "fall" => script.fall = count(child, ledger).unwrap_or(script.fall),
            "weight" => {
                if let Some(weight) = number::<i32>(child, ledger) {
                    script.weight = weight;
                    script.reverse = child.args().get(1) == Some(&"reverse");
                    taken(child, if script.reverse { 2 } else { 1 }, ledger);
                }
            }
            _ => stranger(Context::Script, child, ledger),
        }
    }
    if script.argv.is_empty() {
        return left(node, "it has no script", ledger);
    }
    if let Some(timeout) = script.timeout.filter(|timeout| *timeout > script.interval) {
        let how = format!("timeout = {} instead of {}: runs don't overlap", time(script.interval), time(timeout));
        for child in node.children.iter().filter(|child| child.word() == "timeout") {
            changed(child, how.clone(), ledger);
        }
        script.timeout = Some(script.interval);
    }
    scripts.insert(name.to_owned(), script);
    taken(node, 1, ledger);
}

/// A time within bounds, and what is told where it isn't.
pub(super) fn bounded(node: &Node, time: Duration, low: Duration, high: Duration, ledger: &mut Ledger) -> Duration {
    let taken = time.clamp(low, high);
    if taken == time {
        super::taken(node, 1, ledger);
    } else {
        changed(node, format!("{} is written, the nearest that there is", super::super::model::time(taken)), ledger);
    }
    taken
}

/// A number of runs or checks in a row.
fn count(node: &Node, ledger: &mut Ledger) -> Option<u32> {
    let count = number::<u32>(node, ledger)?;
    let within = count.clamp(1, 100);
    if within == count {
        taken(node, 1, ledger);
    } else {
        changed(node, format!("{within} is written, the nearest that there is"), ledger);
    }
    Some(within)
}

/// argv of a command line, and whether a shell has to look it up or split it.
pub(super) fn command(text: &str) -> (Vec<String>, bool) {
    let text = text.trim();
    if text.is_empty() {
        return (Vec::new(), false);
    }
    if text.starts_with('/') && !text.contains(|char: char| "|&;<>()$`\\\"'*?[]#~!{}".contains(char)) {
        return (text.split_whitespace().map(str::to_owned).collect(), false);
    }
    (vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()], true)
}

/// `track_script { NAME [weight N [reverse]] }`, of a virtual router or of its group.
pub(super) fn track_script(node: &Node, scripts: &Scripts, track: &mut Vec<Vec<Key>>, ledger: &mut Ledger) {
    carried(node, ledger);
    for child in &node.children {
        let Some(script) = scripts.get(child.word()) else {
            left(child, "there is no vrrp_script of this name", ledger);
            continue;
        };
        let Some((weight, reverse)) = weight(child, ledger) else { continue };
        let weight = weight.unwrap_or(script.weight);
        if reverse.unwrap_or(script.reverse) {
            left(child, "`reverse` isn't there: write a script that ends the other way round", ledger);
            continue;
        }
        let item: Vec<Key> = vec![("script", quoted(&plain(child.word())))];
        add(item, weight, child, track, ledger);
    }
}

/// The sections of those scripts that are tracked.
pub(super) fn write(scripts: &Scripts, model: &mut Model) {
    let tracked: Vec<Key> =
        model.routers.iter().flat_map(|router| &router.track).filter_map(|item| item.first().cloned()).collect();
    for (name, script) in scripts {
        let name = plain(name);
        if !tracked.contains(&("script", quoted(&name))) || model.scripts.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let mut keys: Vec<Key> = vec![("command", list(script.argv.iter().map(String::as_str)))];
        keys.push(("interval", time(script.interval)));
        keys.push(("timeout", time(script.timeout.unwrap_or(script.interval))));
        keys.extend((script.rise != 1).then(|| ("rise", script.rise.to_string())));
        keys.extend((script.fall != 1).then(|| ("fall", script.fall.to_string())));
        keys.extend(script.init_fail.then(|| ("init_fail", "true".to_owned())));
        keys.extend(script.user.as_ref().filter(|user| *user != "root").map(|user| ("user", quoted(user))));
        model.scripts.push((name, keys));
    }
}

/// `track_interface { eth1 [weight N [reverse]] }`.
pub(super) fn track_interface(node: &Node, track: &mut Vec<Vec<Key>>, ledger: &mut Ledger) {
    carried(node, ledger);
    for child in &node.children {
        let Some((weight, reverse)) = weight(child, ledger) else { continue };
        if reverse == Some(true) {
            left(child, "`reverse` isn't there: a tracked script can look for a link that is gone", ledger);
            continue;
        }
        add(vec![("interface", quoted(child.word()))], weight.unwrap_or(0), child, track, ledger);
    }
}

pub(super) fn add(mut item: Vec<Key>, weight: i32, node: &Node, track: &mut Vec<Vec<Key>>, ledger: &mut Ledger) {
    let weight = match weight {
        0 => None,
        other => Some(other.clamp(-253, 253)),
    };
    let what = item.first().cloned();
    if track.iter().any(|known| known.first().cloned() == what) {
        return changed(node, "it is tracked already: once is enough", ledger);
    }
    item.extend(weight.map(|weight| ("weight", weight.to_string())));
    track.push(item);
    carried(node, ledger);
}

/// `weight N [reverse|noreverse]` behind a name; `None` where it can't be read, which was told.
pub(super) fn weight(node: &Node, ledger: &mut Ledger) -> Option<(Option<i32>, Option<bool>)> {
    match node.args()[..] {
        [] => Some((None, None)),
        ["weight", text, ref rest @ ..] => {
            let Ok(weight) = text.parse::<i32>() else {
                left(node, "its weight is no number", ledger);
                return None;
            };
            let reverse = match rest {
                [] => None,
                ["reverse", ..] => Some(true),
                ["noreverse" | "no_reverse", ..] => Some(false),
                _ => {
                    surplus(node, 2, ledger);
                    None
                }
            };
            Some((Some(weight), reverse))
        }
        _ => {
            surplus(node, 0, ledger);
            Some((None, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn a_shell_runs_what_has_no_path_or_wants_one() {
        let argv = |text: &str| command(text).0;
        assert_eq!(argv("/usr/bin/check eth0  -q"), ["/usr/bin/check", "eth0", "-q"]);
        assert_eq!(argv("killall -0 haproxy"), ["/bin/sh", "-c", "killall -0 haproxy"]);
        assert_eq!(argv("/bin/a | /bin/b"), ["/bin/sh", "-c", "/bin/a | /bin/b"]);
        assert!(argv(" ").is_empty());
    }
}
