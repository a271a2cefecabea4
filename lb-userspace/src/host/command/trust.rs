//! Whether a command may be run with the agent's rights: nobody but root and the agent's own user can have written it,
//! or can put another in its place.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Programs whose first argument that is a path is what they run.
const INTERPRETERS: [&str; 10] = ["sh", "bash", "dash", "ash", "ksh", "zsh", "python", "perl", "ruby", "env"];

/// Why a command is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} {why}, who could have it do anything as this user.\nGive it to root, and take others' right to write")]
pub struct Untrusted {
    path: String,
    why: &'static str,
}

impl Untrusted {
    /// What is wrong, in one line.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{} {}, who could have it do anything", self.path, self.why)
    }
}

/// Looks at the program, at the script that an interpreter is to run, and at the directories above them.
///
/// # Errors
/// Which of them others may write.
pub(super) fn check(argv: &[String]) -> Result<(), Untrusted> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    look(Path::new(program))?;
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = name.trim_end_matches(|char: char| char.is_ascii_digit() || char == '.');
    if INTERPRETERS.contains(&plain)
        && let Some(script) = arguments.iter().find(|argument| argument.starts_with('/'))
    {
        look(Path::new(script))?;
    }
    Ok(())
}

/// Each part of the path as it is written, and each of what it leads to. What isn't there is the kernel's to refuse.
fn look(path: &Path) -> Result<(), Untrusted> {
    if !path.is_absolute() {
        return Ok(());
    }
    let real = fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    let own = nix::unistd::geteuid().as_raw();
    for part in path.ancestors().chain(real.ancestors()) {
        // Follows links, whose own mode says nothing.
        let Ok(held) = fs::metadata(part) else { continue };
        if let Some(why) = judge(held.uid(), held.gid(), held.permissions().mode(), held.is_dir(), own) {
            return Err(Untrusted { path: part.display().to_string(), why });
        }
    }
    Ok(())
}

/// Nobody can replace what another has put into a sticky directory such as /tmp.
fn judge(uid: u32, gid: u32, mode: u32, is_dir: bool, own: u32) -> Option<&'static str> {
    const OTHERS: u32 = 0o002;
    const GROUP: u32 = 0o020;
    const STICKY: u32 = 0o1000;
    if uid != 0 && uid != own {
        return Some("belongs to another user");
    }
    if is_dir && mode & STICKY != 0 {
        return None;
    }
    match mode {
        mode if mode & OTHERS != 0 => Some("may be written by everybody"),
        mode if mode & GROUP != 0 && gid != 0 => Some("may be written by its group"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_write_is_not_trusted() {
        let rows = [
            ((0, 0, 0o755, false, 0), None),
            ((0, 0, 0o775, false, 0), None),
            ((0, 0, 0o757, false, 0), Some("may be written by everybody")),
            ((0, 5, 0o775, false, 0), Some("may be written by its group")),
            ((7, 0, 0o700, false, 0), Some("belongs to another user")),
            ((7, 0, 0o700, false, 7), None),
            ((0, 0, 0o1777, true, 0), None),
            ((0, 0, 0o777, true, 0), Some("may be written by everybody")),
            ((0, 0, 0o1777, false, 0), Some("may be written by everybody")),
            ((7, 7, 0o1755, true, 0), Some("belongs to another user")),
        ];
        for (row, expected) in rows {
            let (uid, gid, mode, is_dir, own) = row;
            assert_eq!(judge(uid, gid, mode, is_dir, own), expected, "{row:?}");
        }
    }

    #[test]
    fn the_script_of_an_interpreter_and_its_directory_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, "exit 0\n").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let path = script.display().to_string();
        let by_shell = ["/bin/sh".to_owned(), "-e".to_owned(), path.clone()];
        let rows = [(0o755, 0o700, true), (0o757, 0o700, false), (0o755, 0o777, false), (0o755, 0o1777, true)];
        for (script_mode, folder_mode, trusted) in rows {
            set(&script, script_mode);
            set(folder.path(), folder_mode);
            for argv in [&[path.clone()][..], &by_shell] {
                assert_eq!(check(argv).is_ok(), trusted, "{argv:?} {script_mode:o} {folder_mode:o}");
            }
            // An argument of a program that runs none.
            assert!(check(&["/bin/true".to_owned(), path.clone()]).is_ok());
        }
        // A link that somebody else could turn.
        set(folder.path(), 0o700);
        let open = tempfile::tempdir().unwrap();
        set(open.path(), 0o777);
        let link = open.path().join("link");
        std::os::unix::fs::symlink(&script, &link).unwrap();
        assert!(check(&[link.display().to_string()]).is_err());
        assert!(check(&[]).is_ok() && check(&["/no/such/program".to_owned()]).is_ok());
    }
}
