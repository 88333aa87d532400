//! What is measured inside a network while it trains; nothing unless asked for.
//!
//! In: the network between backward and update, after the update, in a validation pass and at the
//! end of an epoch. Out: [`Measured`], one number for every lane and layer. No measurement changes
//! a bit of the training: what one has to move (weights, running statistics) it puts back. The only
//! thing that outlives an epoch is what `drift` compares with, and it is kept in the checkpoint.

mod activation;
mod drift;
mod gradient;
mod label;
mod memory;
mod probe;
mod smoothness;
#[cfg(test)]
mod tests;
mod time;
mod update;

use std::sync::Arc;

pub use label::{Label, NETWORK};
pub use memory::Memory;
pub use probe::Probe;
pub(super) use probe::from_validation;
pub use time::{Clock, LayerClock, Phase, PhaseSeconds, Way};

use super::error::TrainError;
use super::kernel::Real;
use super::lane_set::LaneSet;
use super::layer::{Parameter, State};
use super::model::Network;
use crate::spec::RunConfig;
use crate::spec::measure::Measurement;

/// One measurement, of every lane, in every layer that has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What was measured, as the CSV spells it.
    pub measurement: &'static str,
    /// Every lane; `None` where it has diverged.
    pub lanes: Vec<Option<LaneMeasured>>,
}

/// One measurement in one lane.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneMeasured {
    /// The layers, in the order of the network; perhaps the whole network as the last one.
    pub layers: Arc<[Label]>,
    /// A number for each of them; not finite where there is no number.
    pub values: Vec<f64>,
}

impl Measured {
    /// A measurement of lanes that all have the same layers, with numbers (L, layers).
    fn shared(measurement: &'static str, layers: &Arc<[Label]>, values: &[f64]) -> Self {
        let lane = |values: &[f64]| {
            Some(LaneMeasured { layers: Arc::clone(layers), values: values.to_vec() })
        };
        Self { measurement, lanes: values.chunks(layers.len()).map(lane).collect() }
    }

    /// Forgets the other lanes.
    fn keep(&mut self, lanes: &LaneSet) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if !lanes.contains(number) {
                *lane = None;
            }
        }
    }
}

/// An optimizer step, as far as measuring goes.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Its number, from 0, over the whole run.
    pub step: u64,
    /// Is it the last of its epoch?
    pub ends_epoch: bool,
}

/// The measurements of one trainer.
pub struct Measures<T> {
    gradient: Option<gradient::GradientNorm>,
    update: Option<update::UpdateRatio<T>>,
    activation: Option<activation::Activations>,
    drift: Option<drift::Drift>,
    smoothness: Option<smoothness::Smoothness<T>>,
    time: Option<Clock>,
    memory: bool,
    /// Of the last step.
    step: Vec<Measured>,
}

impl<T: Real> Measures<T> {
    /// What `lanes` ask for (all the same) of `network`.
    ///
    /// # Errors
    /// When the tensor library cannot allocate.
    pub fn new(lanes: &[RunConfig], network: &Network<T>) -> Result<Self, TrainError> {
        let mut measures = Self {
            gradient: None,
            update: None,
            activation: None,
            drift: None,
            smoothness: None,
            time: None,
            memory: false,
            step: Vec::new(),
        };
        for measurement in
            lanes.first().map(|lane| &lane.measure).into_iter().flat_map(|m| m.iter())
        {
            match measurement {
                Measurement::GradientNorm { every_steps } => {
                    let norm = gradient::GradientNorm::new(u64::from(*every_steps), network);
                    measures.gradient = Some(norm);
                }
                Measurement::Activation => {
                    measures.activation = Some(activation::Activations::new(network));
                }
                Measurement::UpdateRatio => {
                    measures.update = Some(update::UpdateRatio::new(network));
                }
                Measurement::Drift { samples } => {
                    measures.drift = Some(drift::Drift::new(*samples as usize, network)?);
                }
                Measurement::Smoothness { steps, samples } => {
                    let steps = steps.as_slice().to_vec();
                    let smoothness = smoothness::Smoothness::new(steps, *samples as usize, network);
                    measures.smoothness = Some(smoothness);
                }
                Measurement::Time => measures.time = Some(Clock::new(network.lanes())),
                Measurement::Memory => measures.memory = true,
            }
        }
        Ok(measures)
    }

    /// Does anything in that step, or between it and its neighbours, have to be seen from here?
    pub fn watches(&self, at: At) -> bool {
        self.gradient.as_ref().is_some_and(|gradient| gradient.is_due(at))
            || (self.update.is_some() && at.ends_epoch)
            || self.time.as_ref().is_some_and(Clock::is_wound)
    }

