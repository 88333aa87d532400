//! One image through all operations of a level: crop, flip, rotation and translation, brightness,
//! contrast and saturation, colour noise, normalisation.

use std::cell::RefCell;

use crate::spec::augmentation::Augmentation;
use crate::train::data::DataSplits;
use crate::train::rng::{Purpose, Reader, Stream};

use super::affine::Affine;
use super::colour_noise::{self, ColourNoise};
use super::level::Level;
use super::normalise::{Normalise, unit};
use super::{crop, flip};

thread_local! {
    /// Two images of bytes, so that no image is allocated for and a pipeline can be shared.
    static SCRATCH: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Everything that happens to an image between the data set and the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    shape: [usize; 3],
    level: Level,
    normalise: Normalise,
    /// Measured on the training part; only if the level asks for it and the images have colours.
    colour_noise: Option<ColourNoise>,
}

impl Pipeline {
    /// Prepares an augmentation for a data set; looks at the training part's colours if needed.
    pub fn new(augmentation: &Augmentation, data: &DataSplits) -> Self {
        let level = Level::of(augmentation);
        let colour_noise = if level.colour_noise {
            ColourNoise::measure(&data.train, data.shape[0])
        } else {
            None
        };
        let normalise = Normalise::new(&data.mean, &data.std);
        Self { shape: data.shape, level, normalise, colour_noise }
    }

    /// Writes the augmented and normalised image, shape (C, H, W). The result depends on `seed`,
    /// `epoch`, `sample` (index in the training part) and the pixels, and on nothing else.
    ///
    /// # Panics
    /// If `pixels` or `out` are not as large as an image of the data set.
    pub fn fill(&self, seed: u64, epoch: u32, sample: usize, pixels: &[u8], out: &mut [f32]) {
        self.check(pixels, out);
        if self.level.is_none() {
            self.normalise.bytes(pixels, out);
            return;
        }
        let mut draws = Stream::new(seed, Purpose::Augment, epoch, sample as u32).reader();
        SCRATCH.with_borrow_mut(|scratch| {
            let moved = self.geometry(&mut draws, pixels, scratch);
            if self.level.jitter.is_none() && self.colour_noise.is_none() {
                self.normalise.bytes(moved, out);
                return;
            }
            out.iter_mut().zip(moved).for_each(|(out, &byte)| *out = unit(byte));
            self.colour(&mut draws, out);
            self.normalise.values(out);
        });
    }

    /// Writes the normalised image without augmentation, as it is evaluated, shape (C, H, W).
    ///
    /// # Panics
    /// If `pixels` or `out` are not as large as an image of the data set.
    pub fn fill_plain(&self, pixels: &[u8], out: &mut [f32]) {
        self.check(pixels, out);
        self.normalise.bytes(pixels, out);
    }

