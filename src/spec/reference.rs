//! The reference of the sweep file, `docs/reference/sweep-file.md`.
//!
//! In: the prose in `reference.md` and the tables that the reader goes by. Out: Markdown. A key, a
//! kind or a setting that is added to the tables is in the reference, or a test fails.

use serde_json::Value as Json;

use super::config::Key;
use super::layers::LayerWord;
use super::read::generator::MOST;
use super::read::settings::{Field, REPEATED, SECTIONS, Section};
use super::value::Value;

/// The whole reference.
pub fn reference() -> String {
    let keys: String = Key::ALL.iter().map(|key| key_entry(*key)).collect();
    let settings: String = SECTIONS[1..]
        .iter()
        .map(|section| {
            let table = settings_table(section.fields, "");
            let name = section_name(section);
            format!("### `{name}`\n\n{}\n\n{table}\n", section.doc)
        })
        .collect();
    let top = &SECTIONS[0];
    let top = format!("## Top of the file\n\n{}\n\n{}", top.doc, settings_table(top.fields, ""));
    include_str!("reference.md")
        .replace("{{top}}", &top)
        .replace("{{keys}}", keys.trim_end())
        .replace("{{layers}}", &layers())
        .replace("{{settings}}", settings.trim_end())
        .replace("{{most}}", &MOST.to_string())
}

/// How a section is written: `[run]`, `[[claim]]`.
pub(super) fn section_name(section: &Section) -> String {
    match REPEATED.contains(&section.name) {
        true => format!("[[{}]]", section.name),
        false => format!("[{}]", section.name),
    }
}

/// A key with its type, default, meaning and, for a word, its kinds.
fn key_entry(key: Key) -> String {
    let schema = key.schema();
    let default = toml(&schema["default"]);
    let mut entry = format!("### `{key}`\n\n{}\n\n", key.doc());
    match choices(&schema) {
        Some(any) => {
            entry +=
                &format!("Default: `{default}`.\n\n| kind | what | parameters |\n|---|---|---|\n");
            let described =
                |kind: &&Json| kind["description"].is_string() && kind["type"] != "array";
            entry.extend(any.iter().filter(described).map(kind_row));
            entry.extend(any.iter().filter(|kind| kind["type"] == "array").map(list_entry));
        }
        None => entry += &format!("{}; default: `{default}`.\n", sentence(&range(&schema))),
    }
    entry + "\n"
}

/// The choices of a word, or of the words of a list.
pub(super) fn choices(schema: &Json) -> Option<&Vec<Json>> {
    schema["anyOf"].as_array().or_else(|| schema["items"]["anyOf"].as_array())
}

/// Those that are written as tables.
pub(super) fn tables<'a>(
    choices: impl IntoIterator<Item = &'a Json>,
) -> impl Iterator<Item = &'a Json> {
    choices.into_iter().filter(|choice| choice["type"] == "object")
}

/// The layers of a declared network.
fn layers() -> String {
    let schema = LayerWord::schema(&());
    let rows: String = tables(choices(&schema).into_iter().flatten()).map(kind_row).collect();
    format!("| layer | what | parameters |\n|---|---|---|\n{}", rows.trim_end())
}

/// What the items of a list may be, where a key takes a list of words.
fn list_entry(list: &Json) -> String {
    let rows: String = tables(choices(list).into_iter().flatten()).map(kind_row).collect();
    format!(
        "\nOr a list of up to {} of these:\n\n| kind | what | parameters |\n|---|---|---|\n{rows}",
        toml(&list["maxItems"])
    )
}

/// A kind of a word, or another described choice, as a row of a table.
fn kind_row(kind: &Json) -> String {
    let parameters = parameters(kind).into_iter();
    let parameters: Vec<String> =
        parameters.map(|(name, takes, doc)| format!("`{name}` ({takes}): {doc}")).collect();
    let name = kind_name(kind);
    let doc = kind["description"].as_str().unwrap_or_default();
    format!("| `{name}` | {} | {} |\n", cell(doc), cell(&parameters.join("<br>")))
}

/// The parameters of a kind, sorted: the name, what it takes with its default, what it is.
pub(super) fn parameters(kind: &Json) -> Vec<(&str, String, &str)> {
    let properties = kind["properties"].as_object().into_iter().flatten();
    let mut parameters: Vec<(&str, String, &str)> = properties
        .filter(|(name, _)| *name != "kind")
        .map(|(name, schema)| {
            let default = match schema.get("default") {
                Some(default) => format!("default `{}`", toml(default)),
                None => "must be written".to_owned(),
            };
            let takes = format!("{}; {default}", range(schema));
            (name.as_str(), takes, schema["description"].as_str().unwrap_or_default())
        })
        .collect();
    parameters.sort();
    parameters
}

/// How a kind is written: `"step"`, `true`, `{ … }`.
pub(super) fn kind_name(kind: &Json) -> String {
    match [&kind["properties"]["kind"]["const"], &kind["const"]] {
        [Json::Null, Json::Null] => "{ … }".to_owned(),
        [Json::Null, name] | [name, _] => toml(name),
    }
}

