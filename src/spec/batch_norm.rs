//! `batch_norm`: whether hidden layers are normalised over the batch, and how.
//!
//! Written as a flag, or as a table for what is not at PyTorch's default. The canonical form of
//! what a flag can say is that flag, so naming a default changes no id.

use serde_json::json;

use super::diagnostics::Diagnostics;
use super::node::{Node, Raw};
use super::value::{Interval, Value};
use super::word::{self, Fields};

const MOMENTUM: Interval = Interval::above_up_to(0.0, 1.0);
const EPS: Interval = Interval::above(0.0);

/// Batch normalisation of hidden layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BatchNorm {
    /// None.
    Off,
    /// Before the activation of every layer that is normalised.
    On(Normalisation),
}

/// How a batch is normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Share of the newest batch in the running statistics, in (0, 1].
    pub momentum: f64,
    /// Added to the variance, above 0.
    pub eps: f64,
}

impl Default for Normalisation {
    /// PyTorch's.
    fn default() -> Self {
        Self { momentum: 0.1, eps: 1e-5 }
    }
}

impl BatchNorm {
    /// Batch normalisation with PyTorch's parameters.
    pub const ON: Self = Self::On(Normalisation { momentum: 0.1, eps: 1e-5 });

    /// Is anything normalised?
    pub fn is_on(&self) -> bool {
        self.normalisation().is_some()
    }

    /// How it is normalised; `None` if it is not.
    pub fn normalisation(&self) -> Option<Normalisation> {
        match *self {
            Self::Off => None,
            Self::On(normalisation) => Some(normalisation),
        }
    }

    /// The parameters that are not at their defaults.
    fn changed(&self) -> Vec<(&'static str, f64)> {
        let Some(found) = self.normalisation() else { return Vec::new() };
        let default = Normalisation::default();
        [("momentum", found.momentum, default.momentum), ("eps", found.eps, default.eps)]
            .into_iter()
            .filter(|(_, found, default)| found != default)
            .map(|(name, found, _)| (name, found))
            .collect()
    }
}

impl Value for BatchNorm {
    type Limits = ();

    fn read(node: &Node, (): &(), diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.raw {
            Raw::Bool(false) => Some(Self::Off),
            Raw::Bool(true) => Some(Self::ON),
            Raw::Table(entries) => {
                let default = Normalisation::default();
                let fields = Fields::of("batch_norm", node.span, entries);
                let momentum =
                    fields.take("momentum", Some(default.momentum), &MOMENTUM, diagnostics);
                let eps = fields.take("eps", Some(default.eps), &EPS, diagnostics);
                fields.refuse_rest(&["momentum", "eps"], diagnostics)?;
                Some(Self::On(Normalisation { momentum: momentum?, eps: eps? }))
            }
            _ => {
                diagnostics.error_with_help(
                    node.span,
                    format!("expected true, false or a table, found {}", node.describe()),
                    "neither of the three",
                    "write true, or { momentum = 0.1, eps = 1e-5 } for other values of these",
                );
                None
            }
        }
    }

    fn label(&self) -> String {
        let fields = self.changed().into_iter().map(|(name, x)| Some((name, x.label()))).collect();
        word::label(if self.is_on() { "true" } else { "false" }, fields)
    }

    fn canonical(&self) -> serde_json::Value {
        let changed = self.changed();
        if changed.is_empty() {
            return json!(self.is_on());
        }
        changed.into_iter().map(|(name, x)| (name.to_owned(), x.canonical())).collect()
    }

    fn schema((): &()) -> serde_json::Value {
        let default = Normalisation::default();
        let number = |limits: &Interval, default: f64, doc: &str| {
            word::field_schema(f64::schema(limits), doc, Some(default.canonical()))
        };
        let momentum = "Share of the newest batch in the running statistics.";
        json!({ "anyOf": [
            { "const": false, "description": "None." },
            { "const": true, "description": "With PyTorch's parameters." },
            {
                "type": "object",
                "description": "With these parameters.",
                "properties": {
                    "momentum": number(&MOMENTUM, default.momentum, momentum),
                    "eps": number(&EPS, default.eps, "Added to the variance."),
                },
                "additionalProperties": false,
            },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a canonical form; what is wrong with it otherwise.
    fn read(json: serde_json::Value) -> Result<BatchNorm, String> {
        let mut diagnostics = Diagnostics::new();
        let found = BatchNorm::read(&Node::from_json(&json), &(), &mut diagnostics);
        diagnostics.finish(found).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_of_defaults_is_the_flag_and_what_differs_is_shown() {
        for (written, canonical, label) in [
            (json!(false), json!(false), "false"),
            (json!(true), json!(true), "true"),
            (json!({}), json!(true), "true"),
            (json!({ "momentum": 0.1, "eps": 1e-5 }), json!(true), "true"),
            (json!({ "momentum": 1 }), json!({ "momentum": 1.0 }), "true(momentum=1)"),
            (
                json!({ "eps": 0.001, "momentum": 0.5 }),
                json!({ "momentum": 0.5, "eps": 0.001 }),
                "true(momentum=0.5,eps=0.001)",
            ),
        ] {
            let found = read(written.clone()).unwrap();
            assert_eq!((found.canonical(), found.label()), (canonical.clone(), label.to_owned()));
            assert_eq!(read(canonical).unwrap(), found, "{written}");
        }
    }

    #[test]
    fn what_is_no_normalisation_is_refused() {
        for wrong in [
            json!("yes"),
            json!(1),
            json!({ "momentum": 0.0 }),
            json!({ "momentum": 1.5 }),
            json!({ "eps": 0.0 }),
            json!({ "epsilon": 1e-5 }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
