//! One layer of a network as plain data.

use std::fmt;

use super::window::Window;
use crate::spec::activation::Activation;
use crate::spec::value::Value;

/// Shape of one sample between two layers; in the engine's memory (height, width, channels).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows of pixels; 1 for a vector.
    pub height: usize,
    /// Columns of pixels; 1 for a vector.
    pub width: usize,
    /// Channels, or units of a vector.
    pub channels: usize,
}

impl Shape {
    /// A plain vector.
    pub fn flat(units: usize) -> Self {
        Self { height: 1, width: 1, channels: units }
    }

    /// Pixels.
    pub fn area(&self) -> usize {
        self.height * self.width
    }

    /// Numbers in one sample.
    pub fn units(&self) -> usize {
        self.area() * self.channels
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.channels, self.height, self.width)
    }
}

/// The name of a layer: what it is and its number among its like, from 1. Layers with parameters
/// are saved under it: `conv1.weight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerName {
    /// What it is: `conv`, `linear`, `norm`, `lrn`, `pool`, `dropout`, the kind of an activation.
    pub stem: &'static str,
    /// Its number among the layers of that stem, from 1.
    pub number: usize,
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.stem, self.number)
    }
}

/// What a layer computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// A convolution to `channels` channels.
    Conv2d {
        /// Output channels, a multiple of `groups`.
        channels: usize,
        /// Where its kernel lies.
        window: Window,
        /// Parts of the channels that do not see each other.
        groups: usize,
        /// Is a bias added?
        bias: bool,
    },
    /// A linear layer to `units` units.
    Linear {
        /// Outputs.
        units: usize,
        /// Is a bias added?
        bias: bool,
    },
    /// The largest number of every window.
    MaxPool2d {
        /// Where its windows lie.
        window: Window,
        /// May the last window stick out of the image?
        ceil: bool,
    },
    /// The mean of every window, padding counted as zeros.
    AvgPool2d {
        /// Where its windows lie.
        window: Window,
    },
    /// Means over windows that make an image of `side` x `side`.
    AdaptiveAvgPool2d {
        /// Height and width of the output.
        side: usize,
    },
    /// Batch normalisation of every channel.
    BatchNorm,
    /// x / (k + alpha / size * sum of squares over `size` neighbouring channels) ^ beta.
    LocalResponseNorm {
        /// Channels that are summed over.
        size: usize,
        /// Weight of the mean of squares.
        alpha: f64,
        /// Exponent.
        beta: f64,
        /// Summand.
        k: f64,
    },
    /// A non-linearity, element by element.
    Activation(Activation),
    /// Drops units in training.
    Dropout {
        /// Probability that a unit is dropped.
        p: f64,
    },
    /// From an image to a vector, channel by channel.
    Flatten,
}

impl fmt::Display for Operation {
    /// As the sweep file spells it, with what matters of its parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conv2d { window, groups, bias, .. } => {
                write!(f, "conv2d {window}")?;
                if *groups > 1 {
                    write!(f, ", {groups} groups")?;
                }
                f.write_str(if *bias { "" } else { ", no bias" })
            }
            Self::Linear { bias, .. } => {
                f.write_str(if *bias { "linear" } else { "linear, no bias" })
            }
            Self::MaxPool2d { window, ceil } => {
                write!(f, "max_pool2d {window}{}", if *ceil { ", ceil" } else { "" })
            }
            Self::AvgPool2d { window } => write!(f, "avg_pool2d {window}"),
            Self::AdaptiveAvgPool2d { side } => write!(f, "adaptive_avg_pool2d {side} x {side}"),
            Self::BatchNorm => f.write_str("batch_norm"),
            Self::LocalResponseNorm { size, .. } => {
                write!(f, "local_response_norm over {size} channels")
            }
            Self::Activation(function) => f.write_str(&function.label()),
            Self::Dropout { p } => write!(f, "dropout {p}"),
            Self::Flatten => f.write_str("flatten"),
        }
    }
}

/// One layer, with what arrives at it and what leaves it.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its name.
    pub name: LayerName,
    /// What it computes.
    pub operation: Operation,
    /// Shape of one sample that arrives.
    pub input: Shape,
    /// Shape of one sample that leaves.
    pub output: Shape,
    /// For convolutions and linear layers their number among both, from 0: the address of the
    /// random numbers that they start with.
    pub weights: u32,
}

impl Layer {
    /// Does the layer nothing, so that the engine leaves it out?
    pub fn is_idle(&self) -> bool {
        matches!(self.operation, Operation::Dropout { p } if p == 0.0)
    }

    /// Its parameters with PyTorch's shapes.
    pub fn parameter_shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        match self.operation {
            Operation::Conv2d { channels, window, groups, bias } => {
                let inputs = self.input.channels / groups;
                let weight = vec![channels, inputs, window.kernel, window.kernel];
                with_bias(weight, channels, bias)
            }
            Operation::Linear { units, bias } => {
                with_bias(vec![units, self.input.units()], units, bias)
            }
            Operation::BatchNorm => {
                ["weight", "bias"].map(|name| (name, vec![self.input.channels])).to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// Its running statistics.
    pub fn state_shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        match self.operation {
            Operation::BatchNorm => {
                ["running_mean", "running_var"].map(|n| (n, vec![self.input.channels])).to_vec()
            }
            _ => Vec::new(),
        }
    }
}

fn with_bias(weight: Vec<usize>, outputs: usize, bias: bool) -> Vec<(&'static str, Vec<usize>)> {
    let mut shapes = vec![("weight", weight)];
    if bias {
        shapes.push(("bias", vec![outputs]));
    }
    shapes
}
