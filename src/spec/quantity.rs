//! What a `[[claim]]` compares: a result of a run, or a number from its course.
//!
//! `metric = "val_accuracy"` is a result. `metric = { measurement = "gradient_norm_mean", layer =
//! "first", epoch = 1 }` is what was measured in a layer, `metric = { curve = "step_loss", take =
//! "spikes" }` is a curve summed up.

use super::metric::MetricName;

/// A number that every run of a claim has.
#[derive(Debug, Clone, PartialEq)]
pub enum Quantity {
    /// A result of the run.
    Result(MetricName),
    /// 1 for a run that diverged, 0 for one that finished.
    Diverged,
    /// What was measured in a layer.
    Layer(LayerQuantity),
    /// A curve, summed up.
    Curve(CurveQuantity),
}

/// A measurement in a layer, or the ratio of two layers'.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerQuantity {
    /// Which number, as `layers.csv` spells it.
    pub measurement: LayerNumber,
    /// In which layer.
    pub layer: LayerPick,
    /// The layer by whose number it is divided, if any.
    pub over: Option<LayerPick>,
    /// When.
    pub epoch: EpochPick,
}

/// Which layer, of those that the number is measured in.
#[derive(Debug, Clone, PartialEq)]
pub enum LayerPick {
    /// The nearest to the images.
    First,
    /// The nearest to the logits.
    Last,
    /// The mean over the layers.
    Mean,
    /// The one of this name; `network` for what is measured of all layers together.
    Named(String),
}

impl LayerPick {
    /// Reads what the file says.
    pub fn of(text: &str) -> Self {
        match text {
            "first" => Self::First,
            "last" => Self::Last,
            "mean" => Self::Mean,
            name => Self::Named(name.to_owned()),
        }
    }

    /// As the file spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Mean => "mean",
            Self::Named(name) => name,
        }
    }
}

/// Which epoch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochPick {
    /// The last complete one.
    Last,
    /// The mean over the epochs that have the number.
    Mean,
    /// This one, from 1.
    Number(u32),
}

impl EpochPick {
    fn label(self) -> String {
        match self {
            Self::Last => "last epoch".to_owned(),
            Self::Mean => "mean of epochs".to_owned(),
            Self::Number(epoch) => format!("epoch {epoch}"),
        }
    }
}

/// A curve of a run, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurveQuantity {
    /// Which curve, as `curves.csv` spells it.
    pub curve: CurveName,
    /// How.
    pub take: Take,
    /// The epoch, from 1, whose value is taken off: what the curve has gained since. Goes with a value
    /// after an epoch.
    pub since: Option<u32>,
}

/// A curve that may be summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CurveName {
    /// Mean training loss over an epoch.
    TrainLoss,
    /// Share of an epoch's training samples classified right.
    TrainAccuracy,
    /// Mean loss on the validation part after an epoch.
    ValLoss,
    /// Share of the validation part classified right after an epoch.
    ValAccuracy,
    /// Loss of one step's batch.
    StepLoss,
}

impl CurveName {
    /// Every curve with its name.
    pub const ALL: &[(&'static str, Self)] = &[
        ("train_loss", Self::TrainLoss),
        ("train_accuracy", Self::TrainAccuracy),
        ("val_loss", Self::ValLoss),
        ("val_accuracy", Self::ValAccuracy),
        ("step_loss", Self::StepLoss),
    ];
}

/// What is taken of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Its mean.
    Mean,
    /// Its smallest value.
    Min,
    /// Its largest value.
    Max,
    /// How many points lie far above those before them.
    Spikes,
    /// Its value after an epoch; of steps, the mean over the epoch.
    Epoch(EpochPick),
}

