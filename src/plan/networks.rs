//! The distinct networks among the configurations of a plan.
//!
//! Two networks are one if their layers have the same names and shapes: an axis of learning rates,
//! activations or dropout probabilities makes no second one. Only configurations that differ in a key
//! of the network are looked at, so a grid of a million points costs a hash for each and no more.

use std::collections::HashMap;

use super::points::Points;
use crate::spec::Key;
use crate::spec::architecture::{Architecture, Layer, Unfit};

/// The keys that decide on layers and shapes.
const DECIDING: [Key; 6] =
    [Key::Dataset, Key::Augmentation, Key::Model, Key::Width, Key::BatchNorm, Key::Dropout];

/// A network and who trains it.
#[derive(Debug, Clone)]
pub struct PlannedNetwork {
    /// The network, with the activation and dropout of the example.
    pub architecture: Architecture,
    /// The first configuration that trains it.
    pub example: usize,
    /// How many configurations train it.
    pub configurations: usize,
}

/// The networks of a plan, in the order of the first configurations that train them.
///
/// # Errors
/// When a layer does not fit what arrives at it, which a plan without misfits rules out.
pub fn networks(points: &Points) -> Result<Vec<PlannedNetwork>, Unfit> {
    let mut found: Vec<PlannedNetwork> = Vec::new();
    for Alike { first, count } in alike(points, &DECIDING) {
        let architecture = Architecture::of(&points.config(first))?;
        match found.iter_mut().find(|network| same(&network.architecture, &architecture)) {
            Some(network) => network.configurations += count,
            None => {
                found.push(PlannedNetwork { architecture, example: first, configurations: count });
            }
        }
    }
    Ok(found)
}

/// Have both the same layers?
fn same(one: &Architecture, other: &Architecture) -> bool {
    let outline = |layer: &Layer| (layer.name.number, layer.output, layer.parameter_shapes());
    one.input == other.input
        && one.working_layers().map(outline).eq(other.working_layers().map(outline))
}

/// Points that agree in some keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alike {
    /// The first of them.
    pub(crate) first: usize,
    /// How many there are.
    pub(crate) count: usize,
}

/// Groups the points by their values of `keys`, in the order of their first points.
pub(crate) fn alike(points: &Points, keys: &[Key]) -> Vec<Alike> {
    let deciding = |column: &usize| keys.contains(&points.columns[*column].key);
    let columns: Vec<usize> = (0..points.columns.len()).filter(deciding).collect();
    let mut numbers: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut groups: Vec<Alike> = Vec::new();
    let mut values = Vec::with_capacity(columns.len());
    for (point, row) in points.matrix.rows().enumerate() {
        values.clear();
        values.extend(columns.iter().map(|column| row[*column]));
        match numbers.get(&values) {
            Some(&number) => groups[number].count += 1,
            None => {
                numbers.insert(values.clone(), groups.len());
                groups.push(Alike { first: point, count: 1 });
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample::{grid, neighbours, planned};

    #[test]
    fn every_key_that_decides_on_layers_is_looked_at() {
        for (key, pair) in neighbours() {
            let [one, other] = pair.map(|config| Architecture::of(&config).unwrap());
            assert!(same(&one, &other) || DECIDING.contains(&key), "{key}");
        }
    }

    #[test]
    fn axes_that_leave_the_layers_alone_make_no_second_network() {
        let spec = grid(&[
            "lr=0.1 0.01 0.001",
            "width=1 0.5",
            "dropout=0 0.2 0.5",
            "activation=\"relu\" \"tanh\"",
        ]);
        let plan = planned(&spec, None);
        let networks = networks(&plan.points).unwrap();
        let found: Vec<(usize, usize)> = networks
            .iter()
            .map(|network| (network.configurations, network.architecture.working_layers().count()))
            .collect();
        // Two widths, with and without dropout layers (after each of three activations).
        assert_eq!(found, [(6, 8), (12, 11), (6, 8), (12, 11)]);
        assert_eq!(networks[0].example, 0);
    }

    #[test]
    fn a_sweep_that_varies_nothing_has_one_network() {
        let plan = planned(&grid(&[]), None);
        let networks = networks(&plan.points).unwrap();
        assert_eq!((networks.len(), networks[0].configurations), (1, 1));
    }
}
