//! `measure`: what is measured inside the network while it trains.
//!
//! A measurement changes no number of the run, but a finished run cannot be asked for one any more.
//! So it is a key of the configuration like any other: a run with other measurements is another run,
//! and a plan says `stale: measure`.

use serde_json::json;

use super::diagnostics::{Diagnostics, nearest};
use super::node::{Node, Raw};
use super::value::{Interval, Value};
use super::word::words;

words! {
    /// Something that is measured in every layer, or of the whole network.
    Measurement, "a measurement" {
        /// L2 norm of the loss's gradient with respect to the weight of every layer, and to all
        /// parameters together; before the update.
        GradientNorm = "gradient_norm" {
            /// Steps from one that is measured to the next; the first of the run is measured.
            every_steps: u32 = 1, Interval::at_least(1.0);
        },
        /// Outputs of every activation over the validation part: mean, standard deviation, shares
        /// of zeros, of saturated outputs and of dead units.
        Activation = "activation",
        /// Length of the last update of an epoch over the length of the weight it changes.
        UpdateRatio = "update_ratio",
        /// How far the inputs of every convolution and linear layer have moved since the epoch
        /// before (internal covariate shift; Ioffe and Szegedy, 2015, section 2), on fixed images
        /// of the validation part.
        Drift = "drift" {
            /// Validation images that are looked at; fewer where there are fewer.
            samples: u32 = 256, Interval::at_least(1.0);
        },
        /// How the loss and its gradient change along the gradient (Santurkar et al., 2018, section
        /// 3.1), on fixed images of the validation part.
        Smoothness = "smoothness" {
            /// Lengths of the steps that are tried, as factors on the learning rate.
            steps: StepFactors = StepFactors::default(), ();
            /// Validation images that the loss is taken over; fewer where there are fewer.
            samples: u32 = 128, Interval::at_least(1.0);
        },
        /// Seconds of an epoch for data, forward, backward, update and evaluation.
        Time = "time",
        /// Bytes of weights, gradients, optimizer, activations, scratch memory and data set.
        Memory = "memory",
    }
}

/// What a run measures: each kind at most once, in the order of [`Measurement::KINDS`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measurements(Vec<Measurement>);

impl Measurements {
    /// These, sorted by kind. Of a kind that comes twice, the first counts.
    pub fn new(mut list: Vec<Measurement>) -> Self {
        let place = |m: &Measurement| Measurement::KINDS.iter().position(|kind| *kind == m.kind());
        list.sort_by_key(place);
        list.dedup_by_key(|measurement| measurement.kind());
        Self(list)
    }

    /// Is nothing measured?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Measurement> {
        self.0.iter()
    }
}

impl Value for Measurements {
    type Limits = ();

    fn is_one(items: &[Node]) -> bool {
        !items.iter().any(|item| matches!(item.raw, Raw::List(_)))
    }

    fn read(node: &Node, (): &(), diagnostics: &mut Diagnostics) -> Option<Self> {
        let Raw::List(items) = &node.raw else {
            let message = format!("expected a list of measurements, found {}", node.describe());
            let meant = match &node.raw {
                Raw::Text(text) => nearest(text, Measurement::KINDS),
                _ => None,
            };
            let meant = meant.unwrap_or("gradient_norm");
            let help = format!("write [\"{meant}\"]; legal: {}", Measurement::KINDS.join(", "));
            diagnostics.error_with_help(node.span, message, "not a list", help);
            return None;
        };
        let read: Vec<Option<Measurement>> =
            items.iter().map(|item| Measurement::read(item, &(), diagnostics)).collect();
        for (place, (item, measurement)) in items.iter().zip(&read).enumerate() {
            let Some(measurement) = measurement else { continue };
            let same = |other: &Option<Measurement>| {
                other.as_ref().is_some_and(|other| other.kind() == measurement.kind())
            };
            if read[..place].iter().any(same) {
                let message = format!("`{}` stands twice in one list", measurement.kind());
                let help = "keep one of the two";
                diagnostics.error_with_help(item.span, message, "again", help);
                return None;
            }
        }
        read.into_iter().collect::<Option<Vec<_>>>().map(Self::new)
    }

    fn label(&self) -> String {
        let items: Vec<String> = self.0.iter().map(Measurement::label).collect();
        format!("[{}]", items.join(","))
    }

    fn canonical(&self) -> serde_json::Value {
        self.0.iter().map(Measurement::canonical).collect()
    }

    fn schema((): &()) -> serde_json::Value {
        json!({ "type": "array", "items": Measurement::schema(&()) })
    }
}

/// Most steps that `smoothness` tries.
const MOST_STEPS: usize = 32;

/// Factors on the learning rate: distinct, positive, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFactors(Vec<f64>);

impl StepFactors {
    /// The factors.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }
}

impl Default for StepFactors {
    /// From half a step to four, the range of the paper's figures.
    fn default() -> Self {
        Self(vec![0.5, 1.0, 2.0, 4.0])
    }
}

impl Value for StepFactors {
    type Limits = ();

    fn is_one(_items: &[Node]) -> bool {
        true
    }

    fn read(node: &Node, (): &(), diagnostics: &mut Diagnostics) -> Option<Self> {
        let items = match &node.raw {
            Raw::List(items) if (1..=MOST_STEPS).contains(&items.len()) => items,
            _ => {
                let message = format!(
                    "expected a list of 1 to {MOST_STEPS} factors, found {}",
                    node.describe()
                );
                diagnostics.error(node.span, message, "not such a list");
                return None;
            }
        };
        let limits = Interval::above(0.0);
        let read: Vec<Option<f64>> =
            items.iter().map(|item| f64::read(item, &limits, diagnostics)).collect();
        let mut factors = read.into_iter().collect::<Option<Vec<f64>>>()?;
        factors.sort_by(f64::total_cmp);
        factors.dedup();
        Some(Self(factors))
    }

    fn label(&self) -> String {
        let items: Vec<String> = self.0.iter().map(f64::to_string).collect();
        format!("[{}]", items.join(","))
    }

    fn canonical(&self) -> serde_json::Value {
        json!(self.0)
    }

    fn schema((): &()) -> serde_json::Value {
        json!({
            "type": "array",
            "items": { "type": "number", "exclusiveMinimum": 0.0 },
            "minItems": 1,
            "maxItems": MOST_STEPS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RunConfig;

    fn read(json: serde_json::Value) -> Result<Measurements, String> {
        let config = RunConfig::from_canonical(&json!({ "measure": json }));
        config.map(|config| config.measure).map_err(|error| error.to_string())
    }

    #[test]
    fn order_and_defaults_that_are_written_out_do_not_matter() {
        let steps = json!({ "kind": "smoothness", "steps": [4, 2, 1, 0.5, 1.0] });
        let one = read(json!([steps, "gradient_norm"])).unwrap();
        let every = json!({ "kind": "gradient_norm", "every_steps": 1 });
        let other = read(json!([every, "smoothness"])).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.canonical(), json!(["gradient_norm", "smoothness"]));
        assert_eq!(one.label(), "[gradient_norm,smoothness]");
        assert!(RunConfig::default().canonical().is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            json!("drift"),
            json!(["speed"]),
            json!(["drift", { "kind": "drift", "samples": 3 }]),
            json!([{ "kind": "smoothness", "steps": [] }]),
            json!([{ "kind": "smoothness", "steps": [0] }]),
            json!([{ "kind": "gradient_norm", "every_steps": 0 }]),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
