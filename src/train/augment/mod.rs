//! Augmentation: the bytes of one image in, the normalised numbers that the network sees out.
//!
//! One operation is one file. Where torchvision has the operation, the meaning of its parameters and
//! the result for given parameters are the same. Geometry works on bytes, colour on numbers in
//! [0, 1], and both are functions of (seed, epoch, sample) alone; only mixup looks at a whole batch.

mod affine;
mod canvas;
mod colour_noise;
mod crop;
mod cutout;
mod eigen;
mod hue;
mod jitter;
#[cfg(test)]
mod kolmogorov;
mod mixup;
mod normalise;
mod pipeline;
mod program;
mod resized_crop;
mod step;
mod surface;
#[cfg(test)]
mod torchvision;
mod window;

pub use mixup::Mixup;
pub use pipeline::{Pipeline, Place, View};
pub use program::{Program, Segment, record_len};
pub use window::Lookup;
