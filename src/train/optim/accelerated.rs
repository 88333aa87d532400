//! The update rules on an accelerator: one launch a parameter for all lanes, whatever rule each has.

use super::adam::Constants;
use super::{Factors, LaneRule, LaneUpdate, Optimizer, Rule};
use crate::train::device::{Accelerator, Address, Argument, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::layer::parameter::Start;
use crate::train::layer::{Lives, Parameter};

/// Numbers of a lane in the kernel's table.
const PER_LANE: usize = 12;

/// What the kernel looks up: for every parameter the numbers of every lane.
pub type Lanes = Table<f32>;

impl<T: Real> Optimizer<T> {
    /// Moves the rules' memory to an accelerator, where a lane is left as it is once that finds that
    /// it does not live.
    ///
    /// # Errors
    /// When it has no room for it.
    pub fn move_to(
        &mut self,
        accelerator: &Accelerator,
        lives: Option<Lives>,
    ) -> Result<(), TrainError> {
        self.lives = lives;
        self.memory.iter_mut().flatten().try_for_each(|buffer| buffer.move_to(accelerator))
    }

    /// [`update`](Self::update) of parameters that are on an accelerator, where gradients are multiplied
    /// with the lanes' `scales` there, if there are any, instead of those in `updates`.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn update_on<'a>(
        &mut self,
        accelerator: &Accelerator,
        parameters: impl Iterator<Item = &'a mut Parameter<T>>,
        step: u64,
        updates: &[Option<LaneUpdate>],
        scales: Address,
    ) -> Result<(), TrainError>
    where
        T: 'a,
    {
        let (rules, memory) = (&self.lanes, &self.memory);
        // First all numbers, in one copy; then the launches.
        let mut launches = Vec::with_capacity(memory.len());
        self.table.refill(|table| {
            for (parameter, memory) in parameters.zip(memory) {
                let is_weight = matches!(parameter.start, Start::Weight { .. });
                for (lane, (rule, update)) in rules.iter().zip(updates).enumerate() {
                    let update = update.filter(|_| parameter.lanes.contains(lane));
                    let numbers = update.map(|by| rule.numbers(by, is_weight, step));
                    table.extend(numbers.unwrap_or_default());
                }
                let memory = [0, 1].map(|i| memory.get(i).map_or(Address::NONE, |b| b.address()));
                let [value, gradient] = [&parameter.value, &parameter.gradient].map(Argument::from);
                launches.push((parameter.len(), [value, gradient], memory));
            }
        });
        let table = self.table.place(accelerator)?;
        let lives = Lives::address(self.lives.as_ref());
        for (at, (len, [value, gradient], [one, two])) in launches.into_iter().enumerate() {
            let lanes = table.after::<f32>(at * rules.len() * PER_LANE);
            let given = arguments![value, gradient, one, two, lanes, lives, scales];
            accelerator.launch_fours("update_parameter", [len, rules.len()], given)?;
        }
        Ok(())
    }
}

