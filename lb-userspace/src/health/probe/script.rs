//! The script check: a command with the real in its environment. Exit code 0 is good. It runs as another user than root
//! unless the check says so, in a process group that is ended as a whole.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::unistd::{User, geteuid};
use tokio::time::{Instant, timeout_at};

use super::{Deadline, Fault, Way};
use crate::config::{CheckKind, Command, NOBODY, Owner, Unusable};
use crate::host::command::{self, Failure, Job, untrusted};

/// The weight that it asks for, if it does.
pub(super) async fn check(way: Way<'_>, question: &Command, deadline: &Deadline) -> Result<Option<u8>, Fault> {
    let asked = question.clone();
    // Who somebody is may be asked of another host.
    let found = timeout_at(deadline.at, tokio::task::spawn_blocking(move || runner(&asked))).await;
    let user = match found {
        Ok(Ok(found)) => found.map_err(Fault::File)?,
        Ok(Err(_)) | Err(_) => return Err(Fault::File("this director can't tell who its scripts run as".to_owned())),
    };
    let mut environment = vec![("LB_REAL", way.real.ip().to_string()), ("LB_PORT", way.real.port().to_string())];
    environment.extend(question.owner.as_ref().map(|owner| match owner {
        Owner::Service(name) => ("LB_SERVICE", name.clone()),
        Owner::Pool(name) => ("LB_POOL", name.clone()),
    }));
    let left = deadline.at.saturating_duration_since(Instant::now());
    let job =
        Job { argv: question.command.get_ref(), timeout: left, environment: Some(&environment), user: user.as_ref() };
    match command::run_job(job).await {
        Ok(_) => Ok(None),
        Err(Failure::Status(status, said)) => match status.code().filter(|_| question.dynamic_weight) {
            Some(code @ 2..=255) => Ok(u8::try_from(code - 2).ok()),
            _ => Err(Fault::Script(Failure::Status(status, said))),
        },
        Err(Failure::Timeout(_, said)) => Err(Fault::Script(Failure::Timeout(deadline.timeout, said))),
        Err(failure) => Err(Fault::Script(failure)),
    }
}

/// Who runs it, if that is somebody else than the agent.
fn runner(question: &Command) -> Result<Option<User>, String> {
    let name = match &question.user {
        Some(user) => user.get_ref().as_str(),
        None if !geteuid().is_root() => return Ok(None),
        None => NOBODY,
    };
    command::runner(name)
}

