//! The initial weights.
//!
//! Numbers are drawn in the order in which a parameter is saved, so they do not depend on how it
//! lies in memory, and a layer's stream is named by the layer's number among those with weights, so
//! adding a batch normalisation or a dropout changes no other layer's start.

use super::error::TrainError;
use super::kernel::Real;
use super::layer::Parameter;
use super::layer::parameter::Start;
use super::rng::{Purpose, Reader, Stream};
use crate::spec::init::Init;

/// How many layers with weights a network has: tells where each of them stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Convolutions; they come first.
    convolutions: u32,
    /// Convolutions and linear layers.
    layers: u32,
}

impl Depth {
    /// Of the network that has these parameters.
    pub fn of<'a, T: Real>(parameters: impl Iterator<Item = &'a Parameter<T>>) -> Self {
        let mut depth = Self { convolutions: 0, layers: 0 };
        for parameter in parameters {
            if let Start::Weight { layer, .. } = parameter.start {
                depth.layers = depth.layers.max(layer + 1);
                if parameter.shape.len() == 4 {
                    depth.convolutions = depth.convolutions.max(layer + 1);
                }
            }
        }
        depth
    }

    /// The start of the biases of a layer in the paper on AlexNet (Krizhevsky et al., 2012, section
    /// 5): 1 where it feeds a rectifier that would otherwise learn late.
    fn alexnet_bias(self, layer: u32) -> f64 {
        let positive = if layer < self.convolutions {
            // Of five, counted from 1: the second, the fourth and the fifth.
            [1, 3, 4].contains(&layer)
        } else {
            layer + 1 < self.layers
        };
        f64::from(u8::from(positive))
    }
}

/// Fills one lane of a parameter of a network of that depth with its start.
///
/// # Errors
/// When the tensor library fails.
pub fn start<T: Real>(
    parameter: &mut Parameter<T>,
    lane: usize,
    init: &Init,
    (seed, depth): (u64, Depth),
) -> Result<(), TrainError> {
    // Two streams a layer: its weight and its bias.
    let reader =
        |layer: u32, part: u32| Stream::new(seed, Purpose::Init, 0, 2 * layer + part).reader();
    // Numbers that are to come from a file are none until they do.
    let start = match init {
        Init::From { .. } => Start::Constant(f64::NAN),
        _ => parameter.start,
    };
    parameter.fill(lane, |values| match start {
        Start::Constant(value) => values.fill(T::of(value)),
        Start::Weight { layer, fan_in, fan_out } => {
            weight(init, [fan_in as f64, fan_out as f64], &mut reader(layer, 0), values);
        }
        Start::Bias { layer, fan_in } => match init {
            Init::Pytorch => uniform((1.0 / fan_in as f64).sqrt(), &mut reader(layer, 1), values),
            Init::Alexnet => values.fill(T::of(depth.alexnet_bias(layer))),
            _ => values.fill(T::ZERO),
        },
    })
}

/// Draws weights.
fn weight<T: Real>(
    init: &Init,
    [fan_in, fan_out]: [f64; 2],
    reader: &mut Reader,
    values: &mut [T],
) {
    match init {
        Init::Pytorch => uniform((1.0 / fan_in).sqrt(), reader, values),
        Init::KaimingUniform => uniform((6.0 / fan_in).sqrt(), reader, values),
        Init::XavierUniform => uniform((6.0 / (fan_in + fan_out)).sqrt(), reader, values),
        Init::KaimingNormal => normal((2.0 / fan_in).sqrt(), reader, values),
        Init::XavierNormal => normal((2.0 / (fan_in + fan_out)).sqrt(), reader, values),
        Init::Alexnet => normal(0.01, reader, values),
        Init::From { .. } => unreachable!("invariant: weights of a file are not drawn"),
    }
}

/// Uniform in +-`bound`.
fn uniform<T: Real>(bound: f64, reader: &mut Reader, values: &mut [T]) {
    for value in values {
        *value = T::of(bound * (2.0 * f64::from(reader.uniform()) - 1.0));
    }
}

