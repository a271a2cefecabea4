//! The fuzzers' corpora: a test of each parser holds its seeds there and replays all that is in them.

use std::fs;
use std::path::Path;

/// Holds the seeds of a corpus, by their files' names, against what is kept, and returns all of it: what a fuzzer found stands beside
/// them and stays. `LB_REGENERATE=1` writes the seeds anew.
pub(crate) fn held<B: AsRef<[u8]>>(name: &str, seeds: impl IntoIterator<Item = (String, B)>) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    for (file, seed) in seeds {
        let path = corpus.join(file);
        if std::env::var_os("LB_REGENERATE").is_some() {
            fs::create_dir_all(&corpus).unwrap();
            fs::write(&path, &seed).unwrap();
        }
        assert!(fs::read(&path).is_ok_and(|kept| kept == seed.as_ref()), "{}: LB_REGENERATE=1", path.display());
    }
    fs::read_dir(corpus).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}
