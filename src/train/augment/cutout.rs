//! Cutout (DeVries and Taylor, 2017): a square of the mean colour, which is 0 once normalised. Its
//! centre is anywhere on the image, so that it may be cut off at the border.

use crate::train::rng::Reader;

/// How large, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cutout {
    /// Side in pixels.
    pub side: usize,
    /// Probability.
    pub p: f32,
}

/// Rows and columns, from and to.
pub type Square = [[usize; 2]; 2];

impl Cutout {
    /// Draws whether there is a square on an image of `size`, and where. An even side has its centre
    /// behind its middle pixel, as in the authors' code.
    pub fn draw(&self, draws: &mut Reader, size: [usize; 2]) -> Option<Square> {
        let happens = draws.uniform() < self.p;
        let square = size.map(|length| {
            let centre = draws.below(length as u32) as usize;
            let start = centre.saturating_sub(self.side / 2);
            [start, (centre + self.side - self.side / 2).min(length)]
        });
        happens.then_some(square)
    }
}

/// Fills `square` of an image (C, H, W), rows of `width` pixels, with one value a channel.
pub fn fill(image: &mut [f32], [height, width]: [usize; 2], square: Square, values: &[f32]) {
    let [rows, columns] = square;
    for (plane, &value) in image.chunks_exact_mut(height * width).zip(values) {
        for row in plane.chunks_exact_mut(width).take(rows[1]).skip(rows[0]) {
            row[columns[0]..columns[1]].fill(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    #[test]
    fn the_centre_is_anywhere_and_the_square_is_cut_off_at_the_border() {
        let cutout = Cutout { side: 4, p: 1.0 };
        let mut counts = [0; 8];
        for sample in 0..16_000 {
            let mut draws = Stream::new(0, Purpose::Augment, 0, sample).reader();
            let [rows, columns] = cutout.draw(&mut draws, [8, 6]).unwrap();
            assert!(columns[1] <= 6 && rows[1] <= 8);
            // The centre is two behind the start, or two before the end where that is cut off.
            let centre = if rows[0] > 0 { rows[0] + 2 } else { rows[1] - 2 };
            counts[centre] += 1;
        }
        // 2000 each on average; five standard deviations.
        assert!(counts.iter().all(|n| (1790..2210).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_square_larger_than_the_image_covers_what_it_reaches() {
        let mut draws = Stream::new(0, Purpose::Augment, 0, 0).reader();
        let square = Cutout { side: 64, p: 1.0 }.draw(&mut draws, [8, 8]);
        assert_eq!(square, Some([[0, 8], [0, 8]]));
        let odd = Cutout { side: 3, p: 1.0 }.draw(&mut draws, [100, 100]).unwrap();
        assert!(odd.iter().all(|[from, to]| to - from == 3), "{odd:?}");
    }

    #[test]
    fn it_happens_with_its_probability() {
        let cutout = Cutout { side: 2, p: 0.25 };
        let happened = (0..10_000).filter(|&sample| {
            let mut draws = Stream::new(1, Purpose::Augment, 0, sample).reader();
            cutout.draw(&mut draws, [8, 8]).is_some()
        });
        let rate = happened.count() as f64 / 10_000.0;
        assert!((rate - 0.25).abs() < 0.022, "{rate}");
    }

    #[test]
    fn only_the_square_is_filled() {
        let mut image = [1.0; 12];
        fill(&mut image, [2, 3], [[1, 2], [0, 2]], &[0.25, 0.5]);
        assert_eq!(image, [1.0, 1.0, 1.0, 0.25, 0.25, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 1.0]);
    }
}
