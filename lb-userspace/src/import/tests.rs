//! The corpus: files of all styles with what comes of them, hostile ones with their error, and what holds for any text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::fuzz::exercise;
use super::{Error, Fate, Files, Imported, Options, import};

/// The corpus, as if it were the folder that keepalived reads.
struct Corpus;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/import");

impl Files for Corpus {
    fn list(&self, pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
        let found = glob::glob(&Path::new(FOLDER).join(pattern).to_string_lossy()).unwrap();
        Ok(found.map(|path| path.unwrap().strip_prefix(FOLDER).unwrap().to_owned()).collect())
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(Path::new(FOLDER).join(path))?).into_owned())
    }
}

fn options() -> Options {
    Options { host: "main".to_owned(), interfaces: Vec::new() }
}

fn run(path: &str) -> Result<Imported, Error> {
    import(Path::new(path), &Corpus.read(Path::new(path)).unwrap(), &options(), &Corpus)
}

/// The files of a folder that are imported, in order.
fn inputs(folder: &str) -> Vec<String> {
    let files = fs::read_dir(Path::new(FOLDER).join(folder)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".conf") || name.ends_with(".ipvs")).collect();
    names.sort();
    names
}

/// `LB_REGENERATE=1` writes what is expected anew.
fn holds(path: &str, text: &str) {
    let path = Path::new(FOLDER).join(path);
    if std::env::var_os("LB_REGENERATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{}", path.display());
}

