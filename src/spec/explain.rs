//! What a key, a section or a setting of the sweep file takes, in plain text for a terminal.
//!
//! In: the tables that the reader goes by, as for the reference. Out: text.

use serde_json::Value as Json;

use super::config::Key;
use super::diagnostics::suggest;
use super::layers::LayerWord;
use super::read::generator::GENERATORS;
use super::read::key_alias;
use super::read::settings::{Field, SECTIONS, Section};
use super::reference::{choices, kind_name, parameters, range, section_name, tables, toml};
use super::value::Value;

/// What a section is written in.
const BRACKETS: [char; 2] = ['[', ']'];

/// The word for the layers of a declared network.
const LAYERS: &str = "layers";

/// What introduces them.
const OF_LAYERS: &str = "layers of a declared network";

/// A line for every key, then the sections.
pub fn overview() -> String {
    let width = Key::NAMES.iter().map(|name| name.len()).max().unwrap_or_default();
    let line = |name: &str, doc: &str| format!("  {name:width$}  {}\n", first_sentence(doc));
    let mut text = "keys, for [base] and with a list of values for [grid]\n".to_owned();
    text.extend(Key::ALL.iter().map(|key| line(key.name(), key.doc())));
    text += "\nsections\n";
    text.extend(sections_of_keys().map(|(name, doc)| line(name.trim_matches(BRACKETS), doc)));
    text.extend(SECTIONS[1..].iter().map(|section| line(section.name, section.doc)));
    text += &line(LAYERS, "The layers of a network that is declared: model = { layers = [...] }.");
    text
}

/// All about a key, a section or the layers; about a setting, a kind, a parameter, a layer or a generator,
/// wherever it stands, also by its path (`run.retries.count`, `schedule.gamma`).
///
/// # Errors
/// What there is instead, where there is nothing of that name.
pub fn explain(topic: &str) -> Result<String, String> {
    let topic = topic.trim_matches(BRACKETS);
    if let Some(key) = Key::from_name(topic) {
        return Ok(key_entry(key));
    }
    if topic == LAYERS {
        return Ok(format!("{OF_LAYERS}\n{}", layers().iter().map(kind_entry).collect::<String>()));
    }
    let named = |(name, _): &(&str, &str)| name.trim_matches(BRACKETS) == topic;
    if let Some((name, doc)) = sections_of_keys().find(named) {
        return Ok(format!("{name}  {}\n", plain(doc)));
    }
    let section = |section: &&Section| !section.name.is_empty() && section.name == topic;
    match SECTIONS.iter().find(section) {
        Some(section) => {
            let fields: String = section.fields.iter().map(|field| setting(field, "")).collect();
            Ok(format!("{}  {}\n{fields}", section_name(section), plain(section.doc)))
        }
        None => {
            let parts = parts(topic);
            if !parts.is_empty() {
                return Ok(parts.join("\n"));
            }
            if let Some(help) = key_alias(topic) {
                return Err(help);
            }
            let sections = SECTIONS[1..].iter().map(|section| section.name);
            let of_keys = sections_of_keys().map(|(name, _)| name.trim_matches(BRACKETS));
            let names = Key::NAMES.iter().copied();
            let all: Vec<&str> = names.chain(of_keys).chain(sections).chain([LAYERS]).collect();
            Err(suggest(topic, &all))
        }
    }
}

/// The sections that hold keys, `[grid]` say, as the reference writes them.
fn sections_of_keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = include_str!("reference.md").lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter(|row| row.starts_with('[')).filter_map(|row| {
        let (name, doc) = row.split_once("` | ")?;
        Some((name, doc.trim_end_matches(" |")))
    })
}