impl Take {
    /// Every way of summing up with its name, but for the value after an epoch.
    pub const ALL: &[(&'static str, Self)] =
        &[("mean", Self::Mean), ("min", Self::Min), ("max", Self::Max), ("spikes", Self::Spikes)];
}

/// A number of `layers.csv`: its name and the measurement that gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNumber {
    /// As `layers.csv` spells it.
    pub name: &'static str,
    /// What the file has to `measure`.
    pub kind: &'static str,
}

impl LayerNumber {
    /// Every number that there is.
    pub const ALL: &[Self] = &[
        Self::new("gradient_norm_mean", "gradient_norm"),
        Self::new("gradient_norm_min", "gradient_norm"),
        Self::new("gradient_norm_max", "gradient_norm"),
        Self::new("activation_mean", "activation"),
        Self::new("activation_std", "activation"),
        Self::new("activation_zeros", "activation"),
        Self::new("activation_saturated", "activation"),
        Self::new("activation_dead", "activation"),
        Self::new("update_ratio", "update_ratio"),
        Self::new("drift_mean", "drift"),
        Self::new("drift_std", "drift"),
        Self::new("smoothness_loss_min", "smoothness"),
        Self::new("smoothness_loss_max", "smoothness"),
        Self::new("smoothness_gradient_distance_min", "smoothness"),
        Self::new("smoothness_gradient_distance_max", "smoothness"),
        Self::new("smoothness_beta", "smoothness"),
        Self::new("data_s", "time"),
        Self::new("forward_s", "time"),
        Self::new("backward_s", "time"),
        Self::new("update_s", "time"),
        Self::new("evaluation_s", "time"),
        Self::new("memory_weights_bytes", "memory"),
        Self::new("memory_gradients_bytes", "memory"),
        Self::new("memory_optimizer_bytes", "memory"),
        Self::new("memory_activations_bytes", "memory"),
        Self::new("memory_scratch_bytes", "memory"),
        Self::new("memory_data_bytes", "memory"),
    ];

    const fn new(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind }
    }
}

impl Quantity {
    /// The quantity in a few words: `gradient_norm_mean of first / last, epoch 1`.
    pub fn label(&self) -> String {
        match self {
            Self::Result(metric) => metric.as_str().to_owned(),
            Self::Diverged => "diverged".to_owned(),
            Self::Layer(quantity) => {
                let LayerQuantity { measurement, layer, over, epoch } = quantity;
                let over = over.as_ref().map(|over| format!(" / {}", over.as_str()));
                let over = over.unwrap_or_default();
                format!("{} of {}{over}, {}", measurement.name, layer.as_str(), epoch.label())
            }
            Self::Curve(CurveQuantity { curve, take, since }) => {
                let find = CurveName::ALL.iter().find(|(_, other)| other == curve);
                let curve = find.map_or("", |(name, _)| name);
                match take {
                    Take::Epoch(epoch) => {
                        let since = since.map(|since| format!(" since epoch {since}"));
                        format!("{curve} of {}{}", epoch.label(), since.unwrap_or_default())
                    }
                    take => {
                        let find = Take::ALL.iter().find(|(_, other)| other == take);
                        format!("{} of {curve}", find.map_or("", |(name, _)| name))
                    }
                }
            }
        }
    }

    /// Does it need a target to reach?
    pub fn needs_target(&self) -> bool {
        matches!(self, Self::Result(MetricName::EpochsToTarget | MetricName::SecondsToTarget))
    }

    /// The result, where it is one.
    pub fn result(&self) -> Option<MetricName> {
        match self {
            Self::Result(metric) => Some(*metric),
            _ => None,
        }
    }

    /// Is it known from a run's events alone, and not from its result?
    pub fn is_from_events(&self) -> bool {
        matches!(self, Self::Layer(_) | Self::Curve(_))
    }
}

impl From<MetricName> for Quantity {
    fn from(metric: MetricName) -> Self {
        Self::Result(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::measure::Measurement;

    #[test]
    fn every_measurement_has_its_numbers() {
        for kind in Measurement::KINDS {
            assert!(LayerNumber::ALL.iter().any(|number| number.kind == *kind), "{kind}");
        }
        assert!(LayerNumber::ALL.iter().all(|number| Measurement::KINDS.contains(&number.kind)));
    }

    #[test]
    fn a_quantity_is_said_in_a_few_words() {
        let layer = |over: Option<&str>, epoch| {
            Quantity::Layer(LayerQuantity {
                measurement: LayerNumber::ALL[0],
                layer: LayerPick::First,
                over: over.map(LayerPick::of),
                epoch,
            })
        };
        let curve = |take, since| {
            Quantity::Curve(CurveQuantity { curve: CurveName::StepLoss, take, since })
        };
        let said = [
            Quantity::Result(MetricName::ValLoss),
            Quantity::Diverged,
            layer(None, EpochPick::Number(1)),
            layer(Some("fc4"), EpochPick::Last),
            curve(Take::Spikes, None),
            curve(Take::Epoch(EpochPick::Mean), None),
            curve(Take::Epoch(EpochPick::Last), Some(20)),
        ]
        .map(|quantity| quantity.label());
        assert_eq!(
            said,
            [
                "val_loss",
                "diverged",
                "gradient_norm_mean of first, epoch 1",
                "gradient_norm_mean of first / fc4, last epoch",
                "spikes of step_loss",
                "step_loss of mean of epochs",
                "step_loss of last epoch since epoch 20",
            ]
        );
    }
}
