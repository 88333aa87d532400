//! `activation`: what every non-linearity gives, over the whole validation part.
//!
//! A *unit* is a channel of an image or a unit of a vector. Reported are mean and standard
//! deviation of all outputs, and these shares:
//!
//! * zeros: outputs that are exactly 0;
//! * saturated, for functions between two limits: outputs within 1 % of the range of one of the
//!   limits (sigmoid below 0.01 or above 0.99, tanh beyond +-0.98);
//! * dead: units that are active in no image and no place. Active is a positive output, for sigmoid
//!   and tanh one that is not saturated, for the identity one that is not 0.

use std::sync::Arc;

use super::{Label, Measured};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::model::Network;

/// Kinds of layers that are activations.
const KINDS: [&str; 8] =
    ["relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "identity"];

/// Sums of one activation layer in one lane.
#[derive(Debug, Clone)]
struct Sums {
    count: u64,
    /// Sum and sum of squares of the outputs less `centre`.
    sums: [f64; 2],
    /// About where the outputs lie: keeps the squares from cancelling.
    centre: f64,
    zeros: u64,
    saturated: u64,
    /// For every unit: was it ever active?
    active: Vec<bool>,
}

/// Watches the activation layers during a validation pass.
pub struct Activations {
    layers: Arc<[Label]>,
    /// For the same layers: place in the network, and channels.
    places: Vec<(usize, usize)>,
    /// The layers among them whose function has two limits.
    bounded: Arc<[Label]>,
    lanes: usize,
    /// (L, layers)
    sums: Vec<Sums>,
}

/// The two limits of a function's range, for functions that have them.
fn limits(kind: &str) -> Option<(f64, f64)> {
    match kind {
        "sigmoid" => Some((0.0, 1.0)),
        "tanh" => Some((-1.0, 1.0)),
        _ => None,
    }
}

impl Activations {
    pub fn new<T: Real>(network: &Network<T>) -> Self {
        let is_activation = |(_, label): &(usize, &Label)| KINDS.contains(&label.kind());
        let found: Vec<(usize, &Label)> =
            network.labels().iter().enumerate().filter(is_activation).collect();
        let places: Vec<(usize, usize)> =
            found.iter().map(|(place, _)| (*place, network.shape_after(*place).channels)).collect();
        let layers: Arc<[Label]> = found.into_iter().map(|(_, label)| label.clone()).collect();
        let bounded = layers.iter().filter(|label| limits(label.kind()).is_some());
        let mut activations = Self {
            bounded: bounded.cloned().collect(),
            layers,
            places,
            lanes: network.lanes(),
            sums: Vec::new(),
        };
        activations.clear();
        activations
    }

    /// Forgets what was seen.
    pub fn clear(&mut self) {
        let empty = |(_, units): &(usize, usize)| Sums {
            count: 0,
            sums: [0.0; 2],
            centre: 0.0,
            zeros: 0,
            saturated: 0,
            active: vec![false; *units],
        };
        self.sums = (0..self.lanes).flat_map(|_| self.places.iter().map(empty)).collect();
    }

    /// Adds the outputs of a pass over `samples` images of each lane.
    pub fn observe<T: Real>(
        &mut self,
        network: &Network<T>,
        samples: usize,
    ) -> Result<(), TrainError> {
        let layers = self.layers.len();
        for (layer, &(place, _)) in self.places.iter().enumerate() {
            let outputs = network.output(place).read()?;
            let len = samples * network.shape_after(place).units();
            let kind = self.layers[layer].kind();
            for lane in 0..self.lanes {
                self.sums[lane * layers + layer].add(outputs.lane(lane, len), kind);
            }
        }
        Ok(())
    }

    /// What was seen since the last [`clear`](Self::clear).
    pub fn measured(&self) -> Vec<Measured> {
        let measured = |name, get: fn(&Sums) -> f64| {
            let values: Vec<f64> = self.sums.iter().map(get).collect();
            Measured::shared(name, &self.layers, &values)
        };
        let mut found = vec![
            measured("activation_mean", |s| s.centre + s.sums[0] / s.count as f64),
            measured("activation_std", Sums::std),
            measured("activation_zeros", |s| s.zeros as f64 / s.count as f64),
            measured("activation_dead", |s| {
                s.active.iter().filter(|active| !**active).count() as f64 / s.active.len() as f64
            }),
        ];
        if !self.bounded.is_empty() {
            let layers = self.layers.iter().cycle();
            let bounded =
                self.sums.iter().zip(layers).filter(|(_, label)| limits(label.kind()).is_some());
            let values: Vec<f64> =
                bounded.map(|(s, _)| s.saturated as f64 / s.count as f64).collect();
            found.push(Measured::shared("activation_saturated", &self.bounded, &values));
        }
        found
    }
}

impl Sums {
    /// Adds outputs, (N, H, W, C).
    fn add<T: Real>(&mut self, outputs: &[T], kind: &str) {
        if self.count == 0 {
            self.centre = outputs.first().map_or(0.0, |x| x.wide());
        }
        self.count += outputs.len() as u64;
        let (centre, units) = (self.centre, self.active.len());
        let (low, high) = limits(kind).map_or((f64::NEG_INFINITY, f64::INFINITY), |(low, high)| {
            let margin = 0.01 * (high - low);
            (low + margin, high - margin)
        });
        let bounded = low.is_finite();
        let identity = kind == "identity";
        for row in outputs.chunks_exact(units) {
            for (x, active) in row.iter().zip(&mut self.active) {
                let x = x.wide();
                self.sums[0] += x - centre;
                self.sums[1] += (x - centre) * (x - centre);
                self.zeros += u64::from(x == 0.0);
                let saturated = x < low || x > high;
                self.saturated += u64::from(saturated);
                *active |= match (bounded, identity) {
                    (true, _) => !saturated,
                    (_, true) => x != 0.0,
                    _ => x > 0.0,
                };
            }
        }
    }

    /// Standard deviation, with divisor n.
    fn std(&self) -> f64 {
        let n = self.count as f64;
        let mean = self.sums[0] / n;
        let variance = self.sums[1] / n - mean * mean;
        // Rounding may leave a little below zero; NaN stays.
        if variance < 0.0 { 0.0 } else { variance.sqrt() }
    }
}
