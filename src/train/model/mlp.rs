//! The multi-layer perceptron: hidden linear layers with activation, and a linear layer of logits.

use super::builder::{Builder, scaled};
use super::network::{InputOrder, Network};
use crate::spec::RunConfig;
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::layer::Shape;
use crate::train::layer::linear::Bias;

/// After every hidden linear layer: batch normalisation if wanted (the layer then has no bias),
/// activation, dropout if wanted.
pub fn build<T: Real>(
    lanes: &[RunConfig],
    hidden: &[u32],
    (image, classes): ([usize; 3], usize),
    capacity: usize,
) -> Result<Network<T>, TrainError> {
    let input = (Shape::flat(image.iter().product()), InputOrder::ChannelsFirst);
    let mut network = Builder::new(lanes, capacity, input);
    let batch_norm = lanes[0].batch_norm.is_on();
    let bias = if batch_norm { Bias::Without } else { Bias::With };
    for &units in hidden {
        network.linear(scaled(units as usize, lanes[0].width, 16), bias)?;
        if batch_norm {
            network.batch_norm()?;
        }
        network.activation();
        network.dropout()?;
    }
    network.linear(classes, Bias::With)?;
    network.finish()
}

#[cfg(test)]
mod tests {
    use crate::spec::RunConfig;
    use crate::spec::batch_norm::BatchNorm;
    use crate::spec::model::Model;
    use crate::train::model::build;

    fn names_and_sizes(config: RunConfig) -> Vec<(String, usize)> {
        let network = build::<f32>(&[config], [1, 28, 28], 10, 1).unwrap();
        network.parameters().map(|p| (p.name.clone(), p.len())).collect()
    }

    #[test]
    fn the_networks_of_the_exercises_have_their_parameters() {
        let config = RunConfig::default();
        let parameters = names_and_sizes(config.clone());
        // 784-512-256-128-10.
        assert_eq!(parameters.iter().map(|p| p.1).sum::<usize>(), 567_434);
        assert_eq!(parameters[0], ("linear1.weight".to_owned(), 784 * 512));
        assert_eq!(parameters[7], ("linear4.bias".to_owned(), 10));
        let normed = names_and_sizes(RunConfig { batch_norm: BatchNorm::ON, ..config });
        let names: Vec<&str> = normed.iter().map(|p| p.0.as_str()).take(4).collect();
        assert_eq!(names, ["linear1.weight", "norm1.weight", "norm1.bias", "linear2.weight"]);
        assert_eq!(normed.iter().map(|p| p.1).sum::<usize>(), 567_434 + 512 + 256 + 128);
    }

    #[test]
    fn width_scales_hidden_layers_down_to_16_units() {
        let model = Model::Mlp { hidden: vec![100, 40, 8] };
        let parameters = names_and_sizes(RunConfig { model, width: 0.25, ..Default::default() });
        let biases: Vec<usize> = parameters.iter().skip(1).step_by(2).map(|p| p.1).collect();
        assert_eq!(biases, [25, 16, 8, 10]);
    }
}
