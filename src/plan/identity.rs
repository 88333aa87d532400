//! Identity: which runs are the same run.
//!
//! The id of a run is the hash of a canonical text: a version tag, the version of the engine's
//! numerics, the fingerprint of the data, and every key that is not at its default, sorted by name,
//! each as one line of canonical JSON. What is left out is as important: order, comments, ways of
//! writing a number and defaults that are written out are gone once a sweep file is typed, a key
//! that is added later is at its default in every old run, and placement is no key at all.
//!
//! [`run_id`] is the definition. `Identifier` computes the same for a million runs: each value's
//! line is rendered once, and a run's text is put together from these pieces.

use std::fmt::Write;

use rayon::prelude::*;
use serde_json::Value;

use super::points::Points;
use crate::ids::RunId;
use crate::spec::config::ENGINE_NUMERICS;
use crate::spec::dataset::Dataset;
use crate::spec::{Key, RunConfig, Setting};

/// First line of every identity. A change of it gives every run of everybody a new id.
const TAG: &str = "gridlane run 1";

/// Gives the fingerprint of a data set: what its images and their order are, as a text.
pub type Fingerprint<'a> = dyn Fn(&Dataset) -> String + 'a;

/// The text that a run's id is the hash of. `data` is the fingerprint of the configuration's data
/// set.
pub fn identity_text(config: &RunConfig, data: &str) -> String {
    let mut text = preamble(data);
    for (key, value) in config.canonical() {
        write_line(key, &value, &mut text);
    }
    text
}

/// Id of the run of `config` (with its seed) on data with fingerprint `data`.
pub fn run_id(config: &RunConfig, data: &str) -> RunId {
    RunId::of(identity_text(config, data).as_bytes())
}

fn preamble(data: &str) -> String {
    let mut text = format!("{TAG}\nengine {ENGINE_NUMERICS}\ndata ");
    write_json(&data.into(), &mut text);
    text.push('\n');
    text
}

/// The line of one setting; empty at the default.
fn line(setting: &Setting) -> String {
    let mut text = String::new();
    if *setting != setting.key().default_setting() {
        write_line(setting.key().name(), &setting.canonical(), &mut text);
    }
    text
}

fn write_line(key: &str, value: &Value, text: &mut String) {
    text.push_str(key);
    text.push('=');
    write_json(value, text);
    text.push('\n');
}

/// JSON with sorted keys and no blanks. Not left to `serde_json`, whose order of keys depends on a
/// feature that any dependency may switch on, and whose number format is its own affair.
fn write_json(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => {
            let written = match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(n), ..) => write!(text, "{n}"),
                (None, Some(n), _) => write!(text, "{n}"),
                // The shortest digits that read back as the same number.
                (None, None, Some(x)) => write!(text, "{x:?}"),
                (None, None, None) => write!(text, "{number}"),
            };
            written.expect("invariant: writing to a string does not fail");
        }
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_json(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (place, (name, value)) in fields.into_iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_json(&Value::String(name.clone()), text);
                text.push(':');
                write_json(value, text);
            }
            text.push('}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

/// The fingerprints of the data sets of a plan, each asked for once.
#[derive(Debug)]
pub(crate) struct DataPrints {
    /// The column of `dataset`, where it is one.
    column: Option<usize>,
    prints: Vec<String>,
}

impl DataPrints {
    pub(crate) fn new(points: &Points, fingerprint: &Fingerprint<'_>) -> Self {
        let column = points.columns.iter().position(|column| column.key == Key::Dataset);
        let prints = match column {
            None => vec![fingerprint(&points.base.dataset)],
            Some(column) => points.columns[column]
                .values
                .iter()
                .filter_map(|setting| match setting {
                    Setting::Dataset(dataset) => Some(fingerprint(dataset)),
                    _ => None,
                })
                .collect(),
        };
        Self { column, prints }
    }

    fn number(&self, row: &[u32]) -> usize {
        self.column.map_or(0, |column| row[column] as usize)
    }

    /// The fingerprint of the data of a point.
    pub(crate) fn of(&self, row: &[u32]) -> &str {
        &self.prints[self.number(row)]
    }
}

/// A part of an identity's text.
enum Piece {
    /// Lines that all runs share.
    Shared(String),
    /// The line of a column: one text for each value.
    Column(usize, Vec<String>),
    /// The line of the seed.
    Seed,
}

/// Computes the ids of all runs of a plan.
pub(crate) struct Identifier<'a> {
    data: &'a DataPrints,
    preambles: Vec<String>,
    /// In the order of the keys' names.
    pieces: Vec<Piece>,
}

