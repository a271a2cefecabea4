//! Which of the languages a text is in.

/// A language that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// keepalived.conf.
    Keepalived,
    /// `ipvsadm-save`, and scripts of `ipvsadm` commands.
    Save,
    /// `ipvsadm -Ln` and `/proc/net/ip_vs`.
    Listing,
}

/// The words that begin a command, without the program's own name.
pub(super) fn command(line: &str) -> Option<Vec<&str>> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if words.first() == Some(&"sudo") {
        words.remove(0);
    }
    let first = *words.first()?;
    if first.rsplit('/').next() == Some("ipvsadm") {
        words.remove(0);
        return Some(words);
    }
    matches!(first, "-A" | "-a" | "-E" | "-e" | "--add-service" | "--add-server").then_some(words)
}

/// The text's language; `None` where it is all white space and comments.
pub(super) fn of(text: &str) -> Option<Format> {
    let said = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with(['#', '!']);
    let mut lines = text.lines().filter(said).peekable();
    lines.peek()?;
    let listed = |line: &str| {
        let mut words = line.split_whitespace();
        let head = words.next().unwrap_or_default();
        line.starts_with("IP Virtual Server version")
            || (matches!(head, "TCP" | "UDP" | "SCTP" | "FWM") && words.count() >= 2)
    };
    for line in lines {
        if command(line).is_some() {
            return Some(Format::Save);
        }
        if listed(line) {
            return Some(Format::Listing);
        }
        // A block of keepalived's, in which a line may look like anything.
        if line.trim_end().ends_with('{') {
            break;
        }
    }
    Some(Format::Keepalived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_from_the_text() {
        let rows = [
            ("", None),
            ("\n# a\n ! b\n", None),
            ("-A -t 192.0.2.1:80 -s wlc\n", Some(Format::Save)),
            ("#!/bin/sh\necho 1\n/sbin/ipvsadm -C\n", Some(Format::Save)),
            ("sudo ipvsadm -A -f 1\n", Some(Format::Save)),
            ("IP Virtual Server version 1.2.1 (size=4096)\n", Some(Format::Listing)),
            ("TCP  C0000201:0050 wlc\n", Some(Format::Listing)),
            ("global_defs {\n  router_id x\n}\n", Some(Format::Keepalived)),
            ("vrrp_script a {\n-A -t\n}\n", Some(Format::Keepalived)),
            ("hello\n", Some(Format::Keepalived)),
        ];
        for (text, format) in rows {
            assert_eq!(of(text), format, "{text:?}");
        }
    }
}
