//! The update rules, each in one pass over a parameter, its gradient and the rule's memory.

mod accelerated;
pub mod adam;
pub mod clip;
pub mod sgd;

use super::device::Address;
use super::error::TrainError;
use super::kernel::parallel::{BLOCK, for_each_block, for_each_pair, for_each_triple};
use super::kernel::{Buffer, Real};
use super::layer::parameter::Start;
use super::layer::{Lives, Parameter};
use crate::spec::RunConfig;
use crate::spec::optimizer::{DecayOn, Optimizer as Rule};

/// Updates the parameters of all lanes; each lane has its own rule and rate.
pub struct Optimizer<T> {
    lanes: Vec<LaneRule>,
    /// For every parameter, in their fixed order, the memory that the rules need: (L, …) each.
    memory: Vec<Vec<Buffer<T>>>,
    /// For the kernel.
    table: accelerated::Lanes,
    /// The lanes that live, as an accelerator knows it.
    lives: Option<Lives>,
}

/// A lane's rule.
#[derive(Debug, Clone)]
struct LaneRule {
    rule: Rule,
    weight_decay: f64,
    decay_on: DecayOn,
}

/// What a lane's update in one step goes by, besides its rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneUpdate {
    /// The learning rate.
    pub rate: f64,
    /// What the gradient is multiplied with first: 1, or less where it was clipped.
    pub scale: f64,
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
            .map(|lane| LaneRule {
                rule: lane.optimizer.clone(),
                weight_decay: lane.weight_decay,
                decay_on: lane.weight_decay_on.clone(),
            })
            .collect();
        Ok(Self { lanes, memory, table: accelerated::Lanes::default(), lives: None })
    }

    /// One step, number `step` from 0, of all `parameters`, with rate and scale for every lane;
    /// leaves a lane without them, and what memory it has, as it is.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn update<'a>(
        &mut self,
        parameters: impl Iterator<Item = &'a mut Parameter<T>>,
        step: u64,
        updates: &[Option<LaneUpdate>],
    ) -> Result<(), TrainError>
    where
        T: 'a,
    {
        let mut parameters = parameters.peekable();
        let first = parameters.peek().and_then(|parameter| parameter.value.accelerator());
        if let Some(accelerator) = first {
            return self.update_on(&accelerator, parameters, step, updates, Address::NONE);
        }
        for (parameter, memory) in parameters.zip(&mut self.memory) {
            let len = parameter.len();
            let is_weight = matches!(parameter.start, Start::Weight { .. });
            let gradient = parameter.gradient.read()?;
            let (lanes, present) = (&self.lanes, &parameter.lanes);
            parameter.value.write(|values| {
                lend_all(memory, |[one, two]| {
                    for lane in present.iter() {
                        let (rule, Some(by)) = (&lanes[lane], &updates[lane]) else { continue };
                        let place = lane * len..(lane + 1) * len;
                        let LaneUpdate { rate, scale } = *by;
                        let weight_decay = rule.decay_of(is_weight);
                        let update = Update {
                            value: &mut values[place.clone()],
                            gradient: gradient.lane(lane, len),
                            factors: Factors { rate, weight_decay, scale },
                        };
                        // A rule without memory is lent empty pieces of it.
                        let one = one.get_mut(place.clone()).unwrap_or_default();
                        let two = two.get_mut(place).unwrap_or_default();
                        rule.apply(update, [one, two], step);
                    }
                })
            })??;
        }
        Ok(())
    }

    /// All memory, in a fixed order.
    pub fn memories(&self) -> impl Iterator<Item = &Buffer<T>> {
        self.memory.iter().flatten()
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

impl LaneRule {
    /// Weight decay of a parameter that is a weight, or is not.
    fn decay_of(&self, is_weight: bool) -> f64 {
        if is_weight || self.decay_on == DecayOn::All { self.weight_decay } else { 0.0 }
    }

    /// Updates one lane of one parameter, in blocks that threads share. Every number is computed
    /// from its own place alone, so the blocks change no bit.
    fn apply<T: Real>(&self, update: Update<'_, T>, [one, two]: [&mut [T]; 2], step: u64) {
        let Update { value, gradient, factors } = update;
        match &self.rule {
            Rule::Sgd { momentum, .. } if *momentum == 0.0 => {
                for_each_block(value, BLOCK, |start, value| {
                    sgd::plain(Update { value, gradient: &gradient[start..], factors });
                });
            }
            Rule::Sgd { momentum, nesterov } => {
                for_each_pair((value, BLOCK), (one, BLOCK), |n, value, velocity| {
                    let update = Update { value, gradient: &gradient[n * BLOCK..], factors };
                    sgd::with_momentum(update, velocity, *momentum, *nesterov);
                });
            }
            Rule::Adam { beta1, beta2, eps } => {
                let constants = adam::Constants::new([*beta1, *beta2], *eps, step);
                for_each_triple([value, one, two], BLOCK, |start, [value, first, second]| {
                    let update = Update { value, gradient: &gradient[start..], factors };
                    adam::coupled(update, [first, second], constants);
                });
            }
            Rule::Adamw { beta1, beta2, eps } => {
                let constants = adam::Constants::new([*beta1, *beta2], *eps, step);
                for_each_triple([value, one, two], BLOCK, |start, [value, first, second]| {
                    let update = Update { value, gradient: &gradient[start..], factors };
                    adam::decoupled(update, [first, second], constants);
                });
            }
        }
    }
}

/// One lane of one parameter in one step.
pub struct Update<'a, T> {
    /// What is updated.
    pub value: &'a mut [T],
    /// Gradient of the mean loss; may be longer than `value`.
    pub gradient: &'a [T],
    /// What both are multiplied with.
    pub factors: Factors,
}

