//! Fixed images that a network is tried on at the end of an epoch.

use crate::train::batches::Batches;
use crate::train::error::TrainError;
use crate::train::kernel::Buffer;
use crate::train::lane_set::LaneSet;
use crate::train::layer::{Mode, Parameter, Pass};
use crate::train::loss::{BatchLoss, Targets};
use crate::train::model::Network;

/// Puts validation images into a network's input.
pub type Fill<'a, T> =
    dyn FnMut(&mut Buffer<T>, std::ops::Range<usize>) -> Result<Vec<u16>, TrainError> + 'a;

/// A network with the first images of the validation part.
pub struct Probe<'a, T> {
    /// The network.
    pub network: &'a mut Network<T>,
    /// Fills the input; gives the classes, lane by lane.
    pub fill: &'a mut Fill<'a, T>,
    /// The lanes that are measured; the others are left as they are.
    pub lanes: &'a LaneSet,
    /// Images of the validation part.
    pub images: usize,
    /// Learning rate of every lane.
    pub rates: &'a [f64],
    /// Label smoothing of every lane.
    pub smoothing: &'a [f64],
}

impl<T: crate::train::kernel::Real> Probe<'_, T> {
    /// Puts the first images into the network, at most `samples`; gives how many, and their classes.
    pub fn load(&mut self, samples: usize) -> Result<(usize, Vec<u16>), TrainError> {
        let samples = samples.min(self.images).min(self.network.capacity());
        let labels = (self.fill)(self.network.input_mut(), 0..samples)?;
        Ok((samples, labels))
    }

    /// The mean of the loss that is trained on, of every lane in training mode, with its gradients in the parameters. Dropout
    /// draws as in step 0, so that it is one function of the weights from epoch to epoch. Running
    /// statistics move: the caller puts them back.
    pub fn loss_and_gradient(
        &mut self,
        samples: usize,
        labels: &[u16],
    ) -> Result<Vec<f64>, TrainError> {
        let pass = Pass { mode: Mode::Train { step: 0 }, samples, first_sample: 0 };
        let mut losses = vec![BatchLoss::default(); self.network.lanes()];
        self.network.forward(&pass)?;
        self.network.loss_and_gradient(&Targets::plain(labels), self.smoothing, &mut losses)?;
        self.network.backward(&pass, &mut |_: &mut Parameter<T>| Ok(()))?;
        Ok(losses.iter().map(|loss| loss.sum / samples as f64).collect())
    }
}

/// Fills from the validation part.
pub(in crate::train) fn from_validation<T: crate::train::kernel::Real>(
    batches: &mut Batches,
) -> impl FnMut(&mut Buffer<T>, std::ops::Range<usize>) -> Result<Vec<u16>, TrainError> + '_ {
    |input, samples| {
        batches.fill_evaluation(input, crate::train::report::Part::Validation, samples)?;
        Ok(batches.labels().to_vec())
    }
}