impl LaneRule {
    /// What `kernels/optimizer.cu` computes a lane with, rounded as the CPU's rules round it.
    fn numbers(&self, update: LaneUpdate, is_weight: bool, step: u64) -> [f32; PER_LANE] {
        let LaneUpdate { rate, scale } = update;
        let factors = Factors { rate, weight_decay: self.decay_of(is_weight), scale };
        let by = |rule: f64, decay: f64, rest: &[f64]| {
            let mut numbers = [0.0; PER_LANE];
            let all = [rule, scale, decay].into_iter().chain(rest.iter().copied());
            numbers.iter_mut().zip(all).for_each(|(number, x)| *number = x as f32);
            numbers
        };
        let decay = factors.weight_decay;
        match &self.rule {
            Rule::Sgd { momentum, .. } if *momentum == 0.0 => by(1.0, decay, &[rate]),
            Rule::Sgd { momentum, nesterov } => {
                let [a, b] = if *nesterov { [1.0, *momentum] } else { [0.0, 1.0] };
                by(2.0, decay, &[rate, *momentum, a, b])
            }
            Rule::Adam { beta1, beta2, eps } => {
                let constants = Constants::new([*beta1, *beta2], *eps, step);
                by(3.0, decay, &constants.numbers(rate, 1.0))
            }
            Rule::Adamw { beta1, beta2, eps } => {
                let constants = Constants::new([*beta1, *beta2], *eps, step);
                by(3.0, 0.0, &constants.numbers(rate, 1.0 - rate * decay))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RunConfig;
    use crate::train::device::emulated;
    use crate::train::layer::parameter::StorageOrder;

    fn parameter(start: Start, lanes: Vec<bool>) -> Parameter<f32> {
        let order = StorageOrder::Saved;
        let lanes: crate::train::lane_set::LaneSet = lanes.into_iter().collect();
        let mut p = Parameter::new("w".to_owned(), lanes, vec![300], order, start).unwrap();
        let wave = |x: &mut [f32], by: f32| {
            x.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f32 * by).sin());
        };
        p.value.write(|x| wave(x, 0.3)).unwrap();
        p.gradient.write(|x| wave(x, 0.7)).unwrap();
        p
    }

    /// Values and memory of every parameter after three steps.
    fn run(configs: &[RunConfig], on: Option<&Accelerator>) -> Vec<Vec<f32>> {
        let weight = Start::Weight { layer: 0, fan_in: 1, fan_out: 1 };
        let absent = (0..configs.len()).map(|lane| lane != 2).collect();
        let mut parameters = [
            parameter(weight, vec![true; configs.len()]),
            parameter(Start::Bias { layer: 0, fan_in: 1 }, absent),
        ];
        let mut optimizer = Optimizer::new(configs, parameters.iter()).unwrap();
        if let Some(accelerator) = on {
            optimizer.move_to(accelerator, None).unwrap();
            for parameter in &mut parameters {
                parameter.value.move_to(accelerator).unwrap();
                parameter.gradient.move_to(accelerator).unwrap();
            }
        }
        for step in 0..3 {
            let update = |lane: usize| LaneUpdate {
                rate: 0.1 / (1 + lane) as f64,
                scale: if lane == 1 { 0.37 } else { 1.0 },
            };
            let live = |lane: usize| lane != 3 || step == 0;
            let updates: Vec<_> =
                (0..configs.len()).map(|lane| live(lane).then(|| update(lane))).collect();
            optimizer.update(parameters.iter_mut(), step, &updates).unwrap();
        }
        let memory = optimizer.memory.iter().flatten();
        let values = parameters.iter().map(|p| &p.value).chain(memory);
        values.map(|buffer| buffer.read().unwrap().to_vec()).collect()
    }

    #[test]
    fn every_rule_has_the_same_bits_beside_every_other() {
        for accelerator in emulated::accelerators() {
            let (beta1, beta2, eps) = (0.9, 0.99, 1e-8);
            let rules = [
                Rule::Sgd { momentum: 0.0, nesterov: false },
                Rule::Sgd { momentum: 0.9, nesterov: false },
                Rule::Sgd { momentum: 0.9, nesterov: true },
                Rule::Adam { beta1, beta2, eps },
                Rule::Adamw { beta1, beta2, eps },
            ];
            // All together, and each without the memory of others.
            let groups = std::iter::once(&rules[..]).chain(rules.chunks(1));
            for group in groups {
                let config = |optimizer: &Rule| RunConfig {
                    optimizer: optimizer.clone(),
                    weight_decay: 0.02,
                    ..RunConfig::default()
                };
                let mut configs: Vec<RunConfig> = group.iter().map(config).collect();
                configs[0].weight_decay_on = crate::spec::optimizer::DecayOn::Weights;
                while configs.len() < 4 {
                    configs.push(configs[0].clone());
                }
                assert!(run(&configs, None) == run(&configs, Some(&accelerator)), "{group:?}");
            }
        }
    }
}
