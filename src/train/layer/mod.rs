//! The layers: each knows how to compute its output and, from the loss's gradient with respect to
//! the output, the gradients of its parameters and of its input. No tape records anything; a layer
//! keeps what its own backward needs.
//!
//! Every tensor has a leading lane axis L. Activations are (L, N, H, W, C): channels last, because
//! the rows of a convolution's matrix are then runs of memory; linear layers see H = W = 1.
//! Parameters are saved in PyTorch's shapes.

mod accelerated;
pub mod activation;
pub mod avg_pool2d;
pub mod batch_norm;
pub mod conv2d;
pub mod dropout;
pub mod flatten;
#[cfg(test)]
pub(crate) mod gradient_check;
pub mod linear;
mod lives;
pub mod local_response_norm;
pub mod max_pool2d;
pub mod parameter;
pub mod patches;
pub mod pool_windows;
#[cfg(test)]
mod thread_tests;

use super::device::Accelerator;
use super::error::TrainError;
use super::kernel::{Buffer, Real};
use super::lane_set::LaneSet;
use super::parallel::Peers;
pub use crate::spec::architecture::Shape;
pub use lives::Lives;
pub use parameter::{Parameter, State};

/// What a pass through the network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To learn, in the optimizer step of that number (from 0): batch statistics, dropout.
    Train {
        /// The step, over the whole run.
        step: u64,
    },
    /// To measure: running statistics, no dropout.
    Evaluate,
}

/// One pass of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// What it is for.
    pub mode: Mode,
    /// Samples of each lane that pass; at most the capacity that the network was built for. None, on a
    /// rank that an epoch's last batch has no sample for.
    pub samples: usize,
    /// Position of the first of them in the step's global batch.
    pub first_sample: usize,
}

/// What backward works on; each of shape (L, capacity, …), with `samples` samples in use.
pub struct Flow<'a, T> {
    /// What forward was given.
    pub input: &'a Buffer<T>,
    /// What forward made of it.
    pub output: &'a Buffer<T>,
    /// Gradient of the loss with respect to the output.
    pub gradient: &'a Buffer<T>,
    /// Where the gradient with respect to the input goes; `None` if nobody needs it.
    pub input_gradient: Option<&'a mut Buffer<T>>,
}

/// Is called with every parameter as soon as its gradient is complete, in the order in which
/// backward completes them. A data-parallel run starts its all-reduce here.
pub type GradientReady<'a, T> = dyn FnMut(&mut Parameter<T>) -> Result<(), TrainError> + 'a;

/// A layer of a sequential network.
pub trait Layer<T: Real>: Send {
    /// Computes `output` from `input`.
    ///
    /// # Errors
    /// When the tensor library fails.
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError>;

    /// Overwrites the gradients of the parameters and of the input. Follows a forward in
    /// [`Mode::Train`] of the same batch.
    ///
    /// # Errors
    /// When the tensor library fails, or what `ready` fails with.
    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError>;

    /// Shape of one sample of the output.
    fn output_shape(&self) -> Shape;

    /// Bytes of one lane that the layer keeps of a pass for its backward, beside its input and output.
    fn kept_bytes(&self) -> usize {
        0
    }

    /// What is trained, in a fixed order.
    fn parameters(&self) -> &[Parameter<T>] {
        &[]
    }

    /// What is trained, to change it.
    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut []
    }

    /// What is kept from step to step but not trained, in a fixed order.
    fn states(&self) -> &[State<T>] {
        &[]
    }

    /// The same, to change it.
    fn states_mut(&mut self) -> &mut [State<T>] {
        &mut []
    }

    /// Moves parameters, states and all else that is kept to an accelerator, where passes are computed
    /// from then on.
    ///
    /// # Errors
    /// When it has no room, or the layer computes in another precision.
    fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        for parameter in self.parameters_mut() {
            parameter.value.move_to(accelerator)?;
            parameter.gradient.move_to(accelerator)?;
        }
        self.states_mut().iter_mut().try_for_each(|state| state.value.move_to(accelerator))
    }

    /// Leaves the states of the lanes that are not `living` as they are in every forward from now
    /// on.
    fn keep_alive(&mut self, living: &LaneSet) {
        let _ = living;
    }

    /// Leaves the states of a lane as they are, too, once the accelerator that the layer is on finds
    /// that it does not live.
    fn heed(&mut self, lives: &Lives) {
        let _ = lives;
    }

    /// Lets `lanes` see the whole batch, of which the other ranks have the rest, where the layer's
    /// output for one sample depends on the others.
    fn connect(&mut self, peers: &Peers, lanes: &LaneSet) {
        let _ = (peers, lanes);
    }
}
