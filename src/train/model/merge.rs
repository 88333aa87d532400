//! One sequence of layers for lanes that do not all have the same ones.
//!
//! Lanes of a group may differ in where they normalise a batch, and so in which layers have a bias.
//! The merged sequence has every layer that any lane has, once, and says of each which lanes have
//! it; the others are passed through it unchanged. A layer keeps the name that it has in the
//! network of its lanes: where the same place is `norm3` in one lane and `norm2` in another, it is
//! two layers.

use crate::spec::architecture::{Architecture, Layer, Operation};
use crate::train::lane_set::LaneSet;

/// One layer of the merged sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged<'a> {
    /// What each lane has there; at least one has something.
    pub lanes: Vec<Option<&'a Layer>>,
}

impl<'a> Merged<'a> {
    /// The layer as the first lane that has it describes it. Shapes and names are the same in all,
    /// but for the name of an activation.
    pub fn description(&self) -> &'a Layer {
        let first = self.lanes.iter().flatten().next();
        first.expect("invariant: some lane has a layer of the merged sequence")
    }

    /// The lanes in which the layer does something.
    pub fn working(&self) -> LaneSet {
        self.lanes.iter().map(|lane| lane.is_some_and(|layer| !layer.is_idle())).collect()
    }

    /// The lanes in which the layer adds a bias.
    pub fn biased(&self) -> LaneSet {
        let biased = |layer: &Layer| {
            use Operation::{Conv2d, Linear};
            matches!(layer.operation, Conv2d { bias: true, .. } | Linear { bias: true, .. })
        };
        self.lanes.iter().map(|lane| lane.is_some_and(biased)).collect()
    }

    fn is_sound(&self) -> bool {
        let first = self.description();
        let kind = |layer: &Layer| std::mem::discriminant(&layer.operation);
        let normalisation = first.operation == Operation::BatchNorm;
        self.lanes.iter().all(|lane| {
            lane.map_or(normalisation, |layer| {
                kind(layer) == kind(first) && layer.output == first.output
            })
        })
    }
}

/// The merged sequence of the lanes' networks, which differ in batch normalisation at most.
///
/// # Panics
/// If they differ in anything else: whoever groups lanes checks that before.
pub fn merge(lanes: &[Architecture]) -> Vec<Merged<'_>> {
    let mut rest: Vec<_> = lanes.iter().map(|lane| lane.layers.iter().peekable()).collect();
    let mut merged = Vec::new();
    loop {
        // A normalisation comes first, for the lanes that have one of that name here.
        let normalisation = rest.iter_mut().find_map(|lane| {
            let layer = lane.peek().filter(|layer| layer.operation == Operation::BatchNorm)?;
            Some(layer.name)
        });
        let turn = |layer: &&Layer| normalisation.is_none_or(|name| layer.name == name);
        let lanes: Vec<_> = rest.iter_mut().map(|lane| lane.next_if(turn)).collect();
        if lanes.iter().all(Option::is_none) {
            return merged;
        }
        let layer = Merged { lanes };
        assert!(layer.is_sound(), "invariant: lanes differ in batch normalisation at most");
        merged.push(layer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RunConfig;
    use serde_json::json;

    /// Networks of a declared model, with the key `batch_norm` as given.
    fn lanes(layers: &serde_json::Value, batch_norm: &[bool]) -> Vec<Architecture> {
        let lane = |on: &bool| {
            let config = json!({ "model": { "layers": layers }, "batch_norm": on });
            let config = RunConfig::from_canonical(&config).unwrap();
            Architecture::new(&config, [2, 4, 4], 3).unwrap()
        };
        batch_norm.iter().map(lane).collect()
    }

    /// Name, lanes that have it, lanes with a bias.
    fn summary(lanes: &[Architecture]) -> Vec<String> {
        let digits = |set: LaneSet| -> String {
            (0..set.group()).map(|lane| if set.contains(lane) { '1' } else { '0' }).collect()
        };
        let line = |layer: &Merged<'_>| {
            let [working, biased] = [layer.working(), layer.biased()].map(digits);
            format!("{} {working} {biased}", layer.description().name)
        };
        merge(lanes).iter().map(line).collect()
    }

    #[test]
    fn a_normalisation_is_in_the_lanes_that_have_it_and_the_bias_before_it_in_the_others() {
        let layers = json!([
            { "kind": "conv2d", "channels": 4, "kernel": 3 }, "norm", "activation", "flatten",
            "dropout", "logits",
        ]);
        let found = summary(&lanes(&layers, &[false, true, false]));
        let expected = [
            "conv1 111 101",
            "norm1 010 000",
            "relu1 111 000",
            "flatten1 111 000",
            "dropout1 000 000",
            "linear1 111 111",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_lane_has_its_own_layers_in_their_order_under_their_own_names() {
        let layers = json!([
            "norm", "batch_norm", { "kind": "conv2d", "channels": 4, "kernel": 3 }, "norm",
            "activation", "batch_norm", "flatten", { "kind": "linear", "units": 5 }, "norm", "logits",
        ]);
        let lanes = lanes(&layers, &[true, false, true]);
        let merged = merge(&lanes);
        for (lane, own) in lanes.iter().enumerate() {
            let found: Vec<_> = merged.iter().filter_map(|m| m.lanes[lane]).cloned().collect();
            assert_eq!(found, own.layers);
        }
        let norms = summary(&lanes).into_iter().filter(|line| line.starts_with("norm"));
        let expected = ["norm1 111 000", "norm2 101 000", "norm3 101 000", "norm4 101 000"];
        let mut found: Vec<String> = norms.collect();
        assert!(found.contains(&"norm2 010 000".to_owned()), "{found:?}");
        found.retain(|line| line != "norm2 010 000");
        assert_eq!(found[..4], expected);
    }

    #[test]
    #[should_panic(expected = "differ in batch normalisation at most")]
    fn networks_that_differ_in_more_are_no_group() {
        let networks = [json!(["flatten", "logits"]), json!(["flatten", "activation", "logits"])];
        let all: Vec<_> = networks.iter().flat_map(|layers| lanes(layers, &[false])).collect();
        merge(&all);
    }
}
