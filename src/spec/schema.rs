//! JSON Schema of the sweep file, for editors: completion, documentation, checking while typing.
//!
//! Put together from the keys' and words' own schemas and the table of settings, so it cannot say
//! other than the reader does. It knows the shape of a file; what needs a look at several places at
//! once (a key in two sections, a rule that never matches) only the reader finds.

use serde_json::{Map, Value as Json, json};

use super::config::Key;
use super::read::generator::{GENERATORS, MOST};
use super::read::settings::{REPEATED, SECTIONS, table_schema};

/// The schema of a whole sweep file, draft 2020-12.
pub fn json_schema() -> Json {
    let mut properties = match table_schema(SECTIONS[0].fields)["properties"].take() {
        Json::Object(properties) => properties,
        _ => Map::new(),
    };
    for (name, schema) in key_sections() {
        properties.insert(name.to_owned(), schema);
    }
    properties.insert("short".to_owned(), short());
    for section in &SECTIONS[1..] {
        let mut schema = table_schema(section.fields);
        if REPEATED.contains(&section.name) {
            schema = json!({ "type": "array", "items": schema });
        }
        schema["description"] = section.doc.into();
        properties.insert(section.name.to_owned(), schema);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gridlane sweep file",
        "type": "object",
        "properties": properties,
        "required": ["schema", "name"],
        "additionalProperties": false,
        "$defs": definitions(),
    })
}

