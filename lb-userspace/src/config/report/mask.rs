//! Passwords are never echoed: each character of one becomes a star, so that columns stay true.
//!
//! This reads the text itself, not its parsed form: a line that isn't TOML is echoed too, and it is the one
//! that a slip of the keyboard within a password makes.

use super::suggest;

/// `text` with the values of all keys that look like a password's hidden; the same lines and columns.
pub fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut at_start = true;
    while let Some(first) = rest.chars().next() {
        if is_word(first) {
            let (word, behind) = rest.split_at(rest.find(|char| !is_word(char)).unwrap_or(rest.len()));
            out.push_str(word);
            rest = behind;
            if is_secret(word) {
                let (lead, value) = behind.split_at(value(behind, at_start));
                let (hidden, after) = value.split_at(length(value));
                out.push_str(lead);
                out.extend(hidden.chars().map(|char| if matches!(char, '\n' | '\r') { char } else { '*' }));
                rest = after;
            }
            at_start = false;
        } else {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or("");
            at_start = first == '\n' || at_start && matches!(first, ' ' | '\t' | '"' | '\'' | '#');
        }
    }
    out
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || "-_".contains(char)
}

/// Whether a key of this name, misspelt or of another program, would hold a password.
pub fn is_secret(word: &str) -> bool {
    let folded = word.to_lowercase();
    ["pass", "secret", "auth"].iter().any(|part| folded.contains(part))
        || suggest::nearest(word, ["password"]).is_some()
}

/// Where a value starts behind its key; the end of `behind` is never a value's.
fn value(behind: &str, key_starts_line: bool) -> usize {
    let blank = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
    let mut at = usize::from(behind.starts_with(['"', '\'']));
    at += blank(behind.get(at..).unwrap_or(""));
    let rest = behind.get(at..).unwrap_or("");
    if rest.starts_with(['=', ':']) {
        return at + 1 + blank(rest.get(1..).unwrap_or(""));
    }
    // A forgotten = leaves a quoted value, or at a line's start anything.
    if rest.starts_with(['"', '\'']) || key_starts_line { at } else { behind.len() }
}

/// The length of the value that `text` starts with.
fn length(text: &str) -> usize {
    for quotes in ["\"\"\"", "'''"] {
        if let Some(inner) = text.strip_prefix(quotes) {
            return inner.find(quotes).map_or(text.len(), |end| end + 2 * quotes.len());
        }
    }
    let line = text.find(['\n', '\r']).unwrap_or(text.len());
    let Some(quote) = text.chars().next().filter(|char| matches!(char, '"' | '\'')) else {
        return line;
    };
    let mut escaped = false;
    for (at, char) in text.get(..line).unwrap_or("").char_indices().skip(1) {
        if char == quote && !escaped {
            // What goes on behind the quotes belongs to a password that has quotes in it.
            let after = text.get(at + 1..line).unwrap_or("").trim_start();
            let ends = after.is_empty() || after.starts_with([',', '}', ']', '#']);
            return if ends { at + 1 } else { line };
        }
        escaped = char == '\\' && quote == '"' && !escaped;
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_are_hidden_however_they_are_written() {
        let cases = [
            ("password = \"PassW0rD\" # of v2", "password = ********** # of v2"),
            ("a = { password = \"s\", id = 999 }", "a = { password = ***, id = 999 }"),
            ("pasword=\"s\\\"t\"", "pasword=******"),
            ("passwrd = 's\"t'", "passwrd = *****"),
            ("auth_pass = sesame, mucho", "auth_pass = *************"),
            ("\"password\" = \"sä\"", "\"password\" = ****"),
            ("vrrp.a.password = \"s", "vrrp.a.password = **"),
            ("password = \"s\"t\"\nid = 1", "password = *****\nid = 1"),
            ("password = \"\"\"s\nt\"\"\"\nid = 1", "password = ****\n****\nid = 1"),
            ("password \"s\"", "password ***"),
            ("\tpassword sesame", "\tpassword ******"),
            ("#password = \"s\"", "#password = ***"),
            ("password =", "password ="),
            ("[vrrp.web] # the password follows", "[vrrp.web] # the password follows"),
            ("path = \"/check\"", "path = \"/check\""),
        ];
        for (text, expected) in cases {
            assert_eq!(mask(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn lines_and_columns_stay(text in "(password|=|\"|'| |\n|\\\\|\\PC){0,40}") {
            let shape = |text: &str| text.split('\n').map(|line| line.chars().count()).collect::<Vec<_>>();
            prop_assert_eq!(shape(&mask(&text)), shape(&text));
        }
    }
}
