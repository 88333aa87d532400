//! The quantities of claims that a run's course has and its result has not.
//!
//! In: a [`Quantity`] and the [`RunHistory`] of one run. Out: the number, where it is known. The
//! gradient of the first layer in the first epoch is one, or how many steps had a loss far above those
//! before it.

use super::curves::{CurveMetric, RunHistory};
use super::layers::LayerPoint;
use crate::spec::claim::Claim;
use crate::spec::quantity::{
    CurveName, CurveQuantity, EpochPick, LayerPick, LayerQuantity, Quantity, Take,
};
use crate::spec::run_policy::CurveDetail;

/// Points before one that it is held against, to see whether it is a spike.
const BEFORE: usize = 20;

/// Robust standard deviations above their median that make a spike.
const FAR: f64 = 6.0;

/// Standard deviation of a normal distribution over its median absolute deviation.
const PER_DEVIATION: f64 = 1.4826;

/// The layer that stands for all of them.
const NETWORK: &str = "network";

/// The distinct quantities that the claims of a sweep take from the courses of its runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quantities(Vec<Quantity>);

impl Quantities {
    /// Those of `claims`.
    pub fn of(claims: &[Claim]) -> Self {
        let mut distinct: Vec<Quantity> = Vec::new();
        for claim in claims.iter().filter(|claim| claim.metric.is_from_events()) {
            if !distinct.contains(&claim.metric) {
                distinct.push(claim.metric.clone());
            }
        }
        Self(distinct)
    }

    /// Is there none? Then no events need be read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of a quantity in a row's.
    pub fn position(&self, quantity: &Quantity) -> Option<usize> {
        self.0.iter().position(|other| other == quantity)
    }

    /// All of them, of one run.
    pub fn read(&self, history: &RunHistory) -> Vec<Option<f64>> {
        self.0.iter().map(|quantity| of_history(quantity, history)).collect()
    }
}

/// The quantity in a run's course; `None` where the run has it not, or where it is not finite.
pub fn of_history(quantity: &Quantity, history: &RunHistory) -> Option<f64> {
    let value = match quantity {
        Quantity::Result(_) | Quantity::Diverged => None,
        Quantity::Layer(quantity) => of_layers(quantity, history),
        Quantity::Curve(quantity) => of_curve(*quantity, history),
    };
    value.filter(|value| value.is_finite())
}

fn of_layers(quantity: &LayerQuantity, history: &RunHistory) -> Option<f64> {
    let name = quantity.measurement.name;
    // As numbers of an epoch, however fine the run's steps were recorded.
    let points: Vec<LayerPoint<'_>> = history
        .layer_points(CurveDetail::Epoch)
        .filter(|point| name.strip_prefix(point.measurement) == Some(point.suffix))
        .collect();
    let last = history.epochs.last().map_or(0, |epoch| epoch.epoch);
    let in_epoch = |epoch: u32| {
        let of_epoch: Vec<&LayerPoint<'_>> =
            points.iter().filter(|point| point.epoch == epoch).collect();
        let value = picked(&of_epoch, &quantity.layer)?;
        match &quantity.over {
            Some(over) => Some(value / picked(&of_epoch, over)?),
            None => Some(value),
        }
    };
    match quantity.epoch {
        EpochPick::Number(epoch) => in_epoch(epoch),
        EpochPick::Last => in_epoch(last),
        EpochPick::Mean => mean((1..=last).filter_map(in_epoch)),
    }
}

