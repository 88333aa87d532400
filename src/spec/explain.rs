//! What a key, a section or a setting of the sweep file takes, in plain text for a terminal.
//!
//! In: the tables that the reader goes by, as for the reference. Out: text.

use serde_json::Value as Json;

use super::config::Key;
use super::diagnostics::suggest;
use super::layers::LayerWord;
use super::read::settings::{Field, SECTIONS, Section};
use super::reference::{kind_name, parameters, range, section_name, toml};
use super::value::Value;

/// What a section is written in.
const BRACKETS: [char; 2] = ['[', ']'];

/// The word for the layers of a declared network.
const LAYERS: &str = "layers";

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

/// All about a key, a section, or the layers.
///
/// # Errors
/// What there is instead, where there is nothing of that name.
pub fn explain(topic: &str) -> Result<String, String> {
    let topic = topic.trim_matches(BRACKETS);
    if let Some(key) = Key::from_name(topic) {
        return Ok(key_entry(key));
    }
    if topic == LAYERS {
        let schema = LayerWord::schema(&());
        let kinds = schema["anyOf"].as_array().into_iter().flatten();
        let kinds = kinds.filter(|kind| kind["type"] == "object");
        return Ok(format!(
            "layers of a declared network\n{}",
            kinds.map(kind_entry).collect::<String>()
        ));
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

fn key_entry(key: Key) -> String {
    let schema = key.schema();
    let mut text = format!("{key}  {}\ndefault: {}\n", plain(key.doc()), toml(&schema["default"]));
    let words = schema["anyOf"].as_array().or_else(|| schema["items"]["anyOf"].as_array());
    let Some(any) = words else { return format!("{text}takes: {}\n", plain(&range(&schema))) };
    let described = |kind: &&Json| kind["description"].is_string() && kind["type"] != "array";
    text.extend(any.iter().filter(described).map(kind_entry));
    for list in any.iter().filter(|kind| kind["type"] == "array") {
        text += &format!("or a list of up to {} of these:\n", toml(&list["maxItems"]));
        let kinds = list["items"]["anyOf"].as_array().into_iter().flatten();
        text.extend(kinds.filter(|kind| kind["type"] == "object").map(kind_entry));
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
        for section in ["[run]", "[grid]", "[[zip]]", "[[claim]]"] {
            let text = explain(section).unwrap();
            assert!(text.starts_with(&format!("{section}  ")), "as one writes it: {text}");
        }
    }
}
