//! `smoothness`: how the loss and its gradient change along the gradient.
//!
//! After Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", section 3.1. At
//! the weights w of an epoch's end, on a fixed batch, with loss l and gradient g, steps of several
//! lengths t (factors on the learning rate) are tried, to w - t g:
//!
//! * `smoothness_loss_min`, `smoothness_loss_max`: the range of the loss over the steps (figure 4a);
//! * `smoothness_gradient_distance_min`, `..._max`: the range of |g(w - t g) - g(w)|, the gradient's
//!   predictiveness (figure 4b);
//! * `smoothness_beta`: the largest |g(w - t g) - g(w)| / |t g|, the effective beta-smoothness
//!   (figure 4c).
//!
//! The network is in training mode, as batch normalisation is part of the landscape; dropout draws
//! as in step 0. Weights and running statistics are put back bit for bit.

use std::sync::Arc;

use super::{Label, Measured, Probe, sum_of_squares};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::layer::Parameter;
use crate::train::model::Network;

/// Names of the numbers, in the order in which they are kept.
const NAMES: [&str; 5] = [
    "smoothness_loss_min",
    "smoothness_loss_max",
    "smoothness_gradient_distance_min",
    "smoothness_gradient_distance_max",
    "smoothness_beta",
];

/// Tries steps along the gradient.
pub struct Smoothness<T> {
    steps: Vec<f64>,
    samples: usize,
    network: Arc<[Label]>,
    /// Every parameter, and its gradient at the start, (L, ...).
    weights: Vec<[Vec<T>; 2]>,
    /// Every running statistic.
    states: Vec<Vec<T>>,
}

impl<T: Real> Smoothness<T> {
    pub fn new(steps: Vec<f64>, samples: usize, network: &Network<T>) -> Self {
        let lanes = network.lanes();
        let kept = |p: &Parameter<T>| [(); 2].map(|()| vec![T::ZERO; lanes * p.len()]);
        Self {
            steps,
            samples,
            network: Arc::new([Label::network()]),
            weights: network.parameters().map(kept).collect(),
            states: network
                .states()
                .map(|state| vec![T::ZERO; lanes * state.value.lane_len()])
                .collect(),
        }
    }

    /// Tries all steps and puts everything back.
    pub fn measure(&mut self, probe: &mut Probe<'_, T>) -> Result<Vec<Measured>, TrainError> {
        for (state, kept) in probe.network.states().zip(&mut self.states) {
            kept.copy_from_slice(&state.value.read()?[..]);
        }
        for (parameter, [value, _]) in probe.network.parameters().zip(&mut self.weights) {
            value.copy_from_slice(&parameter.value.read()?[..]);
        }
        let found = self.try_steps(probe);
        // Whatever went wrong in between: the weights come first.
        for (parameter, [value, _]) in probe.network.parameters_mut().zip(&self.weights) {
            parameter.value.write(|to| to.copy_from_slice(value))?;
        }
        for (state, kept) in probe.network.states_mut().zip(&self.states) {
            state.value.write(|to| to.copy_from_slice(kept))?;
        }
        let found = found?;
        let measured = NAMES.iter().enumerate().map(|(place, name)| {
            let values: Vec<f64> = found.iter().map(|lane| lane[place]).collect();
            Measured::shared(name, &self.network, &values)
        });
        Ok(measured.collect())
    }

    /// The five numbers of every lane.
    fn try_steps(&mut self, probe: &mut Probe<'_, T>) -> Result<Vec<[f64; 5]>, TrainError> {
        let (samples, labels) = probe.load(self.samples)?;
        let lanes = probe.network.lanes();
        probe.loss_and_gradient(samples, &labels)?;
        for (parameter, [_, gradient]) in probe.network.parameters().zip(&mut self.weights) {
            gradient.copy_from_slice(&parameter.gradient.read()?[..]);
        }
        let lengths: Vec<f64> = (0..lanes)
            .map(|lane| {
                let squares = self.weights.iter().map(|[_, gradient]| {
                    let len = gradient.len() / lanes;
                    sum_of_squares(gradient[lane * len..][..len].iter().map(|x| x.wide()))
                });
                squares.sum::<f64>().sqrt()
            })
            .collect();
        let start = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY, 0.0];
        let mut found = vec![start; lanes];
        for factor in self.steps.clone() {
            let steps: Vec<f64> = probe.rates.iter().map(|rate| rate * factor).collect();
            self.step_to(probe.network, &steps)?;
            let losses = probe.loss_and_gradient(samples, &labels)?;
            for (lane, found) in found.iter_mut().enumerate() {
                let distance = self.distance(probe.network, lane)?;
                let beta = distance / (steps[lane] * lengths[lane]);
                widen(found, [losses[lane], distance, beta]);
            }
        }
        Ok(found)
    }

    /// Puts the weights to w - t g, with a t for every lane.
    fn step_to(&self, network: &mut Network<T>, steps: &[f64]) -> Result<(), TrainError> {
        for (parameter, [value, gradient]) in network.parameters_mut().zip(&self.weights) {
            let len = parameter.len();
            parameter.value.write(|to| {
                for (place, to) in to.iter_mut().enumerate() {
                    let step = steps[place / len] * gradient[place].wide();
                    *to = T::of(value[place].wide() - step);
                }
            })?;
        }
        Ok(())
    }

    /// |g - g(w)| of one lane over all parameters.
    fn distance(&self, network: &Network<T>, lane: usize) -> Result<f64, TrainError> {
        let mut sum = 0.0;
        for (parameter, [_, before]) in network.parameters().zip(&self.weights) {
            let (len, gradient) = (parameter.len(), parameter.gradient.read()?);
            let before = &before[lane * len..][..len];
            let pairs = gradient.lane(lane, len).iter().zip(before);
            sum += sum_of_squares(pairs.map(|(now, before)| now.wide() - before.wide()));
        }
        Ok(sum.sqrt())
    }
}

/// Widens the ranges by one step; NaN makes them unknown for good.
fn widen(found: &mut [f64; 5], [loss, distance, beta]: [f64; 3]) {
    let less = |a: f64, b: f64| if a.is_nan() || a < b { a } else { b };
    let more = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
    *found = [
        less(loss, found[0]),
        more(loss, found[1]),
        less(distance, found[2]),
        more(distance, found[3]),
        more(beta, found[4]),
    ];
}
