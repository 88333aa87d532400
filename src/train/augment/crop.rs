//! Random crop: black pixels around the image, then a cut of the old size at a random place
//! (torchvision's `RandomCrop(size, padding)`).

use crate::train::rng::Reader;

/// Draws the place of the cut in the padded image, (top, left), each in 0 ..= 2 * padding.
pub fn draw(draws: &mut Reader, padding: usize) -> [usize; 2] {
    let places = 2 * padding as u32 + 1;
    [draws.below(places) as usize, draws.below(places) as usize]
}

/// Cuts out `to` at `place` (top, left) of `from` with `padding` black pixels on each side. Both
/// have the shape (C, H, W).
pub fn crop(from: &[u8], to: &mut [u8], shape: [usize; 3], padding: usize, place: [usize; 2]) {
    let [_, height, width] = shape;
    let [top, left] = place;
    // Columns of the result that lie on the image, and where they begin there.
    let first = padding.saturating_sub(left).min(width);
    let source = left.saturating_sub(padding);
    let length = (width - first).min(width.saturating_sub(source));
    to.fill(0);
    let planes = from.chunks_exact(height * width).zip(to.chunks_exact_mut(height * width));
    for (from, to) in planes {
        for (y, row) in to.chunks_exact_mut(width).enumerate() {
            let Some(y) = (y + top).checked_sub(padding).filter(|y| *y < height) else { continue };
            let start = y * width + source;
            row[first..first + length].copy_from_slice(&from[start..start + length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    const IMAGE: [u8; 6] = [1, 2, 3, 4, 5, 6]; // Shape (1, 2, 3).

    fn at(place: [usize; 2]) -> [u8; 6] {
        let mut out = [99; 6];
        crop(&IMAGE, &mut out, [1, 2, 3], 1, place);
        out
    }

    #[test]
    fn the_cut_moves_over_the_padded_image() {
        assert_eq!(at([1, 1]), IMAGE);
        assert_eq!(at([0, 0]), [0, 0, 0, 0, 1, 2]);
        assert_eq!(at([2, 2]), [5, 6, 0, 0, 0, 0]);
        assert_eq!(at([1, 0]), [0, 1, 2, 0, 4, 5]);
    }

    #[test]
    fn padding_wider_than_the_image_leaves_black() {
        let mut out = [99; 6];
        crop(&IMAGE, &mut out, [1, 2, 3], 4, [0, 0]);
        assert_eq!(out, [0; 6]);
        crop(&IMAGE, &mut out, [1, 2, 3], 4, [8, 8]);
        assert_eq!(out, [0; 6]);
        crop(&IMAGE, &mut out, [1, 2, 3], 4, [4, 6]);
        assert_eq!(out, [3, 0, 0, 6, 0, 0]);
    }

    #[test]
    fn every_place_is_drawn_equally_often() {
        let mut counts = [[0; 9]; 9];
        for sample in 0..81_000 {
            let mut draws = Stream::new(0, Purpose::Augment, 0, sample).reader();
            let [top, left] = draw(&mut draws, 4);
            counts[top][left] += 1;
        }
        // 1000 each on average; five standard deviations.
        assert!(counts.iter().flatten().all(|n| (840..1160).contains(n)), "{counts:?}");
    }
}
