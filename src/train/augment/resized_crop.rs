//! The cut of a random resized crop (Szegedy et al., 2015; torchvision's `RandomResizedCrop`).

use crate::train::kernel::resize::Cut;
use crate::train::rng::Reader;

/// Draws before the largest cut in the middle is taken.
const TRIES: usize = 10;

/// What is drawn of the cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shapes {
    /// Range of its area, as a part of the image's.
    pub scale: [f64; 2],
    /// Range of its width / height.
    pub ratio: [f64; 2],
}

impl Shapes {
    /// Draws area, uniform in its range, and ratio, uniform in its logarithm, until the cut fits into
    /// an image of `size`; then its place.
    pub fn draw(&self, draws: &mut Reader, [height, width]: [usize; 2]) -> Cut {
        let area = (height * width) as f64;
        let [low, high] = self.ratio.map(f64::ln);
        for _ in 0..TRIES {
            let area = area * within(draws, self.scale);
            let ratio = within(draws, [low, high]).exp();
            let cut_width = (area * ratio).sqrt().round_ties_even() as usize;
            let cut_height = (area / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&cut_width) && (1..=height).contains(&cut_height) {
                let top = draws.below((height - cut_height) as u32 + 1) as usize;
                let left = draws.below((width - cut_width) as u32 + 1) as usize;
                return Cut { top, left, size: [cut_height, cut_width] };
            }
        }
        self.largest([height, width])
    }

    /// The largest cut whose shape is within the range, in the middle.
    fn largest(&self, [height, width]: [usize; 2]) -> Cut {
        let [low, high] = self.ratio;
        let ratio = width as f64 / height as f64;
        let size = if ratio < low {
            [((width as f64 / low).round_ties_even() as usize).clamp(1, height), width]
        } else if ratio > high {
            [height, ((height as f64 * high).round_ties_even() as usize).clamp(1, width)]
        } else {
            [height, width]
        };
        Cut { top: (height - size[0]) / 2, left: (width - size[1]) / 2, size }
    }
}

fn within(draws: &mut Reader, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * f64::from(draws.uniform())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    fn cuts(shapes: Shapes, size: [usize; 2]) -> impl Iterator<Item = Cut> {
        (0..20_000).map(move |sample| {
            shapes.draw(&mut Stream::new(8, Purpose::Augment, 0, sample).reader(), size)
        })
    }

    #[test]
    fn cuts_lie_within_the_image_and_have_the_area_asked_for() {
        let shapes = Shapes { scale: [0.25, 0.25], ratio: [1.0, 1.0] };
        for cut in cuts(shapes, [40, 60]) {
            // The root of 600 is 24.49.
            assert_eq!(cut.size, [24, 24]);
            assert!(cut.top + 24 <= 40 && cut.left + 24 <= 60);
        }
    }

    #[test]
    fn where_nothing_fits_the_largest_cut_is_taken() {
        let flat = Shapes { scale: [1.0, 1.0], ratio: [3.0, 4.0] };
        assert!(cuts(flat, [10, 10]).all(|cut| cut == Cut { top: 3, left: 0, size: [3, 10] }));
        let tall = Shapes { scale: [1.0, 1.0], ratio: [0.25, 0.5] };
        assert!(cuts(tall, [10, 10]).all(|cut| cut == Cut { top: 0, left: 2, size: [10, 5] }));
    }
}