fn key_sections() -> [(&'static str, Json); 6] {
    let rule = json!({
        "type": "object",
        "properties": { "if": { "$ref": "#/$defs/condition" }, "grid": { "$ref": "#/$defs/axes" } },
        "required": ["if", "grid"],
        "additionalProperties": false,
    });
    let mut base = table("key", Key::ALL, 0);
    base["description"] = "The keys that do not vary.".into();
    [
        ("base", base),
        ("grid", described(json!({ "$ref": "#/$defs/axes" }), "Axes whose product is taken.")),
        ("zip", list(json!({ "$ref": "#/$defs/axes" }), "Axes of one length that move together.")),
        ("when", list(rule, "Axes of the points that a condition picks.")),
        ("exclude", list(json!({ "$ref": "#/$defs/condition" }), "Points to leave out.")),
        ("include", list(table("key", varying(), 1), "Points beside the grid.")),
    ]
}

/// What is other in the sweep's short size: keys with a value or a list of them, and settings.
fn short() -> Json {
    let either = |key: &Key| match varying().contains(key) {
        true => json!({ "anyOf": [
            { "$ref": format!("#/$defs/key.{key}") }, { "$ref": format!("#/$defs/axis.{key}") },
        ] }),
        false => json!({ "$ref": format!("#/$defs/key.{key}") }),
    };
    let mut properties: Map<String, Json> =
        Key::ALL.iter().map(|key| (key.name().to_owned(), either(key))).collect();
    let settings = SECTIONS[1..].iter().filter(|section| !REPEATED.contains(&section.name));
    properties.extend(settings.map(|s| (s.name.to_owned(), table_schema(s.fields))));
    for field in SECTIONS[0].fields.iter().filter(|field| field.name != "schema") {
        properties.insert(field.name.to_owned(), (field.schema)());
    }
    json!({
        "type": "object",
        "description": "What is other in the sweep's short size, `--short`.",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn described(mut schema: Json, description: &str) -> Json {
    schema["description"] = description.into();
    schema
}

fn list(items: Json, description: &str) -> Json {
    json!({ "type": "array", "items": items, "description": description })
}

/// The keys that may vary: all but the seed, which is the last.
fn varying() -> &'static [Key] {
    Key::ALL.split_last().map_or(&[], |(_, keys)| keys)
}

/// A table of keys, each of which is what `#/$defs/KIND.KEY` says.
fn table(kind: &str, keys: &[Key], least: usize) -> Json {
    let properties: Map<String, Json> = keys
        .iter()
        .map(|key| (key.name().to_owned(), json!({ "$ref": format!("#/$defs/{kind}.{key}") })))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "minProperties": least,
        "additionalProperties": false,
    })
}

fn definitions() -> Map<String, Json> {
    let mut all = Map::new();
    for key in Key::ALL {
        all.insert(format!("key.{key}"), key.schema());
    }
    for key in varying() {
        all.insert(format!("axis.{key}"), axis(*key));
        all.insert(format!("test.{key}"), test(*key));
    }
    all.insert("axes".to_owned(), table("axis", varying(), 1));
    all.insert("condition".to_owned(), table("test", varying(), 1));
    all.insert("generator".to_owned(), generator());
    all
}

fn is_numeric(key: Key) -> bool {
    key.default_setting().number().is_some()
}

fn values(key: Key) -> Json {
    let value = json!({ "$ref": format!("#/$defs/key.{key}") });
    json!({ "type": "array", "items": value, "minItems": 1, "uniqueItems": true })
}

/// What `key` may be in `[grid]`.
fn axis(key: Key) -> Json {
    let mut any = vec![values(key)];
    if is_numeric(key) {
        any.push(json!({ "$ref": "#/$defs/generator" }));
    }
    json!({ "description": key.doc(), "anyOf": any })
}

/// What `key` may be in a condition.
fn test(key: Key) -> Json {
    let value = json!({ "$ref": format!("#/$defs/key.{key}") });
    let mut operators = json!({ "eq": value, "ne": value, "in": values(key) });
    if is_numeric(key) {
        for order in ["lt", "le", "gt", "ge"] {
            operators[order] = json!({ "type": "number" });
        }
    }
    let operators = json!({
        "type": "object",
        "properties": operators,
        "minProperties": 1,
        "additionalProperties": false,
    });
    json!({ "description": key.doc(), "anyOf": [value, values(key), operators] })
}

fn generator() -> Json {
    let pair =
        json!({ "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 });
    let num = json!({ "type": "integer", "minimum": 2, "maximum": MOST });
    let kinds = GENERATORS.iter().map(|kind| match *kind {
        "range" => json!({
            "type": "object",
            "description": "From start to below stop in steps: range = [start, stop, step].",
            "properties": { "range": {
                "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 3,
            } },
            "required": ["range"],
            "additionalProperties": false,
        }),
        kind => json!({
            "type": "object",
            "description": format!("`num` values from the first to the last: {kind} = [first, last], num = 5."),
            "properties": { kind: pair, "num": num },
            "required": [kind, "num"],
            "additionalProperties": false,
        }),
    });
    json!({ "anyOf": kinds.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::node::Node;
    use std::path::Path;
    use toml::de::DeTable;

    /// Does `value` meet `schema`? Knows the words of JSON Schema that this file uses, but for
    /// `pattern`.
    fn meets(value: &Json, schema: &Json, root: &Json) -> bool {
        let Json::Object(rules) = schema else { panic!("not a schema: {schema}") };
        rules.iter().all(|(word, rule)| match word.as_str() {
            "$ref" => {
                let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
                meets(value, root.pointer(path).unwrap_or_else(|| panic!("{path}")), root)
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|any| meets(value, any, root)),
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "number" => value.is_number(),
                "integer" => value.as_f64().is_some_and(|x| x.fract() == 0.0),
                other => panic!("unknown type {other}"),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|x| x >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|x| x <= rule.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|x| x > rule.as_f64().unwrap()),
            "exclusiveMaximum" => value.as_f64().is_none_or(|x| x < rule.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|x| x.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|x| x.len() as u64 <= rule.as_u64().unwrap()),
            "uniqueItems" => value.as_array().is_none_or(|items| {
                items.iter().enumerate().all(|(at, item)| !items[..at].contains(item))
            }),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| meets(item, rule, root))),
            "minProperties" => {
                value.as_object().is_none_or(|x| x.len() as u64 >= rule.as_u64().unwrap())
            }
            "required" => value.as_object().is_none_or(|fields| {
                rule.as_array()
                    .unwrap()
                    .iter()
                    .all(|name| fields.contains_key(name.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|fields| {
                fields
                    .iter()
                    .all(|(name, field)| rule.get(name).is_none_or(|rule| meets(field, rule, root)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|fields| {
                fields.keys().all(|name| schema["properties"].get(name).is_some())
            }),
            "$schema" | "$defs" | "title" | "description" | "default" | "examples" | "pattern" => {
                true
            }
            other => panic!("unknown word {other}"),
        })
    }

    fn accepted(toml: &str) -> Option<bool> {
        let table = DeTable::parse(toml).ok()?;
        let schema = json_schema();
        Some(meets(&Node::from_table(&table, 0, 0).to_json(), &schema, &schema))
    }

    #[test]
    fn the_schema_accepts_a_file_with_everything() {
        let good = include_str!("../../tests/fixtures/good/everything.toml");
        assert_eq!(accepted(good), Some(true));
        assert_eq!(accepted("schema = 1\nname = \"t\"\n[base]\nseed = 7"), Some(true));
        assert_eq!(
            accepted("schema = 1\nname = \"t\"\n[grid]\nlr = { range = [0, 1] }"),
            Some(true)
        );
    }

    /// What passes is bad files whose shape is right: what is wrong with them shows only when several
    /// places are compared or in a pattern.
    #[test]
    fn the_schema_rejects_every_file_of_a_wrong_shape() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bad");
        let mut passed: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let Some("toml") = path.extension().and_then(|e| e.to_str()) else { continue };
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            if accepted(&text) == Some(true) && !name.contains("override") {
                passed.push(name);
            }
        }
        passed.sort();
        insta::assert_snapshot!(passed.join("\n"), @r"
        exclude-that-never-matches
        generator-between-whole-numbers
        key-in-base-and-grid
        key-in-grid-and-zip
        layers-behind-the-logits
        logspace-of-exponents
        name-not-a-folder
        range-out-of-range
        range-that-is-empty
        seed-in-base-and-repeats
        target-in-percent
        target-of-another-metric
        time-without-target
        value-twice
        when-in-the-wrong-order
        when-of-a-key-in-grid
        when-that-sets-what-it-tests
        whens-that-overlap
        zip-of-unequal-lengths
        ");
    }

    #[test]
    fn the_shipped_schema_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/schema.json");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            let text = serde_json::to_string_pretty(&json_schema()).unwrap();
            std::fs::write(&path, text + "\n").unwrap();
        }
        let shipped: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(
            shipped == json_schema(),
            "sweeps/schema.json is out of date: UPDATE_REFERENCE=1 cargo test --lib spec::"
        );
    }
}
