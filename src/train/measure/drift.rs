//! `drift`: how far the inputs of a layer have moved since the epoch before.
//!
//! Internal covariate shift is the change of the distribution of a layer's inputs while those before
//! it learn (Ioffe and Szegedy, 2015, section 2). Followed here are, as in figure 2 of Santurkar et
//! al. (2018), the first two moments of every channel, in evaluation mode, on the same validation
//! images in every epoch. With mean m and variance v of a channel, before (0) and now (1), and sums
//! over the channels:
//!
//! * `drift_mean` = sqrt(sum (m1 - m0)^2 / sum v0): the root mean square shift of the means, in
//!   standard deviations;
//! * `drift_std` = 1/2 ln(sum v1 / sum v0): the logarithm of the ratio of the standard deviations.
//!
//! Pooled over the channels, because a dead channel has no deviation to measure its own shift in.
//! The first epoch has none before it and no row.

use std::sync::Arc;

use super::{Label, Measured, Probe};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::lane_set::LaneSet;
use crate::train::layer::{Mode, Pass, State};
use crate::train::model::Network;

/// Remembers the moments of the epoch before.
pub struct Drift {
    samples: usize,
    layers: Arc<[Label]>,
    /// For the same layers: place in the network, and channels of the input.
    places: Vec<(usize, usize)>,
    /// Mean and variance of every layer in turn, (L, C) each; NaN before the first epoch's end.
    moments: Vec<State<f32>>,
}

impl Drift {
    pub fn new<T: Real>(samples: usize, network: &Network<T>) -> Result<Self, TrainError> {
        let has_weights = |(_, label): &(usize, &Label)| ["conv", "linear"].contains(&label.kind());
        let found: Vec<(usize, &Label)> =
            network.labels().iter().enumerate().filter(has_weights).collect();
        let mut places = Vec::new();
        let mut moments = Vec::new();
        for (place, label) in &found {
            let channels = network.shape_before(*place).channels;
            places.push((*place, channels));
            for kind in ["mean", "variance"] {
                let mut value = Buffer::zeros(network.lanes(), &[channels])?;
                value.write(|value| value.fill(f32::NAN))?;
                let name = format!("measure/drift/{}.{kind}", label.name);
                moments.push(State { name, lanes: LaneSet::all(network.lanes()), value });
            }
        }
        let layers = found.into_iter().map(|(_, label)| label.clone()).collect();
        Ok(Self { samples, layers, places, moments })
    }

    /// What has to be in a checkpoint.
    pub fn states(&self) -> &[State<f32>] {
        &self.moments
    }

    /// The same, to change it.
    pub fn states_mut(&mut self) -> &mut [State<f32>] {
        &mut self.moments
    }

    /// Compares the moments with those of the epoch before, and keeps them for the next.
    pub fn measure<T: Real>(
        &mut self,
        probe: &mut Probe<'_, T>,
    ) -> Result<Vec<Measured>, TrainError> {
        let (samples, _) = probe.load(self.samples)?;
        probe.network.forward(&Pass { mode: Mode::Evaluate, samples, first_sample: 0 })?;
        let (network, measured) = (&*probe.network, probe.lanes);
        let (lanes, layers) = (network.lanes(), self.layers.len());
        let [mut shift, mut ratio] = [(); 2].map(|()| vec![0.0; lanes * layers]);
        let mut first = false;
        for (layer, &(place, channels)) in self.places.iter().enumerate() {
            let input = network.input_of(place).read()?;
            let len = samples * network.shape_before(place).units();
            let [mean, variance] = &mut self.moments[2 * layer..2 * layer + 2] else {
                unreachable!("invariant: two moments a layer")
            };
            for lane in measured.iter() {
                let now = moments(input.lane(lane, len), channels);
                let range = lane * channels..(lane + 1) * channels;
                let [m0, v0] = [&mean.value, &variance.value]
                    .map(|old| Ok::<_, TrainError>(old.read()?[range.clone()].to_vec()));
                let (m0, v0) = (m0?, v0?);
                first |= v0.iter().all(|v| v.is_nan());
                let (drift_mean, drift_std) = compare([&m0, &v0], [&now[0], &now[1]]);
                shift[lane * layers + layer] = drift_mean;
                ratio[lane * layers + layer] = drift_std;
                mean.value.write(|mean| mean[range.clone()].copy_from_slice(&now[0]))?;
                variance.value.write(|variance| variance[range].copy_from_slice(&now[1]))?;
            }
        }
        if first {
            return Ok(Vec::new());
        }
        let found = [("drift_mean", shift), ("drift_std", ratio)];
        Ok(found.map(|(name, values)| Measured::shared(name, &self.layers, &values)).to_vec())
    }
}

/// Mean and variance (divisor n) of every channel of `rows`, (rows, C); in f64, rounded at the end,
/// so that what comes back from a checkpoint is what was compared.
fn moments<T: Real>(rows: &[T], channels: usize) -> [Vec<f32>; 2] {
    let n = (rows.len() / channels) as f64;
    let mut mean = vec![0.0; channels];
    let mut variance = vec![0.0; channels];
    for row in rows.chunks_exact(channels) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += x.wide();
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= n);
    for row in rows.chunks_exact(channels) {
        for ((variance, mean), x) in variance.iter_mut().zip(&mean).zip(row) {
            *variance += (x.wide() - mean) * (x.wide() - mean);
        }
    }
    let narrow = |numbers: Vec<f64>, by: f64| numbers.iter().map(|x| (x / by) as f32).collect();
    [narrow(mean, 1.0), narrow(variance, n)]
}

/// The two numbers of a layer from the moments before and now.
fn compare([m0, v0]: [&[f32]; 2], [m1, v1]: [&[f32]; 2]) -> (f64, f64) {
    let sum = |numbers: &[f32]| numbers.iter().copied().map(f64::from).sum::<f64>();
    let moved: f64 =
        m0.iter().zip(m1).map(|(before, now)| (f64::from(*now) - f64::from(*before)).powi(2)).sum();
    let before = sum(v0);
    ((moved / before).sqrt(), 0.5 * (sum(v1) / before).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_their_drift_by_hand() {
        // Two channels: 1, 3 and 10, 10; then 2, 6 and 12, 12.
        let before = moments(&[1.0_f64, 10.0, 3.0, 10.0], 2);
        assert_eq!(before, [vec![2.0, 10.0], vec![1.0, 0.0]]);
        let now = moments(&[2.0_f64, 12.0, 6.0, 12.0], 2);
        assert_eq!(now, [vec![4.0, 12.0], vec![4.0, 0.0]]);
        let (shift, ratio) = compare([&before[0], &before[1]], [&now[0], &now[1]]);
        assert_eq!(shift, 8.0_f64.sqrt());
        assert_eq!(ratio, 0.5 * 4.0_f64.ln());
    }
}
