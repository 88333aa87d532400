//! What each configuration of a plan takes: a device, memory, arithmetic.
//!
//! Only configurations that differ in a key that decides on it are looked at.

use std::collections::HashMap;

use super::memory;
use super::points::Points;
use crate::spec::architecture::{Architecture, Unfit};
use crate::spec::device::Device;
use crate::spec::precision::Precision;
use crate::spec::{Key, RunConfig};

/// The keys that decide on what a run takes.
const DECIDING: [Key; 17] = {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = memory::DECIDING;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, Key::Epochs, Key::Mode]
};

/// What a run takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// Where it asks to train.
    pub device: Device,
    /// Devices that train it together.
    pub devices: u32,
    /// How it computes.
    pub precision: Precision,
    /// What it needs in main memory where it trains on cores, as forecast, in bytes.
    pub memory: u64,
    /// What it needs in the memory of a GPU where it trains on one, likewise.
    pub gpu_memory: u64,
    /// Bytes of one of its checkpoints; 0 where it writes none.
    pub checkpoint: u64,
    /// Multiply-adds of all its epochs with their validation, and of the test.
    pub multiply_adds: f64,
    /// Are convolutions most of them?
    pub convolutional: bool,
    /// Passes over the training images.
    pub epochs: u32,
    /// Must nothing else run meanwhile?
    pub exclusive: bool,
}

impl Requirement {
    /// Of one configuration.
    ///
    /// # Errors
    /// When a layer does not fit what arrives at it.
    pub fn of(config: &RunConfig) -> Result<Self, Unfit> {
        let architecture = Architecture::of(config)?;
        let parts = config.parts();
        let forward = architecture.forward_multiply_adds() as f64;
        let epoch = architecture.training_multiply_adds() as f64 * parts.train as f64
            + forward * parts.validation as f64;
        let memory = architecture.memory(config);
        Ok(Self {
            device: config.device.clone(),
            devices: config.devices,
            precision: config.precision,
            memory: memory.total(),
            gpu_memory: architecture.memory_on_gpu(config).total(),
            checkpoint: match config.mode.course() {
                None => memory.weights.saturating_add(memory.optimizer),
                Some(_) => 0,
            },
            multiply_adds: match config.mode.course() {
                None => epoch * f64::from(config.epochs) + forward * parts.test as f64,
                Some(course) => {
                    let images = course.total() as f64 * f64::from(config.batch_size);
                    architecture.training_multiply_adds() as f64 * images
                }
            },
            convolutional: architecture.is_convolutional(),
            epochs: config.epochs,
            exclusive: config.mode.course().is_some(),
        })
    }
}

/// What the configurations of a plan take.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Requirements {
    /// Each with the first configuration that has it.
    distinct: Vec<(usize, Requirement)>,
    /// For each configuration, which of them.
    numbers: Vec<u32>,
}

impl Requirements {
    /// Of every point.
    ///
    /// # Errors
    /// When a layer does not fit what arrives at it, which a plan without misfits rules out.
    pub fn of(points: &Points) -> Result<Self, Unfit> {
        let deciding = |column: &usize| DECIDING.contains(&points.columns[*column].key);
        let columns: Vec<usize> = (0..points.columns.len()).filter(deciding).collect();
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut found = Self::default();
        let mut values = Vec::with_capacity(columns.len());
        for (point, row) in points.matrix.rows().enumerate() {
            values.clear();
            values.extend(columns.iter().map(|column| row[*column]));
            let number = match known.get(&values) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(found.distinct.len()).unwrap_or(u32::MAX);
                    found.distinct.push((point, Requirement::of(&points.config(point))?));
                    known.insert(values.clone(), number);
                    number
                }
            };
            found.numbers.push(number);
        }
        Ok(found)
    }

    /// Of one configuration, by its number.
    pub fn get(&self, configuration: usize) -> &Requirement {
        &self.distinct[self.numbers[configuration] as usize].1
    }

    /// The distinct ones, each with the first configuration that has it.
    pub fn distinct(&self) -> impl Iterator<Item = (usize, &Requirement)> {
        self.distinct.iter().map(|(first, requirement)| (*first, requirement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample::{grid, neighbours, planned};

    #[test]
    fn every_key_that_decides_on_what_a_run_takes_is_looked_at() {
        for (key, pair) in neighbours() {
            let [one, other] = pair.map(|config| Requirement::of(&config).unwrap());
            assert!(one == other || DECIDING.contains(&key), "{key}");
        }
    }

    #[test]
    fn configurations_that_take_the_same_are_looked_at_once() {
        let spec = grid(&["lr=0.1 0.01", "epochs=10 5", "activation=\"relu\" \"tanh\""]);
        let plan = planned(&spec, None);
        let found = Requirements::of(&plan.points).unwrap();
        let distinct: Vec<(usize, u32)> =
            found.distinct().map(|(first, requirement)| (first, requirement.epochs)).collect();
        assert_eq!(distinct, [(0, 10), (2, 5)]);
        let [ten, five] = [0, 2].map(|point| found.get(point).multiply_adds);
        assert!(ten > 1.9 * five && ten < 2.0 * five, "the test is passed once: {ten} {five}");
        assert_eq!(found.get(7), found.get(2));
    }
}
