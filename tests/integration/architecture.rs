//! The law of the house: which folder may use which. Data flows one way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Free to all.
const FREE: &[&str] = &["ids", "units", "event"];

/// Folder -> what it may use beside itself and [`FREE`].
const LAW: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("record", &["spec"]),
    ("plan", &["spec", "record"]),
    ("executor", &["record", "spec"]),
    ("dispatch", &["plan", "executor", "record", "spec"]),
    ("train", &["spec", "record"]),
    ("worker", &["train", "record", "spec"]),
    ("aggregate", &["record", "spec"]),
    ("report", &["aggregate", "spec"]),
    ("display", &["plan", "aggregate", "spec"]),
    ("fetch", &["spec"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The top-level modules that a text names as `crate::module`, its tests left out: they may build
/// what they need from anywhere.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .filter(|module: &String| !module.is_empty())
        .collect()
}

#[test]
fn every_folder_uses_only_what_the_law_allows() {
    let law: BTreeMap<&str, &[&str]> = LAW.iter().copied().collect();
    let mut broken = Vec::new();
    for entry in fs::read_dir(source()).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !folder.is_dir() || name == "cli" {
            continue;
        }
        let allowed = law.get(name.as_str()).unwrap_or_else(|| panic!("no law for src/{name}/"));
        for file in rust_files(&folder) {
            for module in used(&fs::read_to_string(&file).unwrap()) {
                let free = FREE.contains(&module.as_str()) || module == name;
                if !free && !allowed.contains(&module.as_str()) {
                    let file = file.strip_prefix(source()).unwrap().display().to_string();
                    broken.push(format!("src/{file} uses crate::{module}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_the_engine_knows_candle() {
    for file in rust_files(&source()) {
        let inside = file.strip_prefix(source()).unwrap();
        if inside.starts_with("train") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        assert!(!code.join("\n").contains("candle"), "src/{} names candle", inside.display());
    }
}

#[test]
fn no_file_outgrows_its_idea_and_no_name_says_nothing() {
    let empty_names = ["utils", "helpers", "common", "misc", "base", "imp", "manager", "util"];
    for file in rust_files(&source()) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines: split it by its ideas", file.display());
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!empty_names.contains(&stem.as_str()), "{}", file.display());
    }
}

#[test]
fn the_law_itself_has_no_circle() {
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    while settled.len() < LAW.len() {
        let next: Vec<&str> = LAW
            .iter()
            .filter(|(name, uses)| {
                !settled.contains(name) && uses.iter().all(|u| settled.contains(u))
            })
            .map(|(name, _)| *name)
            .collect();
        assert!(!next.is_empty(), "a circle among what is not in {settled:?}");
        settled.extend(next);
    }
}
