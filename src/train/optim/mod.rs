//! The update rules, each in one pass over a parameter, its gradient and the rule's memory.

pub mod adam;
pub mod sgd;

use super::error::TrainError;
use super::kernel::{Buffer, Real};
use super::layer::Parameter;
use crate::spec::RunConfig;
use crate::spec::optimizer::Optimizer as Rule;

/// Updates the parameters of all lanes; each lane has its own rule and rate.
pub struct Optimizer<T> {
    lanes: Vec<LaneRule>,
    /// For every parameter, in their fixed order, the memory that the rules need: (L, …) each.
    memory: Vec<Vec<Buffer<T>>>,
}

/// A lane's rule.
#[derive(Debug, Clone)]
struct LaneRule {
    rule: Rule,
    weight_decay: f64,
}

/// Names of the memory that a rule keeps, in the order of its buffers.
fn memory_names(rule: &Rule) -> &'static [&'static str] {
    match rule {
        Rule::Sgd { momentum, .. } if *momentum == 0.0 => &[],
        Rule::Sgd { .. } => &["momentum"],
        Rule::Adam { .. } | Rule::Adamw { .. } => &["first_moment", "second_moment"],
    }
}

impl<T: Real> Optimizer<T> {
    /// The rules of `lanes`, with memories at 0 for `parameters`.
    ///
    /// # Errors
    /// When the tensor library cannot allocate.
    pub fn new<'a>(
        lanes: &[RunConfig],
        parameters: impl Iterator<Item = &'a Parameter<T>>,
    ) -> Result<Self, TrainError>
    where
        T: 'a,
    {
        let buffers =
            lanes.iter().map(|lane| memory_names(&lane.optimizer).len()).max().unwrap_or(0);
        let memory = parameters
            .map(|p| (0..buffers).map(|_| Buffer::zeros(lanes.len(), &[p.len()])).collect())
            .collect::<Result<_, _>>()?;
        let lanes = lanes
            .iter()
            .map(|lane| LaneRule { rule: lane.optimizer.clone(), weight_decay: lane.weight_decay })
            .collect();
        Ok(Self { lanes, memory })
    }

    /// One step, number `step` from 0, with a rate for every lane, of all `parameters`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn update<'a>(
        &mut self,
        parameters: impl Iterator<Item = &'a mut Parameter<T>>,
        step: u64,
        rates: &[f64],
    ) -> Result<(), TrainError>
    where
        T: 'a,
    {
        for (parameter, memory) in parameters.zip(&mut self.memory) {
            let len = parameter.len();
            let gradient = parameter.gradient.read()?;
            let lanes = &self.lanes;
            parameter.value.write(|values| {
                lend_all(memory, |[one, two]| {
                    for (lane, (rule, &rate)) in lanes.iter().zip(rates).enumerate() {
                        let place = lane * len..(lane + 1) * len;
                        let update = Update {
                            value: &mut values[place.clone()],
                            gradient: gradient.lane(lane, len),
                            rate,
                            weight_decay: rule.weight_decay,
                        };
                        match &rule.rule {
                            Rule::Sgd { momentum, .. } if *momentum == 0.0 => sgd::plain(update),
                            Rule::Sgd { momentum, nesterov } => {
                                sgd::with_momentum(update, &mut one[place], *momentum, *nesterov);
                            }
                            Rule::Adam { beta1, beta2, eps } => {
                                let constants = adam::Constants::new([*beta1, *beta2], *eps, step);
                                let moments = [&mut one[place.clone()], &mut two[place]];
                                adam::coupled(update, moments, constants);
                            }
                            Rule::Adamw { beta1, beta2, eps } => {
                                let constants = adam::Constants::new([*beta1, *beta2], *eps, step);
                                let moments = [&mut one[place.clone()], &mut two[place]];
                                adam::decoupled(update, moments, constants);
                            }
                        }
                    }
                })
            })??;
        }
        Ok(())
    }

    /// Numbers of memory, per lane.
    pub fn memory_len(&self) -> usize {
        self.memory.iter().flatten().map(Buffer::lane_len).sum()
    }

    /// Names of the memory of a lane's rule.
    pub fn memory_names(&self, lane: usize) -> &'static [&'static str] {
        memory_names(&self.lanes[lane].rule)
    }

    /// Memory `name` (by its place in [`memory_names`](Self::memory_names)) of a parameter.
    pub fn memory(&self, parameter: usize, name: usize) -> &Buffer<T> {
        &self.memory[parameter][name]
    }

    /// The same, to change it.
    pub fn memory_mut(&mut self, parameter: usize, name: usize) -> &mut Buffer<T> {
        &mut self.memory[parameter][name]
    }
}

/// One lane of one parameter in one step.
pub struct Update<'a, T> {
    /// What is updated.
    pub value: &'a mut [T],
    /// Gradient of the mean loss.
    pub gradient: &'a [T],
    /// The learning rate.
    pub rate: f64,
    /// Weight decay, as the rule defines it.
    pub weight_decay: f64,
}

/// Lends up to two buffers at once.
fn lend_all<T: Real, R>(
    memory: &mut [Buffer<T>],
    kernel: impl FnOnce([&mut [T]; 2]) -> R,
) -> Result<R, TrainError> {
    match memory {
        [] => Ok(kernel([&mut [], &mut []])),
        [one] => one.write(|one| kernel([one, &mut []])),
        [one, two, ..] => one.write(|one| two.write(|two| kernel([one, two])))?,
    }
}
