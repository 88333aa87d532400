//! Convolutions as a library of them is asked for: one lane at a time, channels last.

use super::backend::Address;
use crate::spec::precision::Precision;

/// Bytes to which the places of all operands must be aligned, in every lane.
pub const ALIGNMENT: usize = 16;

/// The convolutions of one layer in one lane, for one number of samples: images (N, H, W, C), weights
/// (O, kH, kW, C / groups), outputs (N, H', W', O).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvolutionShape {
    /// N.
    pub samples: usize,
    /// H, W, C.
    pub input: [usize; 3],
    /// H', W', O.
    pub output: [usize; 3],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one place of the kernel to the next.
    pub stride: [usize; 2],
    /// Rows and columns of zeros on each side.
    pub padding: [usize; 2],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// In bf16 all operands are bf16, the sums f32; otherwise all are f32.
    pub precision: Precision,
    /// Are the operands of every lane [aligned](ALIGNMENT)? Known from the shapes alone, so that a
    /// lane is computed as the run alone is.
    pub is_aligned: bool,
}

/// What is computed of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Outputs of images and weights.
    Forward,
    /// The images' gradient of weights and the outputs' gradient.
    BackwardData,
    /// The weights' gradient of images and the outputs' gradient.
    BackwardFilter,
}

/// What a library does a convolution by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm {
    /// Its number among those that were chosen.
    pub number: usize,
    /// Bytes that it works in.
    pub workspace: usize,
}

/// One convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvolutionCall {
    /// The number of the algorithm.
    pub algorithm: usize,
    /// The two that are read, in the order in which [`Direction`] names them, and what is written.
    pub operands: [Address; 3],
    /// As many bytes as the algorithm asks for.
    pub workspace: Address,
}
