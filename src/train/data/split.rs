//! The validation part: a random part of the published training images, set aside. The same for the
//! test part of an image folder that has none.
//!
//! Which images those are depends on their number and the fraction only, never on a run's seed:
//! every configuration and every seed is compared on the same images. A smaller fraction takes a
//! subset of what a larger one takes.

use crate::train::rng::{Purpose, Stream};

use super::error::DataError;
use super::splits::Images;

/// What images are set aside for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// To compare configurations on.
    Validation,
    /// To be measured once; in an image folder without a test part.
    Test,
    /// To be trained on, where that is not all of the training part.
    Training,
}

impl Cut {
    /// What says how many: a key, or a parameter of the data set.
    fn fraction(self) -> &'static str {
        match self {
            Self::Validation => "validation_fraction",
            Self::Test => "test_fraction",
            Self::Training => "train_fraction",
        }
    }
}

/// Which of `total` images are set aside, `fraction` of them (rounded). The cuts have nothing to do
/// with each other.
///
/// # Errors
/// If either part would be empty.
pub fn aside(total: usize, fraction: f64, cut: Cut) -> Result<Vec<bool>, DataError> {
    let count = (fraction * total as f64).round() as usize;
    if count == 0 || count >= total {
        let key = cut.fraction();
        return Err(DataError::Split { key, fraction, images: total, aside: count });
    }
    let mut aside = vec![false; total];
    let order = Stream::new(0, Purpose::Split, 0, cut as u32).reader().permutation(total);
    order[..count].iter().for_each(|&image| aside[image as usize] = true);
    Ok(aside)
}

/// Takes `fraction` of the images (rounded) out of `images` and returns them; both keep the
/// published order.
///
/// # Errors
/// If either part would be empty.
pub fn set_aside(images: &mut Images, fraction: f64) -> Result<Images, DataError> {
    let aside = aside(images.len(), fraction, Cut::Validation)?;
    let validation = aside.iter().filter(|aside| **aside).count();
    let size = images.pixels.len() / images.len();
    let mut taken = Vec::with_capacity(validation * size);
    let mut labels = Vec::with_capacity(validation);
    keep(
        images,
        |image| !aside[image],
        |label, pixels| {
            labels.push(label);
            taken.extend_from_slice(pixels);
        },
    );
    Ok(Images { pixels: taken.into(), labels })
}

/// Leaves `fraction` of the images (rounded) in `images`, in the published order.
///
/// # Errors
/// If none would be left.
pub fn thin(images: &mut Images, fraction: f64) -> Result<(), DataError> {
    let total = images.len();
    if (fraction * total as f64).round() as usize == total {
        return Ok(());
    }
    let kept = aside(total, fraction, Cut::Training)?;
    keep(images, |image| kept[image], |_, _| {});
    Ok(())
}

/// Keeps the images that `wanted` names by their number, and hands the others on. What is kept moves
/// up in place: a copy of a large training part would double the memory.
fn keep(images: &mut Images, wanted: impl Fn(usize) -> bool, mut other: impl FnMut(u16, &[u8])) {
    let size = images.pixels.len() / images.len();
    let (pixels, labels) = (images.pixels.to_mut(), &mut images.labels);
    let mut kept = 0;
    for image in 0..labels.len() {
        let place = image * size..(image + 1) * size;
        if wanted(image) {
            labels[kept] = labels[image];
            pixels.copy_within(place, kept * size);
            kept += 1;
        } else {
            other(labels[image], &pixels[place]);
        }
    }
    labels.truncate(kept);
    pixels.truncate(kept * size);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pixels an image, that tell its number.
    fn numbered(n: u16) -> Images {
        Images {
            pixels: (0..n).flat_map(u16::to_be_bytes).collect(),
            labels: (0..n).map(|i| i % 10).collect(),
        }
    }

    fn numbers(images: &Images) -> Vec<u16> {
        images.pixels.chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect()
    }

    #[test]
    fn a_part_of_the_training_images_is_part_of_every_larger_one() {
        let part = |fraction| {
            let mut images = numbered(500);
            thin(&mut images, fraction).unwrap();
            assert!(images.labels.iter().zip(numbers(&images)).all(|(l, n)| *l == n % 10));
            numbers(&images)
        };
        let (small, large) = (part(0.1), part(0.3));
        assert_eq!((small.len(), large.len(), part(1.0).len()), (50, 150, 500));
        assert!(small.is_sorted() && small.iter().all(|image| large.contains(image)));
        let error = thin(&mut numbered(10), 0.01).unwrap_err().to_string();
        assert!(error.contains("train_fraction"), "{error}");
    }

    #[test]
    fn every_image_goes_to_one_part_with_its_label() {
        let mut train = numbered(1000);
        let val = set_aside(&mut train, 0.1).unwrap();
        assert_eq!((train.len(), val.len()), (900, 100));
        let mut all = [numbers(&train), numbers(&val)].concat();
        for (part, numbers) in [(&train, numbers(&train)), (&val, numbers(&val))] {
            assert!(numbers.is_sorted());
            assert!(numbers.iter().zip(&part.labels).all(|(n, l)| n % 10 == *l));
        }
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<u16>>());
    }

    #[test]
    fn a_smaller_fraction_takes_a_subset() {
        let large = numbers(&set_aside(&mut numbered(500), 0.3).unwrap());
        let small = numbers(&set_aside(&mut numbered(500), 0.1).unwrap());
        assert_eq!(small.len(), 50);
        assert!(small.iter().all(|image| large.contains(image)));
    }

    #[test]
    fn an_empty_part_is_an_error() {
        for (n, fraction) in [(4, 0.1), (4, 0.9), (1, 0.5), (0, 0.5)] {
            let error = set_aside(&mut numbered(n), fraction).unwrap_err();
            assert!(matches!(error, DataError::Split { .. }), "{n} {fraction}");
        }
    }
}
