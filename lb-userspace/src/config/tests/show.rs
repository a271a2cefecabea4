//! What `lb config show` writes is read as the same.

use std::path::Path;

use proptest::prelude::*;

use super::super::{Texts, parse, show};

const RICH: &str = include_str!("../../../../tests/config/rich.toml");

/// What is shown of a text reads back as the same, and shows as the same.
fn holds(text: &str) {
    let path = Path::new("lb.toml");
    let Ok(loaded) = parse(path, text) else { return };
    let shown = show(&Texts::one(path, text), "", true).unwrap();
    let again = parse(path, &shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    assert!(again.config == loaded.config, "{text}\n\nshown as\n{shown}");
    let twice = show(&Texts::one(path, &shown), "", true).unwrap();
    let values = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.replace(" # default", "")).collect();
        lines.sort();
        lines
    };
    assert_eq!(values(&twice), values(&shown));
}

#[test]
fn every_file_of_ours_is_shown_as_it_is() {
    parse(Path::new("lb.toml"), RICH).unwrap_or_else(|error| panic!("{error}"));
    holds(RICH);
    holds(super::REFERENCE);
    for page in [
        include_str!("../../../../docs/configuration.md"),
        include_str!("../../../../docs/checks.md"),
        include_str!("../../../../docs/fleet.md"),
    ] {
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).for_each(holds);
    }
}

#[test]
fn defaults_are_marked_and_secrets_stay_out() {
    let texts = Texts::one(Path::new("lb.toml"), super::REFERENCE);
    let shown = show(&texts, "", false).unwrap();
    for line in [
        "\n[director]\n",
        "\nhash_seed = 0 # default\n",
        "\n[vrrp.web.announce]\n",
        "\n# password = … is not shown: --secrets does\n",
        "\n[[service.web.reals]]\naddress = \"172.28.128.40\"\nweight = 1\n",
        "\n[flows]\n",
        "\ntcp = \"15m\" # default\n",
    ] {
        assert!(format!("\n{shown}").contains(line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("PassW0rD") && !shown.contains("release_after"), "{shown}");
    assert!(show(&texts, "", true).unwrap().contains("password = \"PassW0rD\"\n"));
}

#[test]
fn what_holds_on_one_host_is_in_its_place() {
    let text = format!("{}\n[on.lb2.vrrp.web]\npriority = 200\n", super::REFERENCE);
    let texts = Texts::one(Path::new("lb.toml"), &text).and(Path::new("a.toml"), "[flows]\nudp = \"1m\"\n");
    let shown = show(&texts, "lb2", true).unwrap();
    assert!(
        shown.contains("priority = 200\n") && shown.contains("udp = \"1m\"\n") && !shown.contains("on.lb2"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A file without some of its lines, where that is one.
    #[test]
    fn any_configuration_reads_back_as_the_same(gone in prop::collection::hash_set(0..RICH.lines().count(), 0..12)) {
        let kept = RICH.lines().enumerate().filter(|(at, _)| !gone.contains(at));
        holds(&kept.map(|(_, line)| format!("{line}\n")).collect::<String>());
    }
}