/// The number of the layer that is meant, among those of one epoch in the order of the network.
fn picked(points: &[&LayerPoint<'_>], layer: &LayerPick) -> Option<f64> {
    let mut layers = points.iter().filter(|point| point.layer != NETWORK).map(|point| point.value);
    match layer {
        LayerPick::First => layers.next(),
        LayerPick::Last => layers.next_back(),
        LayerPick::Mean => mean(layers),
        LayerPick::Named(name) => points.iter().find(|p| p.layer == name).map(|point| point.value),
    }
}

fn of_curve(quantity: CurveQuantity, history: &RunHistory) -> Option<f64> {
    let metric = match quantity.curve {
        CurveName::TrainLoss => CurveMetric::TrainLoss,
        CurveName::TrainAccuracy => CurveMetric::TrainAccuracy,
        CurveName::ValLoss => CurveMetric::ValLoss,
        CurveName::ValAccuracy => CurveMetric::ValAccuracy,
        CurveName::StepLoss => CurveMetric::StepLoss,
    };
    let detail = match quantity.curve {
        CurveName::StepLoss => CurveDetail::Step,
        _ => CurveDetail::Epoch,
    };
    let points = || history.points(detail).filter(|point| point.metric == metric);
    let values = || points().map(|point| point.value);
    let after = |epoch: u32| mean(points().filter(|p| p.epoch == epoch).map(|p| p.value));
    match quantity.take {
        Take::Mean => mean(values()),
        Take::Min => values().reduce(f64::min),
        Take::Max => values().reduce(f64::max),
        Take::Spikes => spikes(&values().collect::<Vec<_>>()).map(|count| count as f64),
        Take::Epoch(EpochPick::Mean) => mean(values()),
        Take::Epoch(pick) => {
            let epoch = match pick {
                EpochPick::Number(epoch) => epoch,
                EpochPick::Last | EpochPick::Mean => history.epochs.last()?.epoch,
            };
            match quantity.since {
                Some(since) => Some(after(epoch)? - after(since)?),
                None => after(epoch),
            }
        }
    }
}

/// How many values lie far above the median of those before them: more than six robust standard
/// deviations (1.4826 times the median absolute deviation; Leys et al., 2013). Unknown of a curve that
/// is too short to have any before.
fn spikes(values: &[f64]) -> Option<usize> {
    let windows = values.windows(BEFORE + 1);
    let count = windows.clone().filter(|window| {
        let (before, last) = window.split_at(BEFORE);
        let middle = median(before.to_vec());
        let deviation = median(before.iter().map(|x| (x - middle).abs()).collect());
        // Values that do not move but for rounding have no spread to be far outside of.
        last[0] - middle > FAR * PER_DEVIATION * deviation.max(f64::EPSILON * middle.abs())
    });
    (windows.len() > 0).then(|| count.count())
}

/// The median; of an even number of values the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x));
    (count > 0.0).then_some(sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::curves::StepRecord;
    use crate::aggregate::sample;
    use crate::event::LayersRecord;
    use crate::spec::quantity::LayerNumber;

    fn history() -> RunHistory {
        let record = |epoch: u32, steps: &[u64], values: Vec<Vec<f64>>| LayersRecord {
            epoch,
            measurement: "gradient_norm".to_owned(),
            layers: ["fc1", "fc2", "fc3", "network"].map(str::to_owned).to_vec(),
            kinds: ["fc", "fc", "fc", "network"].map(str::to_owned).to_vec(),
            steps: steps.to_vec(),
            values,
        };
        RunHistory {
            epochs: sample::result(&[0.5, 0.8]).epochs,
            layers: vec![
                record(1, &[1, 2], vec![vec![1.0, 2.0, 4.0, 9.0], vec![3.0, 2.0, 4.0, 9.0]]),
                record(2, &[3], vec![vec![6.0, 1.0, 2.0, 7.0]]),
            ],
            steps: Vec::new(),
        }
    }

    fn layer(layer: &str, over: Option<&str>, epoch: EpochPick) -> Option<f64> {
        let measurement = LayerNumber::ALL[0];
        assert_eq!(measurement.name, "gradient_norm_mean");
        let (layer, over) = (LayerPick::of(layer), over.map(LayerPick::of));
        let quantity = LayerQuantity { measurement, layer, over, epoch };
        of_history(&Quantity::Layer(quantity), &history())
    }

    #[test]
    fn a_layer_is_found_by_its_place_or_its_name_in_an_epoch() {
        let first = EpochPick::Number(1);
        assert_eq!(layer("first", None, first), Some(2.0), "the mean of 1 and 3");
        assert_eq!(layer("last", None, first), Some(4.0), "the network as a whole is no layer");
        assert_eq!(layer("fc2", None, first), Some(2.0));
        assert_eq!(layer("network", None, first), Some(9.0));
        assert_eq!(layer("mean", None, EpochPick::Last), Some(3.0));
        assert_eq!(layer("first", None, EpochPick::Mean), Some(4.0));
        assert_eq!(layer("first", Some("last"), first), Some(0.5));
        assert_eq!(layer("first", Some("last"), EpochPick::Mean), Some(1.75));
        assert_eq!(layer("conv1", None, first), None);
        assert_eq!(layer("first", None, EpochPick::Number(3)), None);
    }

    #[test]
    fn a_curve_is_summed_up() {
        let of = |curve, take, since| {
            of_history(&Quantity::Curve(CurveQuantity { curve, take, since }), &history())
        };
        let curve = |curve, take| of(curve, take, None);
        let last = Take::Epoch(EpochPick::Last);
        assert_eq!(of(CurveName::ValAccuracy, last, Some(1)), Some(0.8 - 0.5));
        assert_eq!(of(CurveName::ValAccuracy, last, Some(3)), None, "there is no epoch 3");
        assert_eq!(curve(CurveName::ValAccuracy, Take::Max), Some(0.8));
        assert_eq!(curve(CurveName::ValAccuracy, Take::Min), Some(0.5));
        assert_eq!(curve(CurveName::ValAccuracy, Take::Mean), Some(0.65));
        assert_eq!(curve(CurveName::ValAccuracy, Take::Epoch(EpochPick::Number(1))), Some(0.5));
        assert_eq!(curve(CurveName::ValAccuracy, Take::Epoch(EpochPick::Last)), Some(0.8));
        assert_eq!(curve(CurveName::StepLoss, Take::Spikes), None, "no step is known");
    }

    #[test]
    fn spikes_are_counted_where_the_loss_leaps_and_not_where_it_is_noisy() {
        let noise = |step: usize| 1.0 + 0.1 * ((step * 7919 % 101) as f64 / 101.0 - 0.5);
        let calm: Vec<f64> = (0..200).map(noise).collect();
        assert_eq!(spikes(&calm), Some(0));
        let mut wild = calm;
        (wild[50], wild[120]) = (2.0, 1.6);
        assert_eq!(spikes(&wild), Some(2));
        let falling: Vec<f64> = (0..200).map(|step| 1.0 - step as f64 / 400.0).collect();
        assert_eq!(spikes(&falling), Some(0), "what falls does not leap");
        let mut flat = vec![1.0; 40];
        assert_eq!(spikes(&flat), Some(0));
        flat[30] = 1.1;
        assert_eq!(spikes(&flat), Some(1));
        assert_eq!(spikes(&flat[..20]), None);
    }

    #[test]
    fn a_loss_that_is_not_finite_makes_no_number() {
        let steps = (0..3).map(|step| StepRecord { step, epoch: 1, loss: f64::NAN, lr: 0.1 });
        let history = RunHistory { steps: steps.collect(), ..history() };
        for take in [Take::Mean, Take::Max, Take::Spikes, Take::Epoch(EpochPick::Last)] {
            let quantity = CurveQuantity { curve: CurveName::StepLoss, take, since: None };
            assert_eq!(of_history(&Quantity::Curve(quantity), &history), None);
        }
    }
}
