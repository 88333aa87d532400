//! Horizontal flip (torchvision's `RandomHorizontalFlip(0.5)`).

use crate::train::rng::Reader;

/// Is this image mirrored? With probability 1/2.
pub fn draw(draws: &mut Reader) -> bool {
    draws.uniform() < 0.5
}

/// Mirrors an image of shape (C, H, W), left for right.
pub fn flip(image: &mut [u8], width: usize) {
    image.chunks_exact_mut(width).for_each(<[u8]>::reverse);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    #[test]
    fn rows_are_mirrored() {
        let mut image = [1, 2, 3, 4, 5, 6];
        flip(&mut image, 3);
        assert_eq!(image, [3, 2, 1, 6, 5, 4]);
    }

    #[test]
    fn half_of_the_images_are_mirrored() {
        let flipped = (0..10_000)
            .filter(|&sample| draw(&mut Stream::new(1, Purpose::Augment, 0, sample).reader()));
        let rate = flipped.count() as f64 / 10_000.0;
        assert!((rate - 0.5).abs() < 0.025, "{rate}");
    }
}