/// What has `topic` for its name or its path among settings, kinds, parameters and generators.
fn parts(topic: &str) -> Vec<String> {
    let mut found = Vec::new();
    for section in SECTIONS {
        let mut lines = String::new();
        settings_of(section.fields, "", &mut |path, field, prefix| {
            let whole = format!("{}.{path}", section.name);
            if [path, whole.trim_start_matches('.'), field.name].contains(&topic) {
                lines += &setting(field, prefix);
            }
        });
        if !lines.is_empty() {
            let place = match section.name {
                "" => "top of the file".to_owned(),
                _ => section_name(section),
            };
            found.push(format!("{place}\n{lines}"));
        }
    }
    for key in Key::ALL {
        let of_key = |kind: &&Json| is_called(kind, topic, key.name());
        let lines: String = kinds_of(*key).iter().filter(of_key).map(kind_entry).collect();
        if !lines.is_empty() {
            found.push(format!("{key}  {}\n{lines}", first_sentence(key.doc())));
        }
    }
    let layers = layers();
    let layers = layers.iter().filter(|kind| is_called(kind, topic, LAYERS));
    let layers: String = layers.map(kind_entry).collect();
    if !layers.is_empty() {
        found.push(format!("{OF_LAYERS}\n{layers}"));
    }
    if GENERATORS.contains(&topic) {
        let lines = include_str!("reference.md").lines();
        let entry = lines.skip_while(|line| !line.starts_with(&format!("* `{{ {topic} ")));
        let mut entry = entry.map(|line| line.trim_start_matches("* "));
        let first = entry.next().unwrap_or_default();
        let rest = entry.take_while(|line| line.starts_with("  "));
        let text = std::iter::once(first).chain(rest.map(str::trim)).collect::<Vec<_>>().join(" ");
        found.push(format!("values of an axis\n  {}\n", plain(&text).replace("**", "")));
    }
    found
}

/// Every setting of a section with its path in it, and the path before its own name.
fn settings_of(fields: &[Field], prefix: &str, told: &mut dyn FnMut(&str, &Field, &str)) {
    for field in fields {
        let path = format!("{prefix}{}", field.name);
        told(&path, field, prefix);
        settings_of(field.fields, &format!("{path}."), told);
    }
}

/// Is `topic` the kind, a parameter of it, or the path of one that begins with `place`?
fn is_called(kind: &Json, topic: &str, place: &str) -> bool {
    let below = topic.strip_prefix(place).and_then(|rest| rest.strip_prefix('.'));
    let name = below.unwrap_or(topic);
    let properties = kind["properties"].as_object();
    let parameter = properties.is_some_and(|all| name != "kind" && all.contains_key(name));
    parameter || kind["properties"]["kind"]["const"] == name
}

/// The kinds of a key that are written as tables, those of a list's items among them.
fn kinds_of(key: Key) -> Vec<Json> {
    let schema = key.schema();
    let any = choices(&schema).into_iter().flatten();
    let lists = any.clone().filter(|kind| kind["type"] == "array").filter_map(choices).flatten();
    let mut kinds: Vec<Json> = Vec::new();
    for kind in tables(any.chain(lists)) {
        if !kinds.contains(kind) {
            kinds.push(kind.clone());
        }
    }
    kinds
}

fn layers() -> Vec<Json> {
    let schema = LayerWord::schema(&());
    tables(choices(&schema).into_iter().flatten()).cloned().collect()
}

fn key_entry(key: Key) -> String {
    let schema = key.schema();
    let mut text = format!("{key}  {}\ndefault: {}\n", plain(key.doc()), toml(&schema["default"]));
    let Some(any) = choices(&schema) else {
        return format!("{text}takes: {}\n", plain(&range(&schema)));
    };
    let described = |kind: &&Json| kind["description"].is_string() && kind["type"] != "array";
    text.extend(any.iter().filter(described).map(kind_entry));
    for list in any.iter().filter(|kind| kind["type"] == "array") {
        text += &format!("or a list of up to {} of these:\n", toml(&list["maxItems"]));
        text.extend(tables(choices(list).into_iter().flatten()).map(kind_entry));
    }
    text
}

