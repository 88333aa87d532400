//! The shape of a data set in memory: what the engine trains, compares and tests on.

use std::borrow::Cow;

/// Images of one part of a data set with their classes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Images {
    /// Pixels as bytes, shape (N, C, H, W), row-major; borrowed where several processes have them in
    /// memory once.
    pub pixels: Cow<'static, [u8]>,
    /// Class of each image, shape (N).
    pub labels: Vec<u16>,
}

impl Images {
    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A data set, split into the three parts that a run needs.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSplits {
    /// Shape of one image: channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Mean of each channel over the published training part, of pixels in [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, likewise.
    pub std: Vec<f32>,
    /// What is trained on.
    pub train: Images,
    /// What configurations are compared on.
    pub val: Images,
    /// What is measured once, at the end.
    pub test: Images,
}