    /// What moves pixels.
    fn geometry<'a>(
        &self,
        draws: &mut Reader,
        pixels: &[u8],
        scratch: &'a mut [Vec<u8>; 2],
    ) -> &'a [u8] {
        let [_, height, width] = self.shape;
        let [image, spare] = scratch;
        image.resize(pixels.len(), 0);
        if self.level.crop_padding == 0 {
            image.copy_from_slice(pixels);
        } else {
            let place = crop::draw(draws, self.level.crop_padding);
            crop::crop(pixels, image, self.shape, self.level.crop_padding, place);
        }
        if self.level.flip && flip::draw(draws) {
            flip::flip(image, width);
        }
        if self.level.degrees == 0.0 && self.level.translation == 0.0 {
            return image;
        }
        let (degrees, translation) = (self.level.degrees, self.level.translation);
        let affine = Affine::draw(draws, degrees, translation, [height, width]);
        spare.resize(pixels.len(), 0);
        affine.resample(image, spare, self.shape);
        spare
    }

    /// What changes values in [0, 1]; they stay there.
    fn colour(&self, draws: &mut Reader, image: &mut [f32]) {
        if !self.level.jitter.is_none() {
            for blend in self.level.jitter.draw(draws) {
                blend.apply(image, self.shape[0]);
            }
        }
        if let Some(noise) = &self.colour_noise {
            colour_noise::add(image, noise.draw(draws));
        }
    }

    fn check(&self, pixels: &[u8], out: &[f32]) {
        let size = self.shape.iter().product::<usize>();
        assert_eq!(pixels.len(), size, "invariant: pixels of one image");
        assert_eq!(out.len(), size, "invariant: room for one image");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::dataset::Dataset;
    use crate::train::data::load;

    const ALL: [Augmentation; 4] =
        [Augmentation::None, Augmentation::Basic, Augmentation::Strong, Augmentation::AlexnetStyle];

    fn data(shape: [u32; 3]) -> DataSplits {
        let dataset =
            Dataset::Synthetic { train: 64, val: 1, test: 1, shape: shape.to_vec(), classes: 4 };
        load(&dataset, 0.1, "".as_ref()).unwrap()
    }

    fn image(data: &DataSplits, sample: usize) -> &[u8] {
        let size = data.shape.iter().product::<usize>();
        &data.train.pixels[sample * size..(sample + 1) * size]
    }

    fn filled(pipeline: &Pipeline, data: &DataSplits, epoch: u32, sample: usize) -> Vec<f32> {
        let mut out = vec![0.0; image(data, sample).len()];
        pipeline.fill(9, epoch, sample, image(data, sample), &mut out);
        out
    }

    #[test]
    fn no_augmentation_only_normalises() {
        let data = data([3, 10, 8]);
        let mut plain = vec![0.0; 240];
        for augmentation in ALL {
            let pipeline = Pipeline::new(&augmentation, &data);
            pipeline.fill_plain(image(&data, 3), &mut plain);
            let same = filled(&pipeline, &data, 1, 3) == plain;
            // At this sample `basic` happens to mirror.
            assert_eq!(same, augmentation == Augmentation::None, "{augmentation:?}");
        }
        for (index, value) in plain.iter().enumerate() {
            let channel = index / 80;
            let unit = f32::from(image(&data, 3)[index]) / 255.0;
            assert_eq!(*value, (unit - data.mean[channel]) / data.std[channel]);
        }
    }

    #[test]
    fn the_order_of_calls_and_the_thread_do_not_matter() {
        for shape in [[1, 28, 28], [3, 12, 9]] {
            let data = data(shape);
            for augmentation in ALL {
                let pipeline = Pipeline::new(&augmentation, &data);
                let forward: Vec<_> = (0..64).map(|s| filled(&pipeline, &data, 2, s)).collect();
                let mut backward: Vec<_> = std::thread::scope(|scope| {
                    let work = scope
                        .spawn(|| (0..64).rev().map(|s| filled(&pipeline, &data, 2, s)).collect());
                    work.join().unwrap()
                });
                backward.reverse();
                assert_eq!(forward, backward);
            }
        }
    }

    #[test]
    fn epochs_samples_and_seeds_differ() {
        let data = data([3, 16, 16]);
        let pipeline = Pipeline::new(&Augmentation::AlexnetStyle, &data);
        let draw = |seed, epoch, sample| {
            let mut out = vec![0.0; 768];
            pipeline.fill(seed, epoch, sample, image(&data, 0), &mut out);
            out
        };
        let base = draw(1, 2, 3);
        assert_eq!(base, draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn values_stay_within_those_of_black_and_white() {
        for shape in [[1, 20, 20], [3, 20, 20], [2, 5, 7]] {
            let data = data(shape);
            for augmentation in ALL {
                let pipeline = Pipeline::new(&augmentation, &data);
                let size = data.shape.iter().product::<usize>();
                let (mut black, mut white) = (vec![0.0; size], vec![0.0; size]);
                pipeline.fill_plain(&vec![0; size], &mut black);
                pipeline.fill_plain(&vec![255; size], &mut white);
                for sample in 0..64 {
                    let out = filled(&pipeline, &data, 0, sample);
                    let inside = out.iter().zip(&black).zip(&white);
                    assert!({ inside }.all(|((v, low), high)| low <= v && v <= high));
                }
            }
        }
    }

    #[test]
    fn the_basic_level_gives_the_image_or_its_mirror() {
        let data = data([1, 6, 5]);
        let pipeline = Pipeline::new(&Augmentation::Basic, &data);
        let mut mirrored = 0;
        for sample in 0..64 {
            let (mut plain, mut mirror) = (vec![0.0; 30], image(&data, sample).to_vec());
            pipeline.fill_plain(image(&data, sample), &mut plain);
            flip::flip(&mut mirror, 5);
            let out = filled(&pipeline, &data, 4, sample);
            if out != plain {
                pipeline.fill_plain(&mirror, &mut plain);
                assert_eq!(out, plain);
                mirrored += 1;
            }
        }
        assert!((16..48).contains(&mirrored), "{mirrored}");
    }
}
