//! From images to vectors, in PyTorch's order.

#[path = "accelerated/flatten.rs"]
mod accelerated;

use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};

/// x (L, N, H, W, C) -> y (L, N, C * H * W), channel by channel, so that the linear layer behind it
/// has PyTorch's weights. On the few numbers that a convolutional network ends with, the
/// transposition costs nothing that can be measured.
pub struct Flatten {
    input: Shape,
}

impl Flatten {
    /// Flattens samples of shape `input`.
    pub fn new(input: Shape) -> Self {
        Self { input }
    }
}

/// Transposes `samples` of (rows, columns) into (columns, rows).
fn transpose<T: Real>(from: &[T], to: &mut [T], (rows, columns): (usize, usize)) {
    let size = rows * columns;
    for (from, to) in from.chunks_exact(size).zip(to.chunks_exact_mut(size)) {
        for (row, from) in from.chunks_exact(columns).enumerate() {
            for (&x, to) in from.iter().zip(to[row..].iter_mut().step_by(rows)) {
                *to = x;
            }
        }
    }
}

impl<T: Real> Layer<T> for Flatten {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = output.accelerator() {
            let shape = [self.input.area(), self.input.channels];
            return Self::transpose_on(&accelerator, (input, output), pass.samples, shape);
        }
        let len = pass.samples * self.input.units();
        let (input, capacity) = (input.read()?, output.lane_len());
        let shape = (self.input.area(), self.input.channels);
        output.write(|output| {
            for (lane, y) in output.chunks_exact_mut(capacity).enumerate() {
                transpose(input.lane(lane, len), &mut y[..len], shape);
            }
        })
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        _ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        if let Some(accelerator) = input_gradient.accelerator() {
            let shape = [self.input.channels, self.input.area()];
            let numbers = (flow.gradient, input_gradient);
            return Self::transpose_on(&accelerator, numbers, pass.samples, shape);
        }
        let len = pass.samples * self.input.units();
        let (gradient, capacity) = (flow.gradient.read()?, input_gradient.lane_len());
        let shape = (self.input.channels, self.input.area());
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                transpose(gradient.lane(lane, len), &mut dx[..len], shape);
            }
        })
    }

    fn output_shape(&self) -> Shape {
        Shape::flat(self.input.units())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::Mode;
    use crate::train::layer::gradient_check::run_layer;

    #[test]
    fn channels_come_first_and_the_way_back_is_the_inverse() {
        let mut flatten = Flatten::new(Shape { height: 1, width: 3, channels: 2 });
        let x = [0.0, 10.0, 1.0, 11.0, 2.0, 12.0];
        let flat = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
        let (y, dx) = run_layer(&mut flatten, &x, &flat, Mode::Train { step: 0 });
        assert_eq!(y, flat);
        assert_eq!(dx, x);
    }
}