/// What is wrong with the command that a check names, as it is now.
pub(super) fn unusable(kind: &CheckKind) -> Vec<Unusable> {
    let CheckKind::Command(script) = kind else { return Vec::new() };
    let place = Some(script.command.span());
    let mut found = Vec::new();
    let argv = script.command.get_ref();
    if let Some(program) = argv.first() {
        let fault = match fs::metadata(program) {
            Err(error) => Some((format!("{program} can't be run: {error}"), "name a program that is there")),
            Ok(about) if !about.is_file() => Some((format!("{program} is not a file"), "name a program")),
            Ok(about) if about.permissions().mode() & 0o111 == 0 => {
                Some((format!("{program} isn't executable"), "chmod 755, or name its interpreter before it"))
            }
            Ok(_) => None,
        };
        found.extend(fault.map(|(message, mend)| Unusable { place: place.clone(), message, mend: mend.to_owned() }));
    }
    if let Some(fault) = untrusted(argv) {
        let mend = "give it to root, and take others' right to write".to_owned();
        found.push(Unusable { place: place.clone(), message: fault.told(), mend });
    }
    // Who looks at the file may be another user than the agent.
    if let Err(message) = command::named(script.user.as_ref().map_or(NOBODY, |user| user.get_ref())) {
        let place = script.user.as_ref().map(|user| user.span()).or(place);
        found.push(Unusable { place, message, mend: "name a user that is there: user = \"nobody\"".to_owned() });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use toml::Spanned;

    use super::super::tests::{GENEROUS, bad, target, wrong};
    use super::super::{Memory, Vips, run};
    use super::*;
    use crate::health::machine::Outcome;

    fn script(argv: &[&str], user: Option<&str>) -> CheckKind {
        CheckKind::Command(Command {
            command: Spanned::new(7..9, argv.iter().map(|argument| (*argument).to_owned()).collect()),
            user: user.map(|user| Spanned::new(3..4, user.to_owned())),
            dynamic_weight: false,
            owner: None,
        })
    }

    #[tokio::test]
    async fn its_exit_code_may_be_a_weight_and_its_owner_may_be_told() {
        let rows = [
            ("exit 0", Outcome::Good),
            ("exit 1", wrong("script: exit status: 1")),
            ("exit 2", Outcome::Weighed(0)),
            ("exit 255", Outcome::Weighed(253)),
            ("kill -9 $$", wrong("script: signal: 9 (SIGKILL)")),
            ("[ \"$LB_SERVICE:$LB_POOL\" = web: ]", Outcome::Good),
        ];
        for (text, expected) in rows {
            let mut kind = script(&["/bin/sh", "-c", text], None);
            let CheckKind::Command(command) = &mut kind else { unreachable!() };
            (command.dynamic_weight, command.owner) = (true, Some(Owner::Service("web".to_owned())));
            let outcome = run(&target(kind, 81, GENEROUS), &Vips::default(), &Memory::default()).await;
            assert_eq!(outcome, expected, "{text}");
        }
    }

    async fn ask(text: &str, user: Option<&str>, timeout: Duration) -> Outcome {
        let target = target(script(&["/bin/sh", "-c", text], user), 81, timeout);
        run(&target, &Vips::default(), &Memory::default()).await
    }

    #[tokio::test]
    async fn its_exit_code_counts_and_its_last_words_are_told() {
        let told = wrong("script: exit status: 3; it said: no such thing");
        let rows = [
            ("exit 0", Outcome::Good),
            ("[ $LB_REAL = 127.0.0.1 ] && [ $LB_PORT = 81 ]", Outcome::Good),
            ("echo 'no such thing' >&2; exit 3", told),
            // Of the agent's environment it has nothing.
            ("[ -z \"$CARGO_MANIFEST_DIR$HOME\" ]", Outcome::Good),
            ("kill -9 $$", wrong("script: signal: 9 (SIGKILL)")),
        ];
        for (text, expected) in rows {
            assert_eq!(ask(text, None, GENEROUS).await, expected, "{text}");
        }
        let slow = bad("script: it was ended after 300ms; it said: slow");
        assert_eq!(ask("echo slow >&2; sleep 1000 & wait", None, Duration::from_millis(300)).await, slow);
        let endless = ask("exec yes >&2", None, Duration::from_millis(300)).await;
        assert_eq!(endless, bad("script: it was ended after 300ms; it said: y / y / y"));
    }

    #[tokio::test]
    async fn it_runs_as_nobody_unless_told() {
        if !geteuid().is_root() {
            return crate::skip::skip("a script as another user: needs root");
        }
        assert_eq!(ask("[ $(id -un) = nobody ] && [ \"$(id -Gn)\" = nogroup ]", None, GENEROUS).await, Outcome::Good);
        assert_eq!(ask("[ $(id -u) = 0 ]", Some("root"), GENEROUS).await, Outcome::Good);
        let none = ask("exit 0", Some("no-such-user"), GENEROUS).await;
        assert_eq!(none, Outcome::Void("this machine has no user no-such-user".to_owned()));
    }

    #[tokio::test]
    async fn what_cant_be_run_says_nothing_of_the_real_and_is_refused_before() {
        let folder = tempfile::tempdir().unwrap();
        let set = |path: &std::path::Path, mode| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        };
        set(folder.path(), 0o755);
        let path = folder.path().join("check");
        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        let shown = path.display().to_string();
        let rows = [(0o755, None), (0o644, Some("isn't executable")), (0o757, Some("may be written by everybody"))];
        for (mode, expected) in rows {
            set(&path, mode);
            let found = unusable(&script(&[&shown], None));
            assert_eq!(
                found.first().map(|one| one.message.contains(expected.unwrap())),
                expected.map(|_| true),
                "{mode:o}"
            );
            assert!(found.iter().all(|one| one.place == Some(7..9) && !one.mend.is_empty()), "{found:?}");
            let outcome =
                run(&target(script(&[&shown], None), 81, GENEROUS), &Vips::default(), &Memory::default()).await;
            assert_eq!(matches!(outcome, Outcome::Void(_)), expected.is_some(), "{mode:o}: {outcome:?}");
        }
        assert!(unusable(&script(&["/no/such"], None))[0].message.contains("can't be run"));
        assert!(unusable(&script(&["/"], None))[0].message.contains("is not a file"));
        assert_eq!(unusable(&script(&["/bin/sh"], Some("no-such-user")))[0].place, Some(3..4));
    }
}