fn settings_table(fields: &[Field], prefix: &str) -> String {
    let head = if prefix.is_empty() {
        "| setting | type | default | what |\n|---|---|---|---|\n"
    } else {
        ""
    };
    let rows: String = fields
        .iter()
        .map(|field| {
            let (name, default) = (format!("{prefix}{}", field.name), field.default);
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            let kind = cell(&range(&(field.schema)()));
            let row = format!("| `{name}` | {kind} | {default} | {} |\n", cell(field.doc));
            row + &settings_table(field.fields, &format!("{name}."))
        })
        .collect();
    head.to_owned() + if rows.is_empty() { "" } else { &rows }
}

/// What a schema of a table is called.
const TABLE: &str = "table";

/// What each alternative of a schema takes, those of alternatives among them.
fn alternatives(schema: &Json) -> Vec<String> {
    let Some(any) = schema["anyOf"].as_array() else { return vec![range(schema)] };
    // A kind without parameters is written as its name; the table that also stands for it would only
    // puzzle here.
    let bare =
        |kind: &&Json| kind["properties"].as_object().is_some_and(|fields| fields.len() == 1);
    any.iter().filter(|kind| !bare(kind)).flat_map(alternatives).collect()
}

/// What a schema takes, in words: `number greater than 0`.
pub(super) fn range(schema: &Json) -> String {
    if schema["anyOf"].is_array() {
        let mut any = alternatives(schema);
        // One mention of tables, after all words.
        let tables = any.len();
        any.retain(|alternative| alternative != TABLE);
        if any.len() < tables {
            any.push(TABLE.to_owned());
        }
        any.dedup();
        return any.join(", or ");
    }
    if schema["$ref"].is_string() {
        return "condition".to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", toml(word))).collect();
        return words.join(", ");
    }
    if !schema["const"].is_null() {
        return format!("`{}`", toml(&schema["const"]));
    }
    let bound = |word: &str| schema.get(word).map(toml);
    let what = match schema["type"].as_str().unwrap_or_default() {
        "integer" => "whole number",
        "boolean" => "true or false",
        "string" if schema["title"].is_string() => {
            let examples = schema["examples"].as_array().into_iter().flatten();
            let examples: Vec<String> = examples.map(|text| format!("`{}`", toml(text))).collect();
            let title = schema["title"].as_str().unwrap_or_default();
            return format!("{title} such as {}", examples.join(", "));
        }
        "string" => "text",
        "object" => TABLE,
        "array" => {
            let (least, most) = (&schema["minItems"], &schema["maxItems"]);
            let length = if least == most { toml(least) } else { format!("{least} to {most}") };
            return format!("list of {length} items, each a {}", range(&schema["items"]));
        }
        other => other,
    };
    let low = bound("minimum").map(|x| format!("at least {x}"));
    let low = low.or(bound("exclusiveMinimum").map(|x| format!("greater than {x}")));
    let high = bound("maximum").map(|x| format!("at most {x}"));
    let high = high.or(bound("exclusiveMaximum").map(|x| format!("below {x}")));
    match (low, high) {
        (Some(low), Some(high)) => format!("{what}, {low} and {high}"),
        (Some(one), None) | (None, Some(one)) => format!("{what}, {one}"),
        (None, None) => what.to_owned(),
    }
}

/// A JSON value as TOML writes it in one line.
pub(super) fn toml(value: &Json) -> String {
    match value {
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} = {}", toml(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Json::Array(items) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        Json::Number(number) => number
            .as_f64()
            .filter(|x| x.fract() == 0.0)
            .map_or(number.to_string(), |x| x.to_string()),
        other => other.to_string(),
    }
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The text with a capital first letter.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SweepSpec;
    use std::path::Path;

    #[test]
    fn the_committed_reference_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/sweep-file.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, reference()).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap() == reference(),
            "docs/reference/sweep-file.md is out of date: UPDATE_REFERENCE=1 cargo test --lib spec::"
        );
    }

    #[test]
    fn nothing_is_left_out_or_unfilled() {
        let reference = reference();
        for key in Key::ALL {
            assert!(reference.contains(&format!("### `{key}`")), "{key}");
        }
        for field in SECTIONS.iter().flat_map(|section| section.fields) {
            assert!(reference.contains(&format!("| `{}` |", field.name)), "{}", field.name);
        }
        assert!(
            !reference.contains("{{")
                && !reference.contains("\n\n\n")
                && !reference.contains("null"),
            "{reference}"
        );
    }

    #[test]
    fn the_example_is_a_good_sweep() {
        let example = include_str!("reference.md").split("```").nth(1).unwrap();
        let example = example.strip_prefix("toml").unwrap();
        let (spec, _) = SweepSpec::parse("example.toml", example, &[]).unwrap();
        assert_eq!((spec.grid.len(), spec.seeds.len()), (2, 3));
    }
}
