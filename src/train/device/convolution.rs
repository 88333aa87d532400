//! Convolutions as a library of them is asked for: lane by lane, channels last.
//!
//! A lane's convolution does not fill a large GPU where images are small, so several lanes are computed
//! abreast, each as it is alone: with the same algorithm, on its own operands, in memory of its own.

use super::backend::Address;
use crate::spec::architecture::CONVOLUTION_BYTES;
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

/// Most lanes that are computed abreast.
const MOST_ABREAST: usize = 8;

impl Algorithm {
    /// Bytes from what one lane works in to what the next one does: aligned as allocations are.
    pub fn pitch(&self) -> usize {
        self.workspace.next_multiple_of(256)
    }

    /// Of so many lanes, how many are computed abreast: no more than the limit has memory for.
    pub fn abreast(&self, lanes: usize) -> usize {
        let fit = (CONVOLUTION_BYTES as usize).checked_div(self.pitch()).unwrap_or(MOST_ABREAST);
        lanes.min(MOST_ABREAST).min(fit).max(1)
    }

    /// Bytes that so many lanes work in.
    pub fn bytes(&self, lanes: usize) -> usize {
        self.pitch() * self.abreast(lanes)
    }
}

/// The convolutions of one layer in all lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvolutionCall {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Of the first lane the two that are read, in the order in which [`Direction`] names them, and what
    /// is written.
    pub operands: [Address; 3],
    /// Bytes from lane to lane in each of them.
    pub strides: [usize; 3],
    /// How many.
    pub lanes: usize,
    /// As many bytes as the algorithm [asks for](Algorithm::bytes) in so many lanes.
    pub workspace: Address,
}

impl ConvolutionCall {
    /// The operands of a lane.
    pub fn operands_of(&self, lane: usize) -> [Address; 3] {
        std::array::from_fn(|at| self.operands[at].after::<u8>(lane * self.strides[at]))
    }

    /// What the lanes work in that are computed in place `at` of those abreast.
    pub fn workspace_of(&self, at: usize) -> Address {
        self.workspace.after::<u8>(at * self.algorithm.pitch())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_abreast_have_room_within_the_limit() {
        let of = |workspace| Algorithm { number: 0, workspace };
        let limit = CONVOLUTION_BYTES as usize;
        assert_eq!((of(0).abreast(3), of(0).abreast(64), of(0).bytes(64)), (3, 8, 0));
        assert_eq!((of(1000).abreast(8), of(1000).bytes(8)), (8, 8 * 1024));
        assert_eq!((of(limit).abreast(8), of(limit).bytes(8)), (1, limit));
        assert_eq!((of(limit / 3).abreast(8), of(limit / 2).abreast(8)), (2, 2));
        assert_eq!(of(limit / 4).bytes(8), limit);
    }
}
