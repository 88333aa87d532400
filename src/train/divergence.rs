//! Where a training that broke down broke down first: one look through the network at the moment
//! when a loss or a gradient is found not to be finite, so that somebody knows where to look.
//!
//! A lane that has diverged stays as it was before the step in which that was noticed; the others
//! of its group go on. What is known of it is saved with it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::kernel::Real;
use super::layer::{Parameter, Pass};
use super::model::Network;

/// What was noticed, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divergence {
    /// The step, from 0, over the whole run, that was not done.
    pub step: u64,
    /// Its epoch, from 1; of a validation the epoch before.
    pub epoch: u32,
    /// What was found not to be finite.
    pub noticed: Noticed,
    /// Where it begins; `None` after a validation, where nobody looks.
    pub origin: Option<Origin>,
}

/// What was found not to be finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noticed {
    /// The loss: is it NaN, or infinite?
    Loss {
        /// NaN; infinite otherwise.
        nan: bool,
    },
    /// The norm of the gradients, where it is measured.
    GradientNorm {
        /// NaN; infinite otherwise.
        nan: bool,
    },
    /// The loss on the validation part after an epoch: a network can break in its last step.
    ValidationLoss,
}

impl Divergence {
    /// Epochs that the lane has complete.
    pub fn epochs_done(&self) -> u32 {
        match self.noticed {
            Noticed::ValidationLoss => self.epoch,
            Noticed::Loss { .. } | Noticed::GradientNorm { .. } => self.epoch.saturating_sub(1),
        }
    }
}

/// Where what is not finite begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A layer made it of what was finite, weights and input.
    Output {
        /// Name of the layer.
        layer: String,
    },
    /// A layer's own parameters: the last update broke them.
    Weights {
        /// Name of the parameter.
        parameter: String,
    },
    /// A gradient; the first one in backward's order.
    Gradient {
        /// Name of the parameter.
        parameter: String,
    },
    /// All numbers are finite, and only what was made of them is too large.
    Overflow,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, nan) = match self.noticed {
            Noticed::Loss { nan } => ("loss", nan),
            Noticed::GradientNorm { nan } => ("norm of the gradients", nan),
            Noticed::ValidationLoss => {
                let epoch = self.epoch;
                return write!(f, "the validation loss after epoch {epoch} is not a finite number");
            }
        };
        let value = if nan { "nan" } else { "infinite" };
        write!(f, "{what} is {value} at step {} (epoch {})", self.step, self.epoch)?;
        let Some(origin) = &self.origin else { return Ok(()) };
        f.write_str(": ")?;
        match origin {
            Origin::Output { layer } => write!(f, "first non-finite output in {layer}"),
            Origin::Weights { parameter } => write!(f, "first non-finite weights in {parameter}"),
            Origin::Gradient { parameter } => write!(f, "first non-finite gradient of {parameter}"),
            Origin::Overflow => {
                f.write_str("every output and gradient is finite, their sum is not")
            }
        }
    }
}

/// Looks through the outputs of the last forward of a lane, each layer's weights before its output:
/// the input's side first.
///
/// # Errors
/// When the tensor library fails.
pub fn in_forward<T: Real>(
    network: &Network<T>,
    lane: usize,
    pass: &Pass,
) -> Result<Option<Origin>, TrainError> {
    let mut last_named = "the input".to_owned();
    let present = |parameter: &&Parameter<T>| parameter.lanes.contains(lane);
    for (layer, output) in network.layers_of(lane) {
        for parameter in layer.parameters().iter().filter(present) {
            if !all_finite(parameter.value.read()?.lane(lane, parameter.len())) {
                return Ok(Some(Origin::Weights { parameter: parameter.name.clone() }));
            }
        }
        let own = layer.parameters().first().and_then(|p| p.name.rsplit_once('.'));
        // Layers without parameters have no name of their own.
        let name = own.map_or_else(|| format!("a layer after {last_named}"), |(n, _)| n.to_owned());
        let units = layer.output_shape().units();
        if !all_finite(output.read()?.lane(lane, pass.samples * units)) {
            return Ok(Some(Origin::Output { layer: name }));
        }
        if let Some((own, _)) = own {
            last_named = own.to_owned();
        }
    }
    Ok(None)
}

