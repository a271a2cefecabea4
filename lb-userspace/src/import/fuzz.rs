//! What the fuzz target `import` does with one input. The inputs it has kept are replayed as a test.

use std::io;
use std::path::{Path, PathBuf};

use super::{Fate, Files, Options, import};

/// A folder that has the input itself under every name: what it includes, it includes from itself.
struct Mirror<'a>(&'a str);

impl Files for Mirror<'_> {
    fn list(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![pattern.with_file_name("a.conf"), pattern.with_file_name("b.conf")])
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        if path.ends_with("missing") { Err(io::ErrorKind::NotFound.into()) } else { Ok(self.0.to_owned()) }
    }
}

/// Imports an input, and holds the result against what is promised.
///
/// # Panics
/// When a promise is broken.
#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
pub fn exercise(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let options = Options { host: "one".to_owned(), interfaces: Vec::new() };
    let path = Path::new("/etc/keepalived/keepalived.conf");
    let once = import(path, &text, &options, &Mirror(&text));
    let imported = match once {
        Err(error) if error.to_string().is_empty() => panic!("an error must say something"),
        Err(_) => return,
        Ok(imported) => imported,
    };
    for file in &imported.report.files {
        let told = file.carried + file.changed + file.left + file.unknown + file.elsewhere + file.silent;
        if told != file.lines {
            panic!("{} of {} lines of {} are told", told, file.lines, file.name);
        }
    }
    let silent = |entry: &super::Entry| matches!(entry.fate, Fate::Left | Fate::Changed) && entry.how.is_empty();
    if let Some(entry) = imported.report.entries.iter().find(|entry| silent(entry)) {
        panic!("nothing is told of {entry:?}");
    }
    // Whatever is in it, the file is TOML: only values may be refused.
    if let Err(error) = imported.toml.parse::<toml::Table>() {
        panic!("{error}\n{}", imported.toml);
    }
    let again = import(path, &text, &options, &Mirror(&text));
    if again
        .ok()
        .is_none_or(|again| again.toml != imported.toml || again.report.to_string() != imported.report.to_string())
    {
        panic!("the same input must give the same output");
    }
}
