//! Augmentation: the bytes of one image in, the normalised numbers that the network sees out.
//!
//! One operation is one file. Where torchvision has the operation, the meaning of its parameters and
//! the result for given parameters are the same. Geometry works on bytes, colour on numbers in
//! [0, 1], and both are functions of (seed, epoch, sample) alone.

mod affine;
mod colour_noise;
mod crop;
mod eigen;
mod flip;
mod jitter;
mod level;
mod normalise;
mod pipeline;

pub use pipeline::Pipeline;