/// Normal with mean 0 and deviation `std`.
fn normal<T: Real>(std: f64, reader: &mut Reader, values: &mut [T]) {
    for value in values {
        *value = T::of(std * f64::from(reader.normal()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::parameter::StorageOrder;

    const DEPTH: Depth = Depth { convolutions: 5, layers: 8 };

    fn drawn(init: &Init, start_: Start, seed: u64, order: StorageOrder) -> Vec<f32> {
        let shape = vec![50, 20, 3, 3];
        let mut parameter = Parameter::<f32>::new("w".to_owned(), 1, shape, order, start_).unwrap();
        start(&mut parameter, 0, init, (seed, DEPTH)).unwrap();
        let values = parameter.value.read().unwrap().to_vec();
        parameter.to_saved(&values).into_owned()
    }

    const WEIGHT: Start = Start::Weight { layer: 1, fan_in: 180, fan_out: 450 };

    #[test]
    fn every_distribution_has_its_mean_deviation_and_bounds() {
        let cases = [
            (Init::Pytorch, (1.0_f64 / 180.0 / 3.0).sqrt(), Some((1.0_f64 / 180.0).sqrt())),
            (Init::KaimingUniform, (2.0_f64 / 180.0).sqrt(), Some((6.0_f64 / 180.0).sqrt())),
            (Init::XavierUniform, (2.0_f64 / 630.0).sqrt(), Some((6.0_f64 / 630.0).sqrt())),
            (Init::KaimingNormal, (2.0_f64 / 180.0).sqrt(), None),
            (Init::XavierNormal, (2.0_f64 / 630.0).sqrt(), None),
            (Init::Alexnet, 0.01, None),
        ];
        for (init, std, bound) in cases {
            let values = drawn(&init, WEIGHT, 5, StorageOrder::Saved);
            let n = values.len() as f64;
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let square = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
            assert!(mean.abs() < 5.0 * std / n.sqrt(), "{init:?} {mean}");
            assert!((square.sqrt() / std - 1.0).abs() < 0.04, "{init:?} {}", square.sqrt());
            if let Some(bound) = bound {
                assert!(values.iter().all(|&x| f64::from(x).abs() <= bound + 1e-7));
            }
        }
    }

    #[test]
    fn numbers_depend_on_seed_and_layer_but_not_on_memory() {
        let saved = drawn(&Init::Pytorch, WEIGHT, 5, StorageOrder::Saved);
        assert_eq!(drawn(&Init::Pytorch, WEIGHT, 5, StorageOrder::ChannelsLast), saved);
        assert_ne!(drawn(&Init::Pytorch, WEIGHT, 6, StorageOrder::Saved), saved);
        let other = Start::Weight { layer: 2, fan_in: 180, fan_out: 450 };
        assert_ne!(drawn(&Init::Pytorch, other, 5, StorageOrder::Saved), saved);
    }

    #[test]
    fn biases_are_drawn_only_where_pytorch_draws_them() {
        let bias = Start::Bias { layer: 0, fan_in: 16 };
        let pytorch = drawn(&Init::Pytorch, bias, 0, StorageOrder::Saved);
        assert!(pytorch.iter().all(|x| x.abs() <= 0.25) && pytorch.iter().any(|x| x.abs() > 0.2));
        let zeros = drawn(&Init::KaimingNormal, bias, 0, StorageOrder::Saved);
        assert!(zeros.iter().all(|&x| x == 0.0));
    }

    #[test]
    fn alexnets_biases_are_those_of_the_paper() {
        let biases = |convolutions, layers| -> Vec<f64> {
            let depth = Depth { convolutions, layers };
            (0..layers).map(|layer| depth.alexnet_bias(layer)).collect()
        };
        assert_eq!(biases(5, 8), [0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(biases(0, 3), [1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_networks_depth_is_read_off_its_parameters() {
        use crate::spec::RunConfig;
        use crate::spec::model::Model;
        let config =
            RunConfig { model: Model::Alexnet32, init: Init::Alexnet, ..Default::default() };
        let network = crate::train::model::build::<f32>(&[config], [1, 28, 28], 10, 1).unwrap();
        assert_eq!(Depth::of(network.parameters()), DEPTH);
        let ones = |name: &str| {
            let bias = network.parameters().find(|p| p.name == name).unwrap();
            bias.value.read().unwrap().iter().all(|&x| x == 1.0)
        };
        assert!(ones("conv2.bias") && ones("linear2.bias"));
        assert!(!ones("conv3.bias") && !ones("linear3.bias"));
    }
}