/// What one lane of one parameter is multiplied with in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// The learning rate.
    pub rate: f64,
    /// Weight decay, as the rule defines it.
    pub weight_decay: f64,
    /// On the gradient, before all else.
    pub scale: f64,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::parameter::StorageOrder;

    fn parameter(name: &str, start: Start) -> Parameter<f32> {
        let len = 3 * BLOCK + 5;
        let order = StorageOrder::Saved;
        let mut p = Parameter::new(name.to_owned(), 1, vec![len], order, start).unwrap();
        let wave = |x: &mut [f32], by: f32| {
            x.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f32 * by).sin());
        };
        p.value.write(|x| wave(x, 0.3)).unwrap();
        p.gradient.write(|x| wave(x, 0.7)).unwrap();
        p
    }

    fn weight() -> Parameter<f32> {
        parameter("w", Start::Weight { layer: 0, fan_in: 1, fan_out: 1 })
    }

    /// Three steps of a lane on `threads` threads; the values then.
    fn run(config: &RunConfig, mut p: Parameter<f32>, threads: usize) -> Vec<f32> {
        let mut optimizer =
            Optimizer::new(std::slice::from_ref(config), std::iter::once(&p)).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let updates = [Some(LaneUpdate { rate: 0.1, scale: 0.5 })];
        pool.install(|| {
            for step in 0..3 {
                optimizer.update(std::iter::once(&mut p), step, &updates).unwrap();
            }
        });
        p.value.read().unwrap().to_vec()
    }

    #[test]
    fn every_rule_gives_the_same_bits_on_any_number_of_threads() {
        let (beta1, beta2, eps) = (0.9, 0.99, 1e-8);
        for optimizer in [
            Rule::Sgd { momentum: 0.0, nesterov: false },
            Rule::Sgd { momentum: 0.9, nesterov: true },
            Rule::Adam { beta1, beta2, eps },
            Rule::Adamw { beta1, beta2, eps },
        ] {
            let config = RunConfig { optimizer, weight_decay: 0.01, ..RunConfig::default() };
            let alone = run(&config, weight(), 1);
            for threads in [2, 3] {
                assert!(alone == run(&config, weight(), threads), "{:?}", config.optimizer);
            }
        }
    }

    #[test]
    fn decay_on_weights_leaves_biases_and_norms_alone() {
        let decay = RunConfig { weight_decay: 0.1, ..RunConfig::default() };
        let plain = RunConfig::default();
        let chosen = RunConfig { weight_decay_on: DecayOn::Weights, ..decay.clone() };
        let bias = || parameter("b", Start::Bias { layer: 0, fan_in: 1 });
        let scale = || parameter("s", Start::Constant(1.0));
        assert!(run(&chosen, weight(), 1) == run(&decay, weight(), 1));
        for other in [&bias as &dyn Fn() -> _, &scale] {
            assert!(run(&chosen, other(), 1) == run(&plain, other(), 1));
            assert!(run(&decay, other(), 1) != run(&plain, other(), 1));
        }
    }
}