/// A kind of a word with its parameters.
fn kind_entry(kind: &Json) -> String {
    let doc = kind["description"].as_str().unwrap_or_default();
    let parameters = parameters(kind).into_iter();
    let parameters: String = parameters
        .map(|(name, takes, doc)| format!("      {name}  {} ({})\n", plain(doc), plain(&takes)))
        .collect();
    format!("  {}  {}\n{parameters}", kind_name(kind), plain(doc))
}

/// A setting of a section, and the settings in it.
fn setting(field: &Field, prefix: &str) -> String {
    let name = format!("{prefix}{}", field.name);
    let default = match field.default {
        "" => String::new(),
        default => format!("; default {default}"),
    };
    let takes = plain(&range(&(field.schema)()));
    let inner = field.fields.iter().map(|field| setting(field, &format!("{name}.")));
    format!("  {name}  {} ({takes}{default})\n{}", plain(field.doc), inner.collect::<String>())
}

/// Markdown's marks are of no use on a terminal.
fn plain(text: &str) -> String {
    text.replace('`', "").replace('\n', " ")
}

fn first_sentence(doc: &str) -> String {
    let end = doc.find(". ").map_or(doc.len(), |at| at + 1);
    plain(&doc[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_kinds_a_number_and_a_section() {
        let shown = ["optimizer", "lr", "metric"].map(|topic| explain(topic).unwrap());
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn parts_are_explained_by_name_and_by_path() {
        for (topic, begins, has) in [
            ("name", "top of the file\n  name  ", "[metric]\n  name  "),
            ("metric.name", "[metric]\n  name  ", "val_accuracy"),
            ("retries", "[run]\n  retries  ", "retries.count"),
            ("run.retries.count", "[run]\n  retries.count  ", "default 1"),
            ("run.timeout", "[run]\n  timeout  ", "90s"),
            ("seeds", "[repeats]\n  seeds  ", "list"),
            ("schedule.gamma", "schedule  ", "\"exponential\""),
            ("cosine", "schedule  ", "\"cosine\""),
            ("relu", "activation  ", "\"relu\""),
            ("momentum", "batch_norm  ", "optimizer  "),
            ("conv2d", "layers of a declared network\n", "channels"),
            (
                "linspace",
                "values of an axis\n  { linspace = [a, b], num = n }: ",
                "equal distances",
            ),
            ("range", "values of an axis\n  { range = ", "The step may be left out"),
        ] {
            let text = explain(topic).unwrap_or_else(|help| panic!("{topic}: {help}"));
            assert!(text.starts_with(begins) && text.contains(has), "{topic}: {text}");
            assert!(text.lines().count() < 60 && !text.contains('`'), "{topic}: {text}");
        }
        assert!(explain("run.gamma").is_err() && explain("kind").is_err() && explain("").is_err());
        assert!(!explain("schedule.gamma").unwrap().contains("cosine"));
    }

    #[test]
    fn everything_that_the_overview_names_can_be_explained() {
        let overview = overview();
        let topics: Vec<&str> = overview
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
            .collect();
        assert_eq!(topics.len(), Key::ALL.len() + SECTIONS.len() + 7);
        assert!(topics.contains(&"exclude"), "{topics:?}");
        for topic in topics {
            let text = explain(topic).unwrap();
            assert!(text.len() > 20 && !text.contains('`'), "{topic}: {text}");
        }
    }

    #[test]
    fn a_slip_is_understood() {
        assert!(explain("learning").is_err());
        assert!(explain("optimiser").unwrap_err().starts_with("did you mean `optimizer`?"));
        assert_eq!(explain("learning_rate").unwrap_err(), "did you mean `lr`?");
        for section in ["[run]", "[grid]", "[[zip]]", "[[claim]]"] {
            let text = explain(section).unwrap();
            assert!(text.starts_with(&format!("{section}  ")), "as one writes it: {text}");
        }
    }
}
