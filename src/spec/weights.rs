//! `init = { from = "weights.safetensors" }`: a file that a run takes its initial weights from.
//!
//! A sweep file names a path; a run is identified by what is inside. Whoever reads the disk calls
//! [`weights_files`] and puts in each file's digest; from then on the canonical form is the digest
//! alone, so that a moved or renamed file is the same run and a changed one is another.

use super::claim::Claim;
use super::condition::{Named, Test};
use super::config::{Key, Setting};
use super::diagnostics::Diagnostics;
use super::init::Init;
use super::node::{Node, Raw, Span};
use super::sweep::{Axis, Choice, SweepSpec};
use super::value::Value;

/// What a digest begins with in the canonical form.
const SCHEME: &str = "blake3:";

/// Hexadecimal digits of a digest that a label shows.
const SHOWN: usize = 8;

/// A file of weights.
#[derive(Debug, Clone)]
pub struct WeightsFile {
    /// The path as written, relative to the sweep file; the digest where only that is recorded.
    pub path: String,
    /// BLAKE3 of the contents in hexadecimal digits; `None` until somebody has read the file.
    pub digest: Option<String>,
}

/// Two files are one if their contents are.
impl PartialEq for WeightsFile {
    fn eq(&self, other: &Self) -> bool {
        match (&self.digest, &other.digest) {
            (Some(one), Some(other)) => one == other,
            _ => self.path == other.path,
        }
    }
}

impl Value for WeightsFile {
    type Limits = ();

    fn read(node: &Node, (): &(), diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.raw {
            Raw::Text(path) if !path.is_empty() => {
                let digest = path.strip_prefix(SCHEME).map(str::to_owned);
                Some(Self { path: path.clone(), digest })
            }
            _ => {
                let found = node.describe();
                let message = format!("expected the path of a safetensors file, found {found}");
                diagnostics.error(node.span, message, "not a path");
                None
            }
        }
    }

    fn label(&self) -> String {
        match &self.digest {
            Some(digest) if self.path.starts_with(SCHEME) => digest.chars().take(SHOWN).collect(),
            _ => self.path.clone(),
        }
    }

    fn canonical(&self) -> serde_json::Value {
        match &self.digest {
            Some(digest) => format!("{SCHEME}{digest}").into(),
            None => self.path.as_str().into(),
        }
    }

    fn schema((): &()) -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

/// Shows every file of weights that a sweep names to `visit`, with its place where that is known.
pub fn weights_files(spec: &mut SweepSpec, visit: &mut dyn FnMut(&mut WeightsFile, Option<Span>)) {
    let mut setting = |setting: &mut Setting, span| {
        if let Setting::Init(Init::From { from }) = setting {
            visit(from, span);
        }
    };
    let mut base = Setting::Init(spec.base.init.clone());
    let written = spec.base_spans.iter().find(|(key, _)| *key == Key::Init);
    setting(&mut base, written.map(|(_, span)| *span));
    spec.base.set(&base);
    let axes = spec.grid.iter_mut();
    let axes = axes.chain(spec.zips.iter_mut().flat_map(|zip| &mut zip.axes));
    let axes = axes.chain(spec.whens.iter_mut().flat_map(|when| &mut when.axes));
    let choices = axes.flat_map(|Axis { values, .. }| values);
    let choices = choices.chain(spec.includes.iter_mut().flat_map(|include| &mut include.settings));
    for Choice { setting: value, span } in choices {
        setting(value, Some(*span));
    }
    let conditions = spec.whens.iter_mut().map(|when| &mut when.condition);
    let conditions = conditions.chain(spec.excludes.iter_mut().map(|rule| &mut rule.condition));
    let claimed = spec.claims.iter_mut().flat_map(Claim::conditions_mut);
    let conditions = conditions.chain(claimed);
    for (_, test) in conditions.flat_map(|condition| &mut condition.tests) {
        match test {
            Test::Equals(Named::Value(value)) | Test::Differs(Named::Value(value)) => {
                setting(value, None);
            }
            Test::Equals(Named::Kind(_)) | Test::Differs(Named::Kind(_)) => {}
            Test::OneOf(values) => {
                for value in values {
                    if let Named::Value(value) = value {
                        setting(value, None);
                    }
                }
            }
            Test::Below(_) | Test::AtMost(_) | Test::Above(_) | Test::AtLeast(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RunConfig;

    const DIGEST: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

    fn init(json: serde_json::Value) -> RunConfig {
        RunConfig::from_canonical(&serde_json::json!({ "init": json })).unwrap()
    }

    #[test]
    fn the_contents_are_identity_and_the_path_is_not() {
        let mut configs = ["a.safetensors", "b.safetensors"]
            .map(|path| init(serde_json::json!({ "from": path })));
        assert_ne!(configs[0].init, configs[1].init);
        for config in &mut configs {
            let Init::From { from } = &mut config.init else { panic!() };
            from.digest = Some(DIGEST.to_owned());
        }
        assert_eq!(configs[0].init, configs[1].init);
        assert_eq!(configs[0].setting(Key::Init).label(), "from(a.safetensors)");
        let canonical = serde_json::to_value(configs[0].canonical()).unwrap();
        insta::assert_snapshot!(canonical, @r#"{"init":{"from":"blake3:c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00","kind":"from"}}"#);
        let read = RunConfig::from_canonical(&canonical).unwrap();
        assert_eq!(read, configs[1]);
        assert_eq!(read.setting(Key::Init).label(), "from(c0ffee00)");
    }

    #[test]
    fn every_file_of_a_sweep_is_visited() {
        let text = r#"
            schema = 1
            name = "t"
            [base]
            init = { from = "base" }
            [[when]]
            if = { lr = [0.1] }
            grid.init = ["pytorch", { from = "when" }]
            [grid]
            lr = [0.1, 0.2]
            [[exclude]]
            lr = 0.1
            init = { ne = { kind = "from", from = "when" } }
            [[include]]
            init = { kind = "from", from = "include" }
        "#;
        let (mut spec, _) = SweepSpec::parse("t.toml", text, &[]).unwrap();
        let mut seen = Vec::new();
        weights_files(&mut spec, &mut |file, span| {
            file.digest = Some(format!("digest of {}", file.path));
            seen.push((file.path.clone(), span.is_some()));
        });
        seen.sort();
        // The one without a place is the condition.
        let expected = [("base", true), ("include", true), ("when", false), ("when", true)];
        assert_eq!(seen, expected.map(|(path, placed)| (path.to_owned(), placed)));
        let Init::From { from } = &spec.base.init else { panic!() };
        assert_eq!(from.digest.as_deref(), Some("digest of base"));
    }
}
