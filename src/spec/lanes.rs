//! Which runs may be lanes of one network.
//!
//! The planner groups by this law and the engine holds to it, so no group is refused that was
//! planned.

use super::measure::Measurement;
use super::{Key, RunConfig};

/// What all lanes of a network share: they decide on shapes, on how many steps there are, and on
/// what is looked at.
const SHARED: [Key; 12] = [
    Key::Dataset,
    Key::ValidationFraction,
    Key::TrainFraction,
    Key::Model,
    Key::Width,
    Key::BatchSize,
    Key::Epochs,
    Key::Mode,
    Key::Device,
    Key::Devices,
    Key::Precision,
    Key::Measure,
];

/// The keys that can keep two runs apart: where configurations agree in all of them, they may be
/// lanes of one network.
pub const DECIDING: [Key; 14] = {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = SHARED;
    [a, b, c, d, e, f, g, h, i, j, k, l, Key::Activation, Key::Augmentation]
};

/// The key that keeps `other` from being a lane beside `first`; `None` where nothing does. They may
/// differ in whatever leaves the shapes alone: batch normalisation among others, and augmentation as
/// long as the images keep their size.
pub fn difference(first: &RunConfig, other: &RunConfig) -> Option<Key> {
    // What is measured of activations is defined by their one function.
    let watches = |measurement: &Measurement| *measurement == Measurement::Activation;
    let watched = first.measure.iter().any(watches).then_some(Key::Activation);
    let size = |config: &RunConfig| {
        let [_, height, width] = config.dataset.image_shape();
        config.input_size([height, width])
    };
    let differs = |key: &Key| first.setting(*key) != other.setting(*key);
    let sized = || (size(first) != size(other)).then_some(Key::Augmentation);
    SHARED.into_iter().chain(watched).find(differs).or_else(sized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Setting;
    use crate::spec::diagnostics::Diagnostics;
    use crate::spec::node::Node;

    fn setting(text: &str) -> Setting {
        let (key, value) = text.split_once('=').unwrap();
        let node = Node::from_json(&serde_json::from_str(value).unwrap());
        let key = Key::from_name(key).unwrap();
        key.read(&node, &mut Diagnostics::new()).unwrap_or_else(|| panic!("bad value {text}"))
    }

    #[test]
    fn what_leaves_the_shapes_alone_may_differ() {
        let base = || RunConfig { epochs: 3, ..RunConfig::default() };
        let with = |text: &str| {
            let mut config = base();
            config.set(&setting(text));
            difference(&base(), &config)
        };
        for free in [
            "seed=7",
            "lr=0.5",
            "schedule=\"cosine\"",
            "weight_decay=0.1",
            "dropout=0.5",
            "activation=\"tanh\"",
            "batch_norm=true",
            "augmentation=\"basic\"",
            "optimizer=\"adam\"",
            "label_smoothing=0.1",
            "early_stopping=\"validation\"",
        ] {
            assert_eq!(with(free), None, "{free}");
        }
        for (held, key) in [
            ("epochs=4", Key::Epochs),
            ("batch_size=64", Key::BatchSize),
            ("width=0.5", Key::Width),
            ("devices=2", Key::Devices),
            ("mode=\"throughput\"", Key::Mode),
            ("device=\"cpu\"", Key::Device),
            ("precision=\"bf16\"", Key::Precision),
            ("measure=[\"memory\"]", Key::Measure),
            ("dataset=\"mnist\"", Key::Dataset),
            ("augmentation=[{\"kind\":\"random_crop\",\"size\":24}]", Key::Augmentation),
        ] {
            assert_eq!(with(held), Some(key), "{held}");
        }
        let watching = |activation: &str| {
            let mut config = base();
            config.set(&setting("measure=[\"activation\"]"));
            config.set(&setting(&format!("activation={activation:?}")));
            config
        };
        assert_eq!(difference(&watching("relu"), &watching("tanh")), Some(Key::Activation));
        assert_eq!(difference(&watching("relu"), &watching("relu")), None);
    }
}
