//! AlexNet (Krizhevsky et al., 2012) for images of about 32 px: five 3x3 convolutions, pooling to
//! 2x2, three linear layers.

use super::builder::{Builder, scaled};
use super::network::{InputOrder, Network};
use crate::spec::RunConfig;
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::layer::Shape;
use crate::train::layer::linear::Bias;
use crate::train::layer::patches::Window;

/// Output channels and stride of each convolution, and whether a 2x2 max pool follows.
const CONVOLUTIONS: [(usize, usize, bool); 5] =
    [(64, 2, true), (192, 1, true), (384, 1, false), (256, 1, false), (256, 1, false)];

/// Units of both hidden linear layers.
const HIDDEN: usize = 1024;

/// Batch normalisation, if wanted, stands between each convolution (then without bias) and its
/// activation; dropout, if wanted, before both hidden linear layers.
pub fn build<T: Real>(
    lanes: &[RunConfig],
    ([channels, height, width], classes): ([usize; 3], usize),
    capacity: usize,
) -> Result<Network<T>, TrainError> {
    let config = &lanes[0];
    let input = (Shape { height, width, channels }, InputOrder::ChannelsLast);
    let mut network = Builder::new(lanes, capacity, input);
    let bias = if config.batch_norm.is_on() { Bias::Without } else { Bias::With };
    for (channels, stride, pool) in CONVOLUTIONS {
        let window = Window::square(3, stride, 1);
        network.convolution(scaled(channels, config.width, 8), window, bias)?;
        if config.batch_norm.is_on() {
            network.batch_norm()?;
        }
        network.activation();
        if pool {
            network.max_pool(2, 2)?;
        }
    }
    network.adaptive_avg_pool([2, 2]);
    network.flatten();
    for _ in 0..2 {
        network.dropout()?;
        network.linear(scaled(HIDDEN, config.width, 16), Bias::With)?;
        network.activation();
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

    fn parameters(image: [usize; 3], width: f64, batch_norm: BatchNorm) -> usize {
        let model = Model::Alexnet32;
        let config = RunConfig { model, width, batch_norm, ..Default::default() };
        let network = build::<f32>(&[config], image, 10, 1).unwrap();
        network.parameters().map(crate::train::layer::Parameter::len).sum()
    }

    /// Weights and biases of 3x3 convolutions and linear layers, by their definition.
    fn expected(channels: [usize; 6], hidden: usize, batch_norm: bool) -> usize {
        let per_channel = if batch_norm { 2 } else { 1 };
        let convolutions: usize =
            channels.windows(2).map(|c| c[0] * c[1] * 9 + c[1] * per_channel).sum();
        let linear = |inputs: usize, outputs: usize| (inputs + 1) * outputs;
        convolutions + linear(channels[5] * 4, hidden) + linear(hidden, hidden) + linear(hidden, 10)
    }

    #[test]
    fn the_network_has_the_parameters_of_its_definition() {
        let full = [3, 64, 192, 384, 256, 256];
        assert_eq!(parameters([3, 32, 32], 1.0, BatchNorm::Off), expected(full, 1024, false));
        let quarter = [1, 16, 48, 96, 64, 64];
        assert_eq!(parameters([1, 28, 28], 0.25, BatchNorm::ON), expected(quarter, 256, true));
        let least = [1, 8, 8, 8, 8, 8];
        assert_eq!(parameters([1, 28, 28], 0.01, BatchNorm::Off), expected(least, 16, false));
    }

    #[test]
    fn an_image_that_the_pools_use_up_is_refused_by_name() {
        let config = RunConfig { model: Model::Alexnet32, ..Default::default() };
        let error = build::<f32>(&[config], [1, 4, 4], 10, 1).err().unwrap();
        let expected = "a pool of 2 x 2 needs an input of at least 2 x 2 pixels, found 192 x 1 x 1";
        assert_eq!(error.to_string(), expected);
    }
}
