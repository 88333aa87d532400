//! Convolution by the accelerator's library: it is called once a lane, at the lane's places, so that lane
//! i is computed as the run alone is.

use super::Conv2d;
use super::accelerated::Work;
use crate::train::device::{
    ALIGNMENT, Accelerator, Address, Algorithm, ConvolutionCall, ConvolutionShape, Direction,
};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::accelerated::rounded;

/// An operand: where it begins, and bytes from lane to lane.
type Lanes = (Address, usize);

/// A buffer as an operand in f32.
fn whole<T: Real>(buffer: &Buffer<T>) -> Lanes {
    (buffer.address(), buffer.lane_len() * size_of::<T>())
}

impl<T: Real> Conv2d<T> {
    /// Numbers from lane to lane in a copy in bf16 in scratch memory: as many as keep it aligned.
    pub(super) fn pitch_of(&self, numbers: usize) -> usize {
        numbers.next_multiple_of(ALIGNMENT / rounded::BYTES)
    }

    /// What the library computes a direction by, asked for once for every number of samples. `images`
    /// and `outputs` are the buffers of either or of their gradients.
    pub(super) fn algorithm(
        &mut self,
        accelerator: &Accelerator,
        direction: Direction,
        samples: usize,
        [images, outputs]: [&Buffer<T>; 2],
    ) -> Result<Option<Algorithm>, TrainError> {
        let known = |(n, way, _): &&(usize, Direction, _)| (*n, *way) == (samples, direction);
        if let Some((_, _, algorithm)) = self.kept.chosen.iter().find(known) {
            return Ok(*algorithm);
        }
        if samples == 0 {
            return Ok(None);
        }
        let weights = self.parameters[0].len();
        let is_aligned = if self.kept.is_rounded() {
            // What is not in scratch memory: copies lie as far apart as what they are copies of.
            let images = if direction == Direction::BackwardData { 0 } else { images.lane_len() };
            let weights = if direction == Direction::BackwardFilter { 0 } else { weights };
            [images, weights].iter().all(|n| (n * rounded::BYTES).is_multiple_of(ALIGNMENT))
        } else {
            let all = [images.lane_len(), weights, outputs.lane_len()];
            all.iter().all(|n| (n * size_of::<T>()).is_multiple_of(ALIGNMENT))
        };
        let window = self.kept.convolution.window;
        let [input, output] = [self.input, self.output].map(|s| [s.height, s.width, s.channels]);
        let shape = ConvolutionShape {
            samples,
            input,
            output,
            kernel: window.size,
            stride: window.stride,
            padding: window.padding,
            dilation: window.dilation,
            groups: self.kept.groups,
            precision: self.kept.precision,
            is_aligned,
        };
        let algorithm = accelerator.algorithm(&shape, direction)?;
        self.kept.chosen.push((samples, direction, algorithm));
        Ok(algorithm)
    }

    /// Calls the library for all lanes.
    fn convolve(
        &self,
        accelerator: &Accelerator,
        algorithm: Algorithm,
        operands: [Lanes; 3],
        workspace: Address,
    ) -> Result<(), TrainError> {
        let (strides, lanes) = (operands.map(|(_, bytes)| bytes), self.lanes());
        let operands = operands.map(|(place, _)| place);
        let call = ConvolutionCall { algorithm, operands, strides, lanes, workspace };
        Ok(accelerator.convolve(&call)?)
    }

    /// The copy of the input in bf16.
    fn input_copy(&self, input: &Buffer<T>) -> Lanes {
        (self.kept.input.place(), input.lane_len() * rounded::BYTES)
    }

    /// The copy of the weights in bf16.
    fn weights_copy(&self) -> Lanes {
        (self.kept.weights.place(), self.parameters[0].len() * rounded::BYTES)
    }

    /// Outputs in f32, without a bias.
    pub(super) fn forward_by_library(
        &self,
        accelerator: &Accelerator,
        algorithm: Algorithm,
        [input, output]: [&Buffer<T>; 2],
        workspace: Address,
    ) -> Result<(), TrainError> {
        let operands = [whole(input), whole(&self.parameters[0].value), whole(output)];
        self.convolve(accelerator, algorithm, operands, workspace)
    }

    /// Outputs in bf16 at a place with its pitch, without a bias.
    pub(super) fn forward_rounded(
        &self,
        accelerator: &Accelerator,
        algorithm: Algorithm,
        (input, (place, pitch)): (&Buffer<T>, (Address, usize)),
        workspace: Address,
    ) -> Result<(), TrainError> {
        let made = (place, pitch * rounded::BYTES);
        let operands = [self.input_copy(input), self.weights_copy(), made];
        self.convolve(accelerator, algorithm, operands, workspace)
    }

    /// The gradient of the outputs in bf16.
    fn gradient_copy(&self, samples: usize, work: Work) -> Lanes {
        (work.gradient, self.pitch_of(samples * self.output.units()) * rounded::BYTES)
    }

    /// The gradient of the weights.
    pub(super) fn filter_by_library(
        &self,
        accelerator: &Accelerator,
        algorithm: Algorithm,
        [input, gradient]: [&Buffer<T>; 2],
        (samples, work): (usize, Work),
    ) -> Result<(), TrainError> {
        let sums = &self.parameters[0].gradient;
        if !self.kept.is_rounded() {
            let operands = [whole(input), whole(gradient), whole(sums)];
            return self.convolve(accelerator, algorithm, operands, work.rest);
        }
        let pitch = self.pitch_of(sums.lane_len());
        let made = (work.made, pitch * rounded::BYTES);
        let operands = [self.input_copy(input), self.gradient_copy(samples, work), made];
        self.convolve(accelerator, algorithm, operands, work.rest)?;
        rounded::widen(accelerator, (work.made, pitch), sums, sums.lane_len())
    }

    /// The gradient of the images.
    pub(super) fn data_by_library(
        &self,
        accelerator: &Accelerator,
        algorithm: Algorithm,
        [gradient, images]: [&Buffer<T>; 2],
        (samples, work): (usize, Work),
    ) -> Result<(), TrainError> {
        if !self.kept.is_rounded() {
            let operands = [whole(&self.parameters[0].value), whole(gradient), whole(images)];
            return self.convolve(accelerator, algorithm, operands, work.rest);
        }
        let numbers = samples * self.input.units();
        let pitch = self.pitch_of(numbers);
        let made = (work.made, pitch * rounded::BYTES);
        let operands = [self.weights_copy(), self.gradient_copy(samples, work), made];
        self.convolve(accelerator, algorithm, operands, work.rest)?;
        rounded::widen(accelerator, (work.made, pitch), images, numbers)
    }
}
