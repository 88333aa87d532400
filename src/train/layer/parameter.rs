//! What a layer learns and what it remembers.

use std::borrow::Cow;

use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::lane_set::LaneSet;

/// How a parameter's numbers lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageOrder {
    /// As they are saved.
    Saved,
    /// Saved as (O, I, kH, kW), in memory (O, kH, kW, I).
    ChannelsLast,
}

/// What a parameter starts as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// A weight: drawn from the configuration's distribution.
    Weight {
        /// The layer's number; part of the address of the random numbers.
        layer: u32,
        /// Inputs that one output sums over.
        fan_in: usize,
        /// Outputs that one input goes to.
        fan_out: usize,
    },
    /// A bias: 0, or drawn where the distribution draws biases.
    Bias {
        /// The layer's number.
        layer: u32,
        /// Inputs that one output sums over.
        fan_in: usize,
    },
    /// The same number everywhere.
    Constant(f64),
}

/// Something that is trained.
#[derive(Debug)]
pub struct Parameter<T> {
    /// A stable name, such as `conv1.weight`.
    pub name: String,
    /// Shape of one lane as it is saved, in PyTorch's order.
    pub shape: Vec<usize>,
    /// What it starts as.
    pub start: Start,
    /// Its place among the parameters of its network, from 0.
    pub place: usize,
    /// The lanes that have it. In the others values and gradient are 0 and stay so, and nothing
    /// counts them.
    pub lanes: LaneSet,
    /// Its values, (L, …).
    pub value: Buffer<T>,
    /// Gradient of the loss, like the values.
    pub gradient: Buffer<T>,
    order: StorageOrder,
}

impl<T: Real> Parameter<T> {
    /// A parameter at 0 of the given lanes (as a number: of that many, all);
    /// [`init`](crate::train::init) fills it.
    ///
    /// # Errors
    /// When the tensor library cannot allocate it.
    pub fn new(
        name: String,
        lanes: impl Into<LaneSet>,
        shape: Vec<usize>,
        order: StorageOrder,
        start: Start,
    ) -> Result<Self, TrainError> {
        let stored = match (order, shape.as_slice()) {
            (StorageOrder::ChannelsLast, &[o, i, h, w]) => vec![o, h, w, i],
            _ => shape.clone(),
        };
        let lanes = lanes.into();
        let value = Buffer::zeros(lanes.group(), &stored)?;
        let gradient = Buffer::zeros(lanes.group(), &stored)?;
        Ok(Self { name, shape, start, place: 0, lanes, value, gradient, order })
    }

    /// Numbers in one lane.
    pub fn len(&self) -> usize {
        self.value.lane_len()
    }

    /// Has it no numbers?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Do its numbers lie in another order in memory than in a file?
    pub fn is_reordered(&self) -> bool {
        self.order != StorageOrder::Saved
    }

    /// One lane's numbers (values, or an optimizer's state of the same shape) from memory's order
    /// in the saved one. Copied only where the two differ: a large linear layer is not.
    pub fn to_saved<'a>(&self, stored: &'a [T]) -> Cow<'a, [T]> {
        if !self.is_reordered() {
            return Cow::Borrowed(stored);
        }
        let mut saved = stored.to_vec();
        self.for_each_place(|in_memory, in_file| saved[in_file] = stored[in_memory]);
        Cow::Owned(saved)
    }

    /// The inverse of [`to_saved`](Self::to_saved).
    pub fn to_stored(&self, saved: Vec<T>) -> Vec<T> {
        if !self.is_reordered() {
            return saved;
        }
        let mut stored = saved.clone();
        self.for_each_place(|in_memory, in_file| stored[in_memory] = saved[in_file]);
        stored
    }

    /// Lets `fill` write one lane's values in the saved order. Only where memory has another are they
    /// held twice for a moment.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn fill(&mut self, lane: usize, fill: impl FnOnce(&mut [T])) -> Result<(), TrainError> {
        let place = lane * self.len()..(lane + 1) * self.len();
        if !self.is_reordered() {
            return self.value.write(|value| fill(&mut value[place]));
        }
        let mut saved = vec![T::ZERO; self.len()];
        fill(&mut saved);
        let stored = self.to_stored(saved);
        self.value.write(|value| value[place].copy_from_slice(&stored))
    }

    /// Visits every place that differs between the orders as (in memory, saved).
    fn for_each_place(&self, mut visit: impl FnMut(usize, usize)) {
        let (StorageOrder::ChannelsLast, &[outputs, inputs, height, width]) =
            (self.order, self.shape.as_slice())
        else {
            return;
        };
        let area = height * width;
        for output in 0..outputs {
            for input in 0..inputs {
                for tap in 0..area {
                    let in_memory = (output * area + tap) * inputs + input;
                    visit(in_memory, (output * inputs + input) * area + tap);
                }
            }
        }
    }
}

/// Something that is kept from step to step but not trained: a running statistic.
#[derive(Debug)]
pub struct State<T> {
    /// A stable name, such as `norm1.running_mean`.
    pub name: String,
    /// The lanes that have it; in the others it is 0 and stays so.
    pub lanes: LaneSet,
    /// Its values, (L, …), saved as they lie in memory.
    pub value: Buffer<T>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolution_weights_are_saved_in_pytorchs_order() {
        let start = Start::Constant(0.0);
        let order = StorageOrder::ChannelsLast;
        let parameter =
            Parameter::<f32>::new("w".to_owned(), 1, vec![2, 3, 1, 2], order, start).unwrap();
        // Numbers that spell their place as (o, w, i).
        let stored: Vec<f32> =
            [0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112].map(|x| x as f32).to_vec();
        let saved = parameter.to_saved(&stored);
        let expected = [0, 10, 1, 11, 2, 12, 100, 110, 101, 111, 102, 112].map(|x| x as f32);
        assert_eq!(*saved, expected);
        assert_eq!(parameter.to_stored(saved.into_owned()), stored);
        assert_eq!(parameter.value.tensor().dims(), [1, 2, 1, 2, 3]);
    }
}
