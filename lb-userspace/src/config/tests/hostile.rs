//! Texts of any kind: none may stop the agent.

use proptest::prelude::*;

use super::{REFERENCE, load};
use crate::config::fuzz::exercise;

/// Loads `text` and renders whatever comes of it.
fn survive(text: &str) {
    match load(text) {
        Ok(loaded) => assert!(!crate::config::describe(&loaded.config, &[]).is_empty()),
        Err(error) => {
            assert!(!error.diagnostics().is_empty(), "an error must say something: {text:?}");
            assert!(!error.render(true).is_empty());
            for line in error.to_string().lines() {
                // A word can't be broken: a message quotes at most 40 characters of the file's.
                assert!(line.chars().count() <= 80 + 60, "{line}");
            }
        }
    }
}

/// Words that take a random text further into the reader than letters would.
fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("[director]\n".to_owned()),
        Just("[service.a]\n".to_owned()),
        Just("[[service.a.reals]]\n".to_owned()),
        Just("[vrrp.a]\n".to_owned()),
        "(interfaces|address|addresses|check|status|advertise|ring_size|reals|weight|id) = ",
        "(\"eth1\"|\"1.2.3.4:80\"|\"fd00::1\"|\"1s\"|\\[|\\]|\\{|\\}|,|\n|65535|-1|1e9|true)",
        "\\PC{0,8}",
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_is_accepted_or_explained(text in "(?s).{0,200}") {
        survive(&text);
    }

    #[test]
    fn any_words_are_accepted_or_explained(text in words()) {
        survive(&text);
    }

    #[test]
    fn a_mutated_reference_is_accepted_or_explained(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, "(?s).{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = REFERENCE.chars().collect();
        for (at, cut, insert) in edits {
            let start = at.index(text.len());
            let end = (start + cut).min(text.len());
            text.splice(start..end, insert.chars());
        }
        survive(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_value_of_any_key_is_accepted_or_explained(
        line in any::<prop::sample::Index>(),
        value in prop_oneof!["\"\\PC{0,60}\"", "-?[0-9]{1,20}", "\\[\"\\PC{0,9}\"\\]", "\\{ [a-z]{1,5} = 1 \\}"],
    ) {
        let mut lines: Vec<String> = REFERENCE.lines().map(str::to_owned).collect();
        let keys: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].contains(" = ")).collect();
        let at = keys[line.index(keys.len())];
        let key = lines[at].trim_start_matches('#').split(" = ").next().unwrap().to_owned();
        lines[at] = format!("{key} = {value}");
        survive(&lines.join("\n"));
    }
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    survive(&format!("a = {}", "[".repeat(100_000)));
    survive(&format!("{} = 1", vec!["a"; 10_000].join(".")));
}

#[test]
fn ten_thousand_reals_load() {
    use std::fmt::Write;
    let mut text = "director.interfaces = [\"eth1\"]\n".to_owned();
    for service in 0..1000 {
        let (high, low) = (service / 250, service % 250 + 1);
        write!(text, "[service.s{service}]\naddress = \"192.0.{high}.{low}:80\"\nprotocol = \"tcp\"\n").unwrap();
        for real in 0..10 {
            let (high, low) = (service / 20, service % 20 * 10 + real + 1);
            write!(text, "[[service.s{service}.reals]]\naddress = \"10.0.{high}.{low}\"\n").unwrap();
        }
    }
    let config = load(&text).unwrap().config;
    let reals: usize = config.services.iter().map(|service| service.reals.len()).sum();
    assert_eq!((config.services.len(), reals), (1000, 10_000));
}

#[test]
fn the_fuzz_corpus_holds_every_example_and_breaks_nothing() {
    let page = include_str!("../../../../docs/configuration.md");
    let examples = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let seeds = (1..).zip(std::iter::once(REFERENCE).chain(examples));
    let seeds = seeds.map(|(number, text)| (format!("example-{number}"), text));
    crate::corpus::held("configuration", seeds).iter().for_each(|bytes| exercise(bytes));
}