    /// Measures the gradients of a step, and keeps what the update will change.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn before_update(&mut self, network: &Network<T>, at: At) -> Result<(), TrainError> {
        self.step.clear();
        if let Some(gradient) = self.gradient.as_mut().filter(|gradient| gradient.is_due(at)) {
            self.step.push(gradient.measure(network)?);
        }
        match &mut self.update {
            Some(update) if at.ends_epoch => update.keep(network),
            _ => Ok(()),
        }
    }

    /// Measures what the update has changed in the `living` lanes.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn after_update(
        &mut self,
        network: &Network<T>,
        at: At,
        living: &LaneSet,
    ) -> Result<(), TrainError> {
        if let Some(update) = self.update.as_ref().filter(|_| at.ends_epoch) {
            self.step.push(update.measure(network)?);
        }
        self.step.iter_mut().for_each(|measured| measured.keep(living));
        Ok(())
    }

    /// What was measured in the last step.
    pub fn of_step(&self) -> &[Measured] {
        &self.step
    }

    /// A phase of an epoch begins.
    pub fn enter(&mut self, phase: Phase) {
        if let Some(clock) = &mut self.time {
            clock.enter(phase);
        }
    }

    /// The seconds of the phases since the last time, if they are measured.
    pub fn lap(&mut self) -> Option<PhaseSeconds> {
        self.time.as_mut()?.lap()
    }

    /// Lets `now` tell how long the phases take, if that is asked for.
    pub fn wind_clock(&mut self, now: Box<dyn Fn() -> f64 + Send>) {
        if let Some(clock) = &mut self.time {
            clock.wind(now);
        }
    }

    /// Has every validation image to be passed through the network once, as it is?
    pub fn watches_outputs(&self) -> bool {
        self.activation.is_some()
    }

    /// Forgets the outputs of a pass that was begun before.
    pub fn begin_pass(&mut self) {
        if let Some(activation) = &mut self.activation {
            activation.clear();
        }
    }

    /// Takes note of the outputs of a validation pass over `samples` images.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn observe(&mut self, network: &Network<T>, samples: usize) -> Result<(), TrainError> {
        self.activation.as_mut().map_or(Ok(()), |a| a.observe(network, samples))
    }

    /// What is measured at the end of epoch `epoch` (from 1).
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn of_epoch(
        &mut self,
        epoch: u32,
        memory: Memory,
        probe: &mut Probe<'_, T>,
    ) -> Result<Vec<Measured>, TrainError> {
        let mut found = Vec::new();
        if let Some(activation) = &self.activation {
            found.extend(activation.measured());
        }
        if let Some(drift) = &mut self.drift {
            found.extend(drift.measure(probe)?);
        }
        if let Some(smoothness) = &mut self.smoothness {
            found.extend(smoothness.measure(probe)?);
        }
        if let Some(time) = &mut self.time {
            found.extend(time.take());
        }
        if self.memory && epoch == 1 {
            found.extend(memory.measured(probe.network));
        }
        found.iter_mut().for_each(|measured| measured.keep(probe.lanes));
        Ok(found)
    }

    /// Is anything measured at the end of an epoch?
    pub fn has_epochs(&self) -> bool {
        self.activation.is_some()
            || self.drift.is_some()
            || self.smoothness.is_some()
            || self.time.is_some()
            || self.memory
    }

    /// What has to be in a checkpoint, in a fixed order.
    pub fn states(&self) -> &[State<f32>] {
        self.drift.as_ref().map_or(&[], |drift| drift.states())
    }

    /// The same, to change it.
    pub fn states_mut(&mut self) -> &mut [State<f32>] {
        self.drift.as_mut().map_or(&mut [], |drift| drift.states_mut())
    }
}

/// Sum of the squares, in f64 and in an order that depends on nothing but the length.
fn sum_of_squares(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for (place, x) in numbers.enumerate() {
        sums[place % LANES] += x * x;
    }
    sums.iter().sum()
}

/// Is it a weight, not a bias?
fn is_weight<T: Real>(parameter: &Parameter<T>) -> bool {
    parameter.name.ends_with(".weight")
}

/// The layers with a weight, of every lane of a network.
fn weighted_layers<T: Real>(network: &Network<T>) -> impl Iterator<Item = Vec<Label>> + '_ {
    let label = |weight: &Parameter<T>| Label::of_parameter(&weight.name);
    (0..network.lanes())
        .map(move |lane| network.parameters_of(lane).filter(|p| is_weight(p)).map(label).collect())
}
