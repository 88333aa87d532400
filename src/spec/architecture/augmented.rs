//! What augmentation works in on a GPU: images between two of its launches, sums of means, weights of
//! resizing.
//!
//! The engine decides where a launch ends (`train/augment/program.rs`); what stands here repeats its
//! rules for a forecast, and a test of the engine holds one against the other.

use super::Architecture;
use crate::spec::RunConfig;
use crate::spec::operation::Operation;

/// Bytes of a number, of a sum, of the sums of a plane.
const NUMBER: usize = 4;
const SUMS: usize = 16 * 8;

impl Architecture {
    /// What the augmentation of `config` works in there: it has room for as many images as pass at
    /// once.
    pub fn augmented_bytes(&self, config: &RunConfig) -> u64 {
        let room = self.images_at_once(config, config.parts()) as u64;
        room.saturating_mul(of_image(config) as u64)
    }
}

/// Bytes for one image.
fn of_image(config: &RunConfig) -> usize {
    let [channels, height, width] = config.dataset.image_shape();
    let [_, out_height, out_width] = config.input_shape();
    let mut launches = Launches::new([height, width]);
    for operation in config.augmentation.operations() {
        launches.add(&operation, channels);
    }
    if launches.size != [out_height, out_width] {
        launches.look([out_height, out_width]);
    }
    let largest = launches.between.iter().max().copied().unwrap_or(0);
    let images = launches.between.len().min(2) * channels * largest * NUMBER;
    let sums = if launches.sums { channels * SUMS + NUMBER } else { 0 };
    images + sums + launches.taps * NUMBER
}

/// The launches of a list so far.
struct Launches {
    /// Pixels of the images that the launches before the last one make.
    between: Vec<usize>,
    /// Height and width of what the last one makes.
    size: [usize; 2],
    /// Does it have a map, and does it change colours?
    maps: bool,
    changes: bool,
    /// Is there a change of contrast?
    sums: bool,
    /// Numbers that resizing looks up.
    taps: usize,
}

impl Launches {
    fn new(size: [usize; 2]) -> Self {
        Self { between: Vec::new(), size, maps: false, changes: false, sums: false, taps: 0 }
    }

    /// Another launch.
    fn next(&mut self) {
        self.between.push(self.size[0] * self.size[1]);
        (self.maps, self.changes) = (false, false);
    }

    /// A window that shows `size`: it needs the pixels, with their colours changed.
    fn look(&mut self, size: [usize; 2]) {
        if self.changes {
            self.next();
        }
        self.size = size;
    }

    /// A map: there is one in a launch.
    fn map(&mut self, size: [usize; 2]) {
        if self.changes || self.maps {
            self.next();
        }
        (self.maps, self.size) = (true, size);
    }

    fn add(&mut self, operation: &Operation, channels: usize) {
        let size = operation.output_size(self.size);
        match operation {
            Operation::RandomCrop { .. } | Operation::HorizontalFlip { .. } => self.look(size),
            Operation::Rotation { .. } | Operation::Affine { .. } => self.map(size),
            Operation::RandomResizedCrop { .. } => {
                let old = self.size;
                self.map(size);
                let pixels = [0, 1].map(|axis| 2 * old[axis].div_ceil(size[axis]).max(1) + 1);
                let one = 2 + pixels[0].max(pixels[1]);
                self.taps = self.taps.max((size[0] + size[1]) * one);
            }
            Operation::ColourJitter { brightness, contrast, saturation, hue } => {
                let others = [brightness, saturation, hue].iter().any(|range| **range != 0.0);
                if *contrast != 0.0 {
                    self.next();
                    (self.sums, self.changes) = (true, true);
                }
                self.changes |= others;
            }
            Operation::PcaColourNoise { .. } => self.changes |= channels == 3,
            Operation::Cutout { .. } => self.changes = true,
            Operation::Mixup { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::augmentation::{Augmentation, Level};
    use crate::spec::dataset::Dataset;
    use crate::spec::operation::Side;

    fn bytes(operations: Vec<Operation>) -> usize {
        let shape = vec![3, 20, 10];
        of_image(&RunConfig {
            dataset: Dataset::Synthetic { train: 8, val: 4, test: 4, shape, classes: 2 },
            augmentation: Augmentation::of(operations),
            ..RunConfig::default()
        })
    }

    #[test]
    fn what_lies_between_two_launches_is_counted() {
        let (image, sums) = (3 * 200 * 4, 3 * 128 + 4);
        let rotation = Operation::Rotation { degrees: 10.0 };
        assert_eq!(bytes(Level::Basic.operations()), 0);
        assert_eq!(bytes(vec![rotation.clone()]), 0);
        assert_eq!(bytes(Level::AlexnetStyle.operations()), image + sums);
        let turns = |times| vec![rotation.clone(); times];
        assert_eq!([2, 3, 9].map(|times| bytes(turns(times))), [image, 2 * image, 2 * image]);
        let crop = Operation::RandomCrop { padding: 0, size: Side::Pixels(5) };
        let strong = Level::Strong.operations();
        assert_eq!(bytes([strong.clone(), vec![crop.clone()]].concat()), 2 * image + sums);
        assert_eq!(bytes([vec![crop], strong].concat()), 3 * 25 * 4 + sums);
    }

    #[test]
    fn a_gpu_needs_it_for_all_images_of_a_batch() {
        let config = |level| RunConfig {
            dataset: Dataset::Synthetic {
                train: 8,
                val: 4,
                test: 4,
                shape: vec![3, 20, 10],
                classes: 2,
            },
            augmentation: Augmentation::Level(level),
            ..RunConfig::default()
        };
        let need = |level| {
            let config = config(level);
            let network = Architecture::of(&config).unwrap();
            (network.augmented_bytes(&config), network.memory_on_gpu(&config).activations)
        };
        let ((bytes, activations), (none, without)) = (need(Level::Strong), need(Level::None));
        assert_eq!((bytes, none), (8 * (3 * 200 * 4 + 3 * 128 + 4), 0));
        assert_eq!(activations - without, bytes);
    }
}