#[test]
fn files_of_all_styles() {
    let names = inputs("");
    assert!(names.len() >= 37, "{}", names.len());
    for name in names {
        let imported = run(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let stem = name.replace('.', "-");
        holds(&format!("expected/{stem}.toml"), &imported.toml);
        holds(&format!("expected/{stem}.txt"), &imported.report.text("lb.toml"));
    }
}

/// docs/migrating.md shows what is true.
#[test]
fn the_guide_shows_what_comes_of_it() {
    let page = include_str!("../../../docs/migrating.md");
    let imported = run("lvs-dr-web.conf").unwrap();
    for part in [imported.toml, imported.report.text("lb.toml")] {
        assert!(
            page.contains(&format!("```text\n{part}```")) || page.contains(&format!("```toml\n{part}```")),
            "{part}"
        );
    }
}

#[test]
fn hostile_ones_have_one_error_each() {
    for name in inputs("hostile") {
        let error = run(&format!("hostile/{name}")).err().unwrap_or_else(|| panic!("{name} was taken"));
        holds(&format!("hostile/{name}.error"), &format!("{error}\n"));
    }
}

/// Each said line is told of, by itself or in a range.
fn told(imported: &Imported) -> BTreeSet<(String, usize)> {
    let places = imported.report.entries.iter().flat_map(|entry| &entry.places);
    places.flat_map(|(file, lines)| lines.iter().map(|line| (file.clone(), *line))).collect()
}

#[test]
fn each_line_is_told_of_and_an_unknown_word_anywhere_is_named() {
    for name in inputs("").into_iter().filter(|name| name.ends_with(".conf")) {
        let text = Corpus.read(Path::new(&name)).unwrap();
        let count = text.lines().count();
        for at in 0..=count {
            let mut lines: Vec<&str> = text.lines().collect();
            // Not between the lines of one statement.
            if at > 0
                && lines[..at]
                    .iter()
                    .rev()
                    .find(|line| !line.trim_start().starts_with('#'))
                    .is_some_and(|line| line.trim_end().ends_with('\\'))
            {
                continue;
            }
            lines.insert(at, "zzz_stranger 1");
            let text = lines.join("\n");
            let imported = match import(Path::new(&name), &text, &options(), &Corpus) {
                Ok(imported) => imported,
                // It stands before a brace now, and is a block's name or takes it.
                Err(_) if lines.get(at + 1).is_some_and(|line| line.trim() == "{") => continue,
                Err(error) => panic!("{name}: {error}"),
            };
            let entry = imported
                .report
                .entries
                .iter()
                .find(|entry| entry.places.iter().any(|(file, lines)| *file == name && lines.contains(&(at + 1))));
            let entry = entry.unwrap_or_else(|| panic!("{name}:{} isn't told of", at + 1));
            let alone = entry.what.starts_with("zzz_stranger");
            // Within a block that is told of as a whole it is one of its lines.
            assert!(alone || entry.fate >= Fate::Changed, "{name}:{}: {entry:?}", at + 1);
            let told = told(&imported);
            for (number, line) in (1..).zip(&lines) {
                let said = line.trim().split(['#', '!']).next().is_some_and(|said| !said.is_empty());
                assert!(!said || told.contains(&(name.clone(), number)), "{name}:{number}: {line}");
            }
        }
    }
}

/// A line of a file, right or wrong.
fn line() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "global_defs {",
        "vrrp_instance A {",
        "vrrp_script S {",
        "virtual_server 192.0.2.1 80 {",
        "virtual_server group G {",
        "virtual_server_group G {",
        "real_server 192.0.2.2 80 {",
        "TCP_CHECK {",
        "HTTP_GET {",
        "url {",
        "}",
        "{",
        "interface eth0",
        "virtual_ipaddress {",
        "192.0.2.1/24",
        "192.0.2.1 80",
        "track_script {",
        "S weight 4",
        "S",
        "script \"/bin/x y\"",
        "weight 3",
        "path /",
        "lb_kind DR",
        "lb_kind NAT",
        "lb_algo rr",
        "priority 255",
        "state MASTER",
        "@one priority 7",
        "@^one priority 8",
        "$X=1",
        "$X= \\",
        "$X",
        "${X}.1",
        "~SEQ(N, 1, 3) ${N}",
        "~LST(N, a, b) weight ${N}",
        "include a.conf",
        "include missing",
        "include *.conf",
        "# comment",
        "! comment",
        "",
        "unknown word",
        "notify_master \"/bin/a b\" user",
        "delay_loop 6",
        "retry 3",
        "connect_timeout 99999",
        "auth_pass secret",
        "authentication {",
        "unicast_peer {",
        "vrrp_sync_group G {",
        "group {",
        "A B",
        "fwmark 3",
        "protocol UDP",
        "persistence_timeout 5",
        "\"",
        "'a b'",
        "-A -t 192.0.2.1:80 -s rr",
        "-a -t 192.0.2.1:80 -r 192.0.2.2:80 -g -w 1",
        "TCP  192.0.2.1:80 rr",
        "  -> 192.0.2.2:80 Route 1 0 0",
    ];
    prop_oneof![9 => proptest::sample::select(WORDS).prop_map(str::to_owned), 1 => "[ -~]{0,20}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_refused_or_told_of_line_by_line(lines in proptest::collection::vec(line(), 0..40)) {
        exercise(lines.join("\n").as_bytes());
    }

    /// The same, of texts whose blocks are closed.
    #[test]
    fn blocks_of_any_lines_are_told_of(lines in proptest::collection::vec(line(), 0..40)) {
        let mut text = "vrrp_instance V {\n}\n".to_owned();
        let mut depth = 0_usize;
        for line in lines.iter().filter(|line| !line.contains('"') && !line.starts_with("include") && *line != "{") {
            if line == "}" && depth == 0 || line.ends_with('{') && depth == 8 {
                continue;
            }
            depth = if line.ends_with('{') { depth + 1 } else if line == "}" { depth - 1 } else { depth };
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&"}\n".repeat(depth));
        exercise(text.as_bytes());
    }
}

#[test]
fn the_fuzz_corpus_holds_every_file_and_breaks_nothing() {
    let seeds = ["", "hostile"].into_iter().flat_map(|folder| {
        let of = move |name: String| {
            let bytes = fs::read(Path::new(FOLDER).join(folder).join(&name)).unwrap();
            (format!("{folder}{name}"), bytes)
        };
        inputs(folder).into_iter().map(of)
    });
    crate::corpus::held("import", seeds).iter().for_each(|bytes| exercise(bytes));
}