impl<'a> Identifier<'a> {
    pub(crate) fn new(points: &Points, data: &'a DataPrints) -> Self {
        let mut keys = Key::ALL.to_vec();
        keys.sort_by_key(|key| key.name());
        let mut pieces: Vec<Piece> = Vec::new();
        for key in keys {
            let column = points.columns.iter().position(|column| column.key == key);
            match (key, column, pieces.last_mut()) {
                (Key::Seed, ..) => pieces.push(Piece::Seed),
                (_, Some(column), _) => {
                    let lines = points.columns[column].values.iter().map(line).collect();
                    pieces.push(Piece::Column(column, lines));
                }
                (_, None, Some(Piece::Shared(text))) => {
                    text.push_str(&line(&points.base.setting(key)));
                }
                (_, None, _) => pieces.push(Piece::Shared(line(&points.base.setting(key)))),
            }
        }
        let preambles = data.prints.iter().map(|print| preamble(print)).collect();
        Self { data, preambles, pieces }
    }

    fn write(&self, row: &[u32], seed_line: &str, text: &mut String) {
        text.clear();
        text.push_str(&self.preambles[self.data.number(row)]);
        for piece in &self.pieces {
            text.push_str(match piece {
                Piece::Shared(lines) => lines,
                Piece::Column(column, lines) => &lines[row[*column] as usize],
                Piece::Seed => seed_line,
            });
        }
    }

    /// The ids of all points with `seed`, in the order of the points.
    pub(crate) fn ids(&self, points: &Points, seed: u64) -> Vec<RunId> {
        let seed_line = line(&Setting::Seed(seed));
        (0..points.len())
            .into_par_iter()
            .map_init(String::new, |text, index| {
                self.write(points.matrix.row(index), &seed_line, text);
                RunId::of(text.as_bytes())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::expand::expand;
    use crate::plan::sample::{any_spec, changed, print_of};
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn ids_of_a_plan_are_the_ids_of_its_configurations(spec in any_spec()) {
            let Ok(expansion) = expand(&spec) else { return Ok(()) };
            let points = &expansion.points;
            let data = DataPrints::new(points, &print_of);
            let identifier = Identifier::new(points, &data);
            for seed in [0, 3] {
                for (index, id) in identifier.ids(points, seed).into_iter().enumerate() {
                    let mut config = points.config(index);
                    config.seed = seed;
                    prop_assert_eq!(id, run_id(&config, &print_of(&config.dataset)));
                }
            }
        }
    }

    #[test]
    fn order_and_spelling_and_defaults_do_not_matter() {
        let texts = [
            r#"{"lr": 3, "schedule": {"gamma": 0.5, "kind": "step"}, "width": 0.25}"#,
            r#"{"width": 0.25, "schedule": {"kind": "step", "gamma": 5e-1}, "lr": 3.0}"#,
            r#"{"width": 25e-2, "schedule": {"kind": "step", "every_epochs": 10, "gamma": 0.5},
                "lr": 3.0, "epochs": 10.0, "activation": {"kind": "relu"}, "seed": 0}"#,
        ];
        let ids = texts.map(|text| {
            let json = serde_json::from_str(text).unwrap();
            run_id(&RunConfig::from_canonical(&json).unwrap(), "d")
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn every_key_and_the_data_are_identity() {
        let base = RunConfig::default();
        let mut ids = vec![run_id(&base, "a"), run_id(&base, "b")];
        ids.extend(Key::ALL.iter().copied().map(|key| run_id(&changed(&base, key), "a")));
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    /// Each line: id, fingerprint of the data, canonical configuration. If this fails, everybody's
    /// results are about to be orphaned: raise `ENGINE_NUMERICS` or the tag only on purpose.
    #[test]
    fn ids_stay_what_they_were() {
        let golden = include_str!("../../tests/fixtures/golden/ids.txt");
        let lines: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(lines.len() >= 10, "{}", lines.len());
        let mut changed = String::new();
        for line in lines {
            let mut parts = line.splitn(3, ' ');
            let (id, data, json) =
                (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let config = RunConfig::from_canonical(&serde_json::from_str(json).unwrap()).unwrap();
            let found = run_id(&config, data);
            if found.to_string() != id {
                changed.push_str(&format!("{found} {data} {json}\n"));
            }
            assert_eq!(
                serde_json::to_value(config.canonical()).unwrap(),
                serde_json::from_str::<Value>(json).unwrap(),
                "the golden configuration is not written canonically"
            );
        }
        assert!(changed.is_empty(), "new ids:\n{changed}");
    }

    #[test]
    fn the_text_reads_as_documented() {
        let json = json!({"lr": 1e-8, "width": 2, "schedule": {"kind": "step", "gamma": 0.5}});
        let config = RunConfig::from_canonical(&json).unwrap();
        insta::assert_snapshot!(identity_text(&config, "a \"b\""), @r#"
        gridlane run 1
        engine 4
        data "a \"b\""
        lr=1e-8
        schedule={"gamma":0.5,"kind":"step"}
        width=2.0
        "#);
    }
}
