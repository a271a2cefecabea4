//! Finds this machine's own Debian mirrors in what apt says that it would fetch.

/// Names of Debian's releases that stand for whichever is current.
const ROLLING: [&str; 5] = ["stable", "oldstable", "testing", "unstable", "sid"];

/// The mirrors that may be Debian's, each once: those that have `main` of the release `codename` itself, then those that
/// have it of a release by a rolling name. Its security archive is another archive, with other suites. Others than Debian
/// use the same names, so whoever asks one believes Debian's keys alone.
///
/// `uris` is what `apt-get update --print-uris` says without lists: a line for each file, its address in quotes first.
/// (`apt-get indextargets` says nothing until there are lists.)
pub(crate) fn debian_mirrors<'a>(uris: &'a str, codename: &str) -> Vec<&'a str> {
    let indices = || uris.lines().filter_map(main_index);
    let release = indices().filter(|(_, suite)| *suite == codename);
    let rolling = indices().filter(|(_, suite)| ROLLING.contains(suite));
    let mut mirrors = Vec::new();
    for (mirror, _) in release.chain(rolling) {
        if !mirrors.contains(&mirror) {
            mirrors.push(mirror);
        }
    }
    mirrors
}

/// The mirror and the suite of a line that is about binary packages of `main`: `'MIRROR/dists/SUITE/main/binary-…' …`.
fn main_index(line: &str) -> Option<(&str, &str)> {
    let (uri, _) = line.strip_prefix('\'')?.split_once('\'')?;
    let (place, _) = uri.split_once("/main/binary-")?;
    place.rsplit_once("/dists/").filter(|(mirror, _)| !mirror.starts_with("cdrom:"))
}

#[cfg(test)]
mod tests {
    use super::debian_mirrors;

    /// As apt 2.6 prints it.
    fn said(files: &[&str]) -> String {
        let lines = files.iter().map(|uri| format!("'{uri}' {} 0 \n", uri.replace('/', "_")));
        lines.collect()
    }

    #[test]
    fn the_mirror_is_that_of_the_release_not_of_security_or_of_others() {
        let cases: [(&[&str], &[&str]); 6] = [
            (
                &[
                    "http://m/debian/dists/trixie/InRelease",
                    "http://m/security/dists/trixie-security/main/binary-amd64/Packages.xz",
                    "http://other/dists/trixie/stable/binary-amd64/Packages.xz",
                    "http://m/debian/dists/trixie-updates/main/binary-amd64/Packages.xz",
                    "http://m/debian/dists/trixie/contrib/binary-amd64/Packages.xz",
                    "http://m/debian/dists/trixie/main/binary-amd64/Packages.xz",
                    "http://m/debian/dists/trixie/main/binary-all/Packages.xz",
                    "http://m/debian/dists/trixie/main/i18n/Translation-en.xz",
                ],
                &["http://m/debian"],
            ),
            (
                &[
                    "https://vendor/apt/dists/stable/main/binary-amd64/Packages.xz",
                    "https://vendor/deb/dists/trixie/main/binary-amd64/Packages.xz",
                    "http://m/debian/dists/trixie/main/binary-amd64/Packages.xz",
                ],
                &["https://vendor/deb", "http://m/debian", "https://vendor/apt"],
            ),
            (&["http://m/rolling/dists/sid/main/binary-amd64/Packages.xz"], &["http://m/rolling"]),
            (&["http://m/debian/dists/trixie-backports/main/binary-amd64/Packages.xz"], &[]),
            (&["cdrom:[Debian]/dists/trixie/main/binary-amd64/Packages.xz", "http://flat/./Packages.xz"], &[]),
            (&[], &[]),
        ];
        for (files, expected) in cases {
            assert_eq!(debian_mirrors(&said(files), "trixie"), expected, "{files:?}");
        }
        assert_eq!(debian_mirrors("Reading package lists...\n'broken\n''\n", "trixie"), [""; 0]);
    }
}
