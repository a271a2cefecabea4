//! Finds this machine's own Debian mirror in apt's source lists, in both of their formats (sources.list(5)).

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// One repository that apt takes binary packages from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// Addresses of the mirror, as written.
    pub(crate) uris: Vec<String>,
    /// Suites, such as `trixie` and `trixie-updates`.
    pub(crate) suites: Vec<String>,
    /// Components, such as `main`.
    pub(crate) components: Vec<String>,
    /// Key ring, if one is named (not when a key is embedded).
    pub(crate) signed_by: Option<String>,
}

/// Every enabled repository of the machine, from `etc` (`/etc/apt`).
pub(crate) fn repositories(etc: &Path) -> Vec<Repository> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    let parsed = files.iter().filter_map(|file| {
        let parse = match file.extension().and_then(OsStr::to_str)? {
            "list" => one_line,
            "sources" => deb822,
            _ => return None,
        };
        Some(parse(&fs::read_to_string(file).ok()?))
    });
    parsed.flatten().collect()
}

/// The address of the machine's Debian mirror: of the repository with Debian's release `codename` itself, not its security
/// archive, which is another archive with other suites. One with Debian's key ring goes first.
pub(crate) fn debian_mirror<'a>(repositories: &'a [Repository], codename: &str) -> Option<&'a str> {
    const ROLLING: [&str; 5] = ["stable", "oldstable", "testing", "unstable", "sid"];
    let is_debian = |repository: &&Repository| {
        repository.components.iter().any(|component| component == "main")
            && repository.suites.iter().any(|suite| suite == codename || ROLLING.contains(&suite.as_str()))
    };
    let signed = |repository: &&Repository| {
        repository.signed_by.as_deref().is_some_and(|keyring| keyring.contains("debian-archive"))
    };
    let mut candidates = repositories.iter().filter(is_debian);
    let first = candidates.clone().find(signed).or_else(|| candidates.next())?;
    first.uris.first().map(String::as_str)
}

/// Reads the format of `*.sources`: stanzas of fields.
pub(crate) fn deb822(text: &str) -> Vec<Repository> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<Repository> {
    let words = |name: &str| -> Vec<String> {
        let value = field(lines, name).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let enabled = words("Enabled").first().is_none_or(|value| !["no", "false", "0"].contains(&value.as_str()));
    let repository = Repository {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        signed_by: words("Signed-By").first().filter(|keyring| keyring.starts_with('/')).cloned(),
    };
    let usable = enabled && words("Types").iter().any(|kind| kind == "deb") && !repository.uris.is_empty();
    usable.then_some(repository)
}

/// A field's value with its continuation lines, which start with a blank.
fn field(lines: &[&str], name: &str) -> Option<String> {
    let mut rest = lines.iter().skip_while(|line| {
        line.split_once(':').is_none_or(|(key, _)| key.starts_with([' ', '\t']) || !key.eq_ignore_ascii_case(name))
    });
    let (_, first) = rest.next()?.split_once(':')?;
    let continued = rest.take_while(|line| line.starts_with([' ', '\t'])).copied();
    Some(std::iter::once(first).chain(continued).collect::<Vec<_>>().join(" "))
}

/// Reads the format of `*.list`: `deb [option=value …] uri suite component…`.
pub(crate) fn one_line(text: &str) -> Vec<Repository> {
    text.lines().filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Repository> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    // Not `deb-src`.
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let uri = words.next().filter(|uri| !uri.starts_with("cdrom:"))?;
    let suite = words.next()?;
    Some(Repository {
        uris: vec![uri],
        suites: vec![suite],
        components: words.collect(),
        signed_by: signed_by(options),
    })
}

fn signed_by(options: &str) -> Option<String> {
    let mut pairs = options.split_whitespace().filter_map(|option| option.split_once('='));
    let (_, keyring) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("signed-by"))?;
    keyring.split(',').next().filter(|keyring| keyring.starts_with('/')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Repository, deb822, debian_mirror, one_line};

    const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

    fn repository(uri: &str, suites: &[&str], components: &[&str], signed_by: Option<&str>) -> Repository {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Repository {
            uris: vec![uri.to_owned()],
            suites: owned(suites),
            components: owned(components),
            signed_by: signed_by.map(str::to_owned),
        }
    }

    #[test]
    fn stanzas_are_read_with_comments_continuations_and_options() {
        let text = "\
# the system's
Types: deb deb-src
# a comment within
uris: http://mirror.example/debian
Suites: trixie
 trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: trixie-security
Components: main
Enabled: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 URIs: nonsense
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main
";
        let expected = [
            repository(
                "http://mirror.example/debian",
                &["trixie", "trixie-updates"],
                &["main", "contrib"],
                Some(KEYRING),
            ),
            repository("http://mirror.example/security", &["trixie-security"], &["main"], None),
        ];
        assert_eq!(deb822(text), expected);
    }

    #[test]
    fn lines_are_read_with_comments_and_options() {
        let text = "\
# deb http://off.example/debian trixie main
deb http://mirror.example/debian trixie main contrib # mine
  deb\t[ arch=amd64  signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] http://b.example/d trixie-updates main
deb [signed-by=/a.gpg,/b.gpg arch=amd64] http://c.example/d ./
deb [trusted=yes] cdrom:[Debian]/ trixie main
deb-src http://mirror.example/debian trixie main
deb http://incomplete.example
deb
";
        let expected = [
            repository("http://mirror.example/debian", &["trixie"], &["main", "contrib"], None),
            repository("http://b.example/d", &["trixie-updates"], &["main"], Some(KEYRING)),
            repository("http://c.example/d", &["./"], &[], Some("/a.gpg")),
        ];
        assert_eq!(one_line(text), expected);
    }

    #[test]
    fn the_mirror_is_that_of_the_release_not_of_security_or_of_others() {
        let security = || repository("http://m/security", &["trixie-security"], &["main"], Some(KEYRING));
        let other = || repository("http://other", &["trixie"], &["stable"], None);
        let backports = || repository("http://m/debian", &["trixie-backports"], &["main"], Some(KEYRING));
        let unsigned = || repository("http://vendor", &["trixie"], &["main"], None);
        let own = || repository("http://m/debian", &["trixie", "trixie-updates"], &["main"], Some(KEYRING));
        let rolling = || repository("http://m/rolling", &["sid"], &["main"], None);

        let cases: [(Vec<Repository>, Option<&str>); 5] = [
            (vec![security(), other(), unsigned(), own()], Some("http://m/debian")),
            (vec![security(), unsigned()], Some("http://vendor")),
            (vec![security(), other(), backports()], None),
            (vec![rolling()], Some("http://m/rolling")),
            (vec![], None),
        ];
        for (repositories, expected) in cases {
            assert_eq!(debian_mirror(&repositories, "trixie"), expected, "{repositories:?}");
        }
    }
}
