//! What docs/ says of the file.

use std::path::Path;

use super::load;
use crate::config::reference;

#[test]
fn every_example_of_the_reference_page_is_good() {
    let page = include_str!("../../../../docs/configuration.md");
    let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 12);
    for example in examples {
        if let Err(error) = load(example) {
            panic!("{example}\n{error}");
        }
    }
}

#[test]
fn the_page_of_checks_has_a_part_for_each_kind_and_good_examples() {
    let page = include_str!("../../../../docs/checks.md");
    for kind in crate::config::section::check::kinds() {
        assert!(page.contains(&format!("\n## {}\n", kind.word)), "{} has no part", kind.word);
    }
    for example in page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        if let Err(error) = load(example) {
            panic!("{example}\n{error}");
        }
    }
}

#[test]
fn the_reference_page_names_every_key() {
    let page = include_str!("../../../../docs/configuration.md");
    // A key that nobody has, in each kind of section: the mend lists those that there are.
    let text = "x = 1\n[director]\nx = 1\n[flows]\nx = 1\n[limits]\nx = 1\n[peers]\nx = 1\n[vrrp.a]\nx = 1\n\
                announce = { x = 1 }\ntrack = [{ x = 1 }]\n[script.a]\nx = 1\n[sync_group.a]\nx = 1\n[pool.a]\nx = 1\n[service.a]\nx = 1\ncheck = { x = 1, tls = { x = 1 } }\nreals = [{ x = 1 }]\nfleet = { x = 1 }\n";
    let error = load(text).unwrap_err();
    let mut lists = 0;
    for diagnostic in error.diagnostics() {
        let Some(keys) = diagnostic.mend.strip_prefix("its keys are ") else {
            continue;
        };
        lists += 1;
        for key in keys.replace(" or ", ", ").split(", ") {
            let table = [format!("| `{key}` |"), format!("`[{key}]`"), format!("`[{key}.NAME]`")];
            assert!(table.iter().any(|form| page.contains(form)), "{key} is not described");
        }
    }
    assert_eq!(lists, 16);
}

#[test]
fn the_page_of_fleets_has_good_examples() {
    let page = include_str!("../../../../docs/fleet.md");
    for example in page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        if let Err(error) = load(example) {
            panic!("{example}\n{error}");
        }
    }
}

/// What is generated from the keys' declarations; `LB_REGENERATE=1` writes it anew.
#[test]
fn the_documentation_is_what_the_declarations_say() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let page = std::fs::read_to_string(docs.join("configuration.md")).unwrap();
    let schema = serde_json::to_string_pretty(&reference::json_schema()).unwrap();
    let pages = [("configuration.md", reference::rewrite(&page).unwrap()), ("lb.schema.json", format!("{schema}\n"))];
    for (name, generated) in pages {
        let path = docs.join(name);
        if std::env::var_os("LB_REGENERATE").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == generated, "{name} is behind the keys: LB_REGENERATE=1 cargo test -p lb-userspace config");
    }
}
