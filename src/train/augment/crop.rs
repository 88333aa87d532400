//! Places of cuts: random ones (torchvision's `RandomCrop`), and the centre and the corners.

use crate::train::rng::Reader;

/// Draws the place (top, left) of a cut of `cut` from an image of `size` with `padding` black pixels
/// on each side, counted from the image's own corner: each of -padding ..= size + padding - cut.
pub fn draw(draws: &mut Reader, size: [usize; 2], padding: usize, cut: [usize; 2]) -> [i32; 2] {
    [0, 1].map(|axis| {
        let room = (size[axis] + 2 * padding).saturating_sub(cut[axis]);
        draws.below(room as u32 + 1) as i32 - padding as i32
    })
}

/// Where a cut of `cut` pixels in the middle of `size` begins, as torchvision's `center_crop` rounds
/// it; negative where the cut is larger than the image.
pub fn centre(size: usize, cut: usize) -> i32 {
    match size.checked_sub(cut) {
        Some(room) => (room as f64 / 2.0).round_ties_even() as i32,
        None => -(((cut - size) / 2) as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    #[test]
    fn every_place_is_drawn_equally_often() {
        let mut counts = [[0; 9]; 5];
        for sample in 0..45_000 {
            let mut draws = Stream::new(0, Purpose::Augment, 0, sample).reader();
            let [top, left] = draw(&mut draws, [8, 12], 4, [12, 12]);
            counts[(top + 4) as usize][(left + 4) as usize] += 1;
        }
        // 1000 each on average; five standard deviations.
        assert!(counts.iter().flatten().all(|n| (840..1160).contains(n)), "{counts:?}");
    }

    #[test]
    fn the_centre_is_rounded_as_torchvision_does() {
        let cases = [(8, 4), (8, 5), (8, 3), (9, 8), (8, 9), (8, 11), (7, 7)];
        assert_eq!(cases.map(|(size, cut)| centre(size, cut)), [2, 2, 2, 0, 0, -1, 0]);
    }
}
