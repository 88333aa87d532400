//! Rotation about the centre followed by a translation by whole pixels, as one resampling to the
//! nearest pixel with black outside (torchvision's `RandomRotation` and `RandomAffine`, whose default
//! interpolation is the nearest pixel too).
//!
//! Positions are counted in 1/65536 pixel, as Pillow does underneath torchvision: the same pixels
//! come out, and a cosine that differs in its last digit on another machine changes nothing.

use crate::train::rng::Reader;

const ONE: f64 = 65_536.0;

/// One rotation and translation: where in the old image a pixel of the new one comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affine {
    /// Position (x, y) for the middle of the new image's first pixel, in 1/65536 pixel.
    origin: [i64; 2],
    /// Change of (x, y) from column to column; from row to row it is (-y, x) of that.
    step: [i64; 2],
}

impl Affine {
    /// Rotates by `degrees` counter-clockwise, then moves by `shift` pixels (right, down).
    pub fn new(degrees: f32, shift: [i32; 2], size: [usize; 2]) -> Self {
        let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
        let [height, width] = size.map(|n| n as f64 / 2.0);
        // From the centre to the middle of the first pixel, before the translation.
        let x = 0.5 - width - f64::from(shift[0]);
        let y = 0.5 - height - f64::from(shift[1]);
        let fixed = |value: f64| (value * ONE + 0.5).floor() as i64;
        Self {
            origin: [fixed(cos * x - sin * y + width), fixed(sin * x + cos * y + height)],
            step: [fixed(cos), fixed(sin)],
        }
    }

    /// Draws a rotation within ± `degrees` and a translation within ± `translation` of the size,
    /// rounded to whole pixels.
    pub fn draw(draws: &mut Reader, degrees: f32, translation: f32, size: [usize; 2]) -> Self {
        let angle = draws.uniform_in(-degrees, degrees);
        let [height, width] = size.map(|n| translation * n as f32);
        let shift = [draws.uniform_in(-width, width), draws.uniform_in(-height, height)];
        Self::new(angle, shift.map(|s| s.round_ties_even() as i32), size)
    }

    /// Resamples `from` into `to`, both of shape (C, H, W).
    pub fn resample(&self, from: &[u8], to: &mut [u8], shape: [usize; 3]) {
        let [_, height, width] = shape;
        let [cos, sin] = self.step;
        let planes = from.chunks_exact(height * width).zip(to.chunks_exact_mut(height * width));
        for (from, to) in planes {
            let [mut row_x, mut row_y] = self.origin;
            for row in to.chunks_exact_mut(width) {
                let (mut x, mut y) = (row_x, row_y);
                for pixel in row {
                    // A negative position becomes a huge one, which lies outside as well.
                    let (column, line) = ((x >> 16) as usize, (y >> 16) as usize);
                    *pixel = if column < width && line < height {
                        from[line * width + column]
                    } else {
                        0
                    };
                    x += cos;
                    y += sin;
                }
                row_x -= sin;
                row_y += cos;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    fn resampled(degrees: f32, shift: [i32; 2]) -> [u8; 9] {
        let mut out = [99; 9];
        let image = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        Affine::new(degrees, shift, [3, 3]).resample(&image, &mut out, [1, 3, 3]);
        out
    }

    #[test]
    fn quarter_turns_go_counter_clockwise() {
        assert_eq!(resampled(0.0, [0, 0]), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(resampled(90.0, [0, 0]), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
        assert_eq!(resampled(180.0, [0, 0]), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(resampled(-90.0, [0, 0]), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
    }

    #[test]
    fn translations_come_after_the_rotation_and_leave_black() {
        assert_eq!(resampled(0.0, [1, 0]), [0, 1, 2, 0, 4, 5, 0, 7, 8]);
        assert_eq!(resampled(0.0, [0, -1]), [4, 5, 6, 7, 8, 9, 0, 0, 0]);
        assert_eq!(resampled(90.0, [1, 0]), [0, 3, 6, 0, 2, 5, 0, 1, 4]);
        assert_eq!(resampled(0.0, [3, 0]), [0; 9]);
    }

    #[test]
    fn pillow_gives_the_same_pixels() {
        let cases = include_str!("../../../tests/fixtures/reference/affine.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(cases).unwrap();
        assert_eq!(cases.len(), 32);
        for case in cases {
            let number = |value: &serde_json::Value| value.as_f64().unwrap();
            let [height, width] = ["height", "width"].map(|key| number(&case[key]) as usize);
            let image: Vec<u8> = (0..height * width)
                .map(|i| (i % width, i / width))
                .map(|(x, y)| ((7 * x + 13 * y + x * y) % 255 + 1) as u8)
                .collect();
            let shift = [0, 1].map(|axis| number(&case["shift"][axis]) as i32);
            let affine = Affine::new(number(&case["degrees"]) as f32, shift, [height, width]);
            let mut out = vec![0; image.len()];
            affine.resample(&image, &mut out, [1, height, width]);
            let found: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, case["pixels"].as_str().unwrap(), "{case}");
        }
    }

    #[test]
    fn channels_move_together() {
        let image: Vec<u8> = (1..=18).collect();
        let mut out = vec![0; 18];
        Affine::new(90.0, [0, 0], [3, 3]).resample(&image, &mut out, [2, 3, 3]);
        assert_eq!(out[9..], [12, 15, 18, 11, 14, 17, 10, 13, 16]);
    }

    /// The angle is recovered from the cosine and sine in the drawn map, the translation from where
    /// the centre goes.
    #[test]
    fn draws_fill_their_ranges_evenly() {
        let (mut angles, mut shifts) = (Vec::new(), [0; 7]);
        for sample in 0..20_000 {
            let mut draws = Stream::new(3, Purpose::Augment, 0, sample).reader();
            let map = Affine::draw(&mut draws, 15.0, 0.1, [28, 28]);
            let [cos, sin] = map.step.map(|s| s as f64);
            angles.push(sin.atan2(cos).to_degrees());
            let offset = map.origin.map(|o| o as f64 / ONE - 14.0);
            let x = 0.5 - 14.0 - (cos * offset[0] + sin * offset[1]) / ONE;
            shifts[(x.round() + 3.0) as usize] += 1;
        }
        let (least, most) =
            angles.iter().fold((0.0_f64, 0.0_f64), |(l, m), a| (l.min(*a), m.max(*a)));
        assert!((-15.01..-14.9).contains(&least) && (14.9..15.01).contains(&most));
        let mean = angles.iter().sum::<f64>() / 20_000.0;
        let variance = angles.iter().map(|a| a * a).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.31 && (variance - 75.0).abs() < 2.4, "{mean} {variance}");
        // Uniform in ± 2.8, rounded: 0.3 / 5.6 for ± 3, 1 / 5.6 for each of the others.
        let expected = [0.3, 1.0, 1.0, 1.0, 1.0, 1.0, 0.3].map(|part| part / 5.6 * 20_000.0);
        for (found, expected) in shifts.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 5.0 * f64::sqrt(expected), "{shifts:?}");
        }
    }
}
