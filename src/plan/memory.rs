//! What the runs of a plan need in memory.
//!
//! As for networks, only configurations that differ in a key that decides on it are looked at.

use super::networks::{Alike, alike};
use super::points::Points;
use crate::spec::Key;
use crate::spec::architecture::{Architecture, Memory, Unfit};

/// The keys that decide on what a run needs.
pub(super) const DECIDING: [Key; 15] = [
    Key::Dataset,
    Key::ValidationFraction,
    Key::TrainFraction,
    Key::Augmentation,
    Key::Evaluation,
    Key::Model,
    Key::Width,
    Key::BatchNorm,
    Key::Dropout,
    Key::Optimizer,
    Key::BatchSize,
    Key::Devices,
    Key::Device,
    Key::Precision,
    Key::Measure,
];

/// A need and who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// What a run needs, as forecast.
    pub memory: Memory,
    /// The first configuration that needs so much.
    pub example: usize,
    /// How many configurations do.
    pub configurations: usize,
}

/// The distinct needs of a plan, the largest first.
///
/// # Errors
/// When a layer does not fit what arrives at it, which a plan without misfits rules out.
pub fn needs(points: &Points) -> Result<Vec<Need>, Unfit> {
    let mut found: Vec<Need> = Vec::new();
    for Alike { first, count } in alike(points, &DECIDING) {
        let config = points.config(first);
        let memory = Architecture::of(&config)?.memory_where_it_trains(&config);
        match found.iter_mut().find(|need| need.memory == memory) {
            Some(need) => need.configurations += count,
            None => found.push(Need { memory, example: first, configurations: count }),
        }
    }
    found.sort_by_key(|need| std::cmp::Reverse(need.memory.total()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample::{grid, neighbours, planned};
    use crate::spec::RunConfig;

    #[test]
    fn every_key_that_decides_on_memory_is_looked_at() {
        for (key, pair) in neighbours() {
            let need = |config: &RunConfig| {
                Architecture::of(config).unwrap().memory_where_it_trains(config)
            };
            assert!(need(&pair[0]) == need(&pair[1]) || DECIDING.contains(&key), "{key}");
        }
    }

    #[test]
    fn needs_are_told_apart_by_what_decides_on_them_and_the_largest_is_first() {
        let spec = grid(&["optimizer=\"sgd\" \"adam\" \"adamw\"", "lr=0.1 0.01"]);
        let of_optimizers = needs(&planned(&spec, None).points).unwrap();
        let found: Vec<[usize; 2]> =
            of_optimizers.iter().map(|need| [need.configurations, need.example]).collect();
        assert_eq!(found, [[4, 2], [2, 0]]);
        let [adam, sgd] = [of_optimizers[0].memory, of_optimizers[1].memory];
        assert_eq!(adam.total() - sgd.total(), 2 * sgd.gradients);
        let spec = grid(&["devices=1 2"]);
        let ranks = needs(&planned(&spec, None).points).unwrap();
        let [one, two] = [ranks[0].memory, ranks[1].memory];
        assert!(one.scratch > two.scratch, "a rank has a part of the batch");
    }
}
