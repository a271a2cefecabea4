//! What the fuzz target `configuration` does with one input. The inputs it has kept are replayed as a test.

use std::path::Path;

use super::machine::{Segments, check};
use super::{Error, Here, Texts, accept, describe, doubts, parse, show};

/// Reads an input as a configuration file, and tells whatever comes of it: an accepted one in words, and held against
/// a machine without interfaces, a refused one with its faults.
///
/// # Panics
/// When a promise of the reader is broken.
#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
pub fn exercise(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let machine = Segments::default();
    // A line of this stands between two files.
    let mut parts = text.split("\n#file\n");
    let first = Texts::one(Path::new("lb.toml"), parts.next().unwrap_or_default());
    let texts = parts.fold(first, |texts, part| texts.and(Path::new("conf.d/more.toml"), part));
    match accept(&texts, "lb1") {
        Err(error) => tell(&error),
        Ok(loaded) => {
            if describe(&loaded.config, &[]).is_empty() {
                panic!("a good file must say something");
            }
            // What is shown of it is read as the same.
            let shown = show(&texts, "lb1", true).unwrap_or_default();
            match parse(Path::new("lb.toml"), &shown) {
                Ok(again) if again.config == loaded.config => {}
                _ => panic!("it is shown as another one"),
            }
            check(&loaded, &machine, |_| false).err().iter().for_each(tell);
            let here = Here { segments: &machine, program: &|_| Some("isn't there") };
            doubts(&loaded, Some(&here)).iter().for_each(tell);
        }
    }
}

#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
fn tell(error: &Error) {
    if error.diagnostics().is_empty() || error.render(true).is_empty() {
        panic!("an error must say something");
    }
}
