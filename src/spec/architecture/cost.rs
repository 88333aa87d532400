//! What a network costs: numbers to learn and multiplications to do.
//!
//! Multiply-adds are counted for convolutions and linear layers, as is usual; the rest of a network
//! is limited by memory and not by arithmetic. A FLOP is half a multiply-add.

use super::Architecture;
use super::layer::{Layer, Operation};

impl Layer {
    /// Numbers that it learns.
    pub fn parameters(&self) -> u64 {
        let count = |(_, shape): (_, Vec<usize>)| shape.iter().map(|&n| n as u64).product::<u64>();
        self.parameter_shapes().into_iter().map(count).sum()
    }

    /// Multiplications, each with an addition, for the output of one sample. Products with the
    /// zeros of a border are counted, whether or not an engine does them.
    pub fn multiply_adds(&self) -> u128 {
        let (inputs, outputs) = (self.input, self.output.units() as u128);
        match self.operation {
            Operation::Conv2d { window, groups, .. } => {
                outputs * (inputs.channels / groups * window.kernel * window.kernel) as u128
            }
            Operation::Linear { .. } => outputs * inputs.units() as u128,
            _ => 0,
        }
    }
}

impl Architecture {
    /// Numbers that the network learns.
    pub fn parameter_count(&self) -> u64 {
        self.layers.iter().map(Layer::parameters).sum()
    }

    /// Multiply-adds of one sample's way forward.
    pub fn forward_multiply_adds(&self) -> u128 {
        self.layers.iter().map(Layer::multiply_adds).sum()
    }

    /// Multiply-adds of one sample in a training step: forward, the gradient of every weight and
    /// that of every layer's input; the input of the first layer that learns needs none.
    pub fn training_multiply_adds(&self) -> u128 {
        let first = self.layers.iter().find(|layer| layer.parameters() > 0);
        3 * self.forward_multiply_adds() - first.map_or(0, Layer::multiply_adds)
    }

    /// Are convolutions most of its arithmetic? What a processor makes of them differs from what it
    /// makes of linear layers.
    pub fn is_convolutional(&self) -> bool {
        let convolves = |layer: &&Layer| matches!(layer.operation, Operation::Conv2d { .. });
        let convolutions = self.layers.iter().filter(convolves).map(Layer::multiply_adds);
        2 * convolutions.sum::<u128>() > self.forward_multiply_adds()
    }
}
