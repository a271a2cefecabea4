//! "Did you mean": the nearest of the words that could have been meant.

/// The candidate that `word` is most likely a slip of; `None` when none is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Edit distance costs the product of both lengths: a pasted page is no slip of a key.
    if word.chars().count() > 40 {
        return None;
    }
    let folded = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&folded, &other), candidate)
        })
        .filter(|&(distance, candidate)| {
            // A third of the letters may be wrong; in a word of two, one.
            let length = candidate.chars().count().max(folded.chars().count());
            distance < length && distance <= (length / 3).max(1)
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean "x"? Write a, b or c`, or the list alone.
pub fn mend<'a>(word: &str, what: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let list = list(candidates.clone());
    match nearest(word, candidates) {
        Some(near) => format!("did you mean \"{near}\"? {what} {list}"),
        None => format!("{} {list}", what.to_lowercase()),
    }
}

/// `a, b or c`
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["address", "protocol", "scheduler", "ring_size", "check", "reals"];
        let cases = [
            ("adress", Some("address")),
            ("Protocol", Some("protocol")),
            ("ring-size", Some("ring_size")),
            ("shceduler", Some("scheduler")),
            ("real", Some("reals")),
            ("persistence", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(nearest("rrr", ["mh", "sh", "rr", "wrr"]), Some("rr"));
        assert_eq!(nearest("wr", ["mh", "sh", "rr", "wrr"]), Some("rr"));
        assert_eq!(nearest("lc", ["mh", "sh", "rr", "wrr"]), None);
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list([]), "");
        assert_eq!(list(["a"]), "a");
        assert_eq!(list(["a", "b", "c"]), "a, b or c");
    }
}