/// Looks through a lane's gradients in the order in which backward makes them.
///
/// # Errors
/// When the tensor library fails.
pub fn in_backward<T: Real>(
    network: &Network<T>,
    lane: usize,
) -> Result<Option<Origin>, TrainError> {
    let parameters: Vec<&Parameter<T>> = network.parameters_of(lane).collect();
    for parameter in parameters.into_iter().rev() {
        if !all_finite(parameter.gradient.read()?.lane(lane, parameter.len())) {
            return Ok(Some(Origin::Gradient { parameter: parameter.name.clone() }));
        }
    }
    Ok(None)
}

fn all_finite<T: Real>(numbers: &[T]) -> bool {
    numbers.iter().all(|x| x.wide().is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RunConfig;
    use crate::spec::model::Model;
    use crate::train::layer::Mode;
    use crate::train::model::build;

    fn network() -> Network<f32> {
        let config = RunConfig { model: Model::Mlp { hidden: vec![4, 3] }, ..RunConfig::default() };
        build(&[config.clone(), config], [1, 2, 2], 3, 2).unwrap()
    }

    const PASS: Pass = Pass { mode: Mode::Train { step: 7 }, samples: 2, first_sample: 0 };

    /// What is found in each lane after `change` of lane 1 of parameter number `parameter`.
    fn origins(parameter: usize, change: impl FnOnce(&mut [f32])) -> [Option<Origin>; 2] {
        let mut network = network();
        network.input_mut().write(|x| x.fill(2.0)).unwrap();
        let p = network.parameters_mut().nth(parameter).unwrap();
        p.value.write(|x| change(&mut x.split_at_mut(x.len() / 2).1[..])).unwrap();
        network.forward(&PASS).unwrap();
        [0, 1].map(|lane| in_forward(&network, lane, &PASS).unwrap())
    }

    #[test]
    fn the_first_layer_that_breaks_is_named_and_only_in_its_lane() {
        assert_eq!(origins(0, |_| {}), [None, None]);
        let weights = Origin::Weights { parameter: "linear2.weight".to_owned() };
        assert_eq!(origins(2, |w| w[1] = f32::NAN), [None, Some(weights)]);
        let output = Origin::Output { layer: "linear2".to_owned() };
        // Finite weights whose products are not.
        let large = |w: &mut [f32]| w.fill(f32::MAX);
        let mut network = network();
        network.input_mut().write(|x| x.fill(2.0)).unwrap();
        for parameter in network.parameters_mut().take(3) {
            parameter.value.write(|x| x.fill(1e30)).unwrap();
        }
        network.forward(&PASS).unwrap();
        assert_eq!(in_forward(&network, 0, &PASS).unwrap(), Some(output));
        let output = Origin::Output { layer: "linear1".to_owned() };
        assert_eq!(origins(0, large), [None, Some(output)]);
    }

    #[test]
    fn the_first_gradient_is_the_one_nearest_to_the_loss() {
        let mut network = network();
        for place in [0, 3] {
            let p = network.parameters_mut().nth(place).unwrap();
            p.gradient.write(|x| x[0] = f32::INFINITY).unwrap();
        }
        let expected = Origin::Gradient { parameter: "linear2.bias".to_owned() };
        assert_eq!(in_backward(&network, 0).unwrap(), Some(expected));
        assert_eq!(in_backward(&network, 1).unwrap(), None);
    }

    #[test]
    fn the_reason_reads_as_a_sentence() {
        let mut divergence = Divergence {
            step: 1234,
            epoch: 5,
            noticed: Noticed::Loss { nan: true },
            origin: Some(Origin::Output { layer: "conv3".to_owned() }),
        };
        let expected = "loss is nan at step 1234 (epoch 5): first non-finite output in conv3";
        assert_eq!(divergence.to_string(), expected);
        divergence.noticed = Noticed::GradientNorm { nan: false };
        divergence.origin = Some(Origin::Gradient { parameter: "conv1.weight".to_owned() });
        let expected = "norm of the gradients is infinite at step 1234 (epoch 5): \
                        first non-finite gradient of conv1.weight";
        assert_eq!(divergence.to_string(), expected);
        divergence.noticed = Noticed::ValidationLoss;
        let expected = "the validation loss after epoch 5 is not a finite number";
        assert_eq!(divergence.to_string(), expected);
    }
}
