//! Rotation, shear, scale and translation about the centre, as one resampling to the nearest pixel
//! with black outside (torchvision's `RandomRotation` and `RandomAffine`, whose default
//! interpolation is the nearest pixel too).
//!
//! Positions are counted in 1/65536 pixel, as Pillow does underneath torchvision: the same pixels
//! come out, and a cosine that differs in its last digit on another machine changes nothing.

use super::window::Window;
use crate::train::kernel::simd::vectorized;
use crate::train::rng::Reader;

const ONE: f64 = 65_536.0;

/// What is drawn, each uniform within its range; ranges that are ± a number are given by it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranges {
    /// ± degrees.
    pub degrees: f32,
    /// ± a part of width and height.
    pub translate: [f32; 2],
    /// From, to.
    pub scale: [f32; 2],
    /// ± degrees along width and height.
    pub shear: [f32; 2],
}

impl Ranges {
    /// Only a rotation.
    pub fn rotation(degrees: f32) -> Self {
        Self { degrees, translate: [0.0; 2], scale: [1.0; 2], shear: [0.0; 2] }
    }

    /// Draws angle, translation (rounded to whole pixels), scale and shear for images of `size`.
    pub fn draw(&self, draws: &mut Reader, [height, width]: [usize; 2]) -> Motion {
        let mut within = |range: f32| draws.uniform_in(-range, range);
        let degrees = within(self.degrees);
        let [x, y] = self.translate;
        let shift = [within(x * width as f32), within(y * height as f32)];
        let shear = self.shear.map(within);
        let [low, high] = self.scale;
        Motion {
            degrees: degrees.into(),
            shift: shift.map(|pixels| pixels.round_ties_even() as i32),
            scale: draws.uniform_in(low, high).into(),
            shear: shear.map(f64::from),
        }
    }
}

/// One motion of the picture in its frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// Counter-clockwise rotation in degrees.
    pub degrees: f64,
    /// Pixels to the right and down, after all else.
    pub shift: [i32; 2],
    /// Factor on the picture's size.
    pub scale: f64,
    /// Shear in degrees along width and height.
    pub shear: [f64; 2],
}

/// Where in the old image a place of the new one comes from:
/// x' = m\[0\] x + m\[1\] y + m\[2\], y' = m\[3\] x + m\[4\] y + m\[5\].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    matrix: [f64; 6],
}

/// Where an [`Affine`] map finds the pixel at (row, column) of the new image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Positions {
    /// x = start\[0\] + step\[0\] column and y = start\[1\] + step\[1\] row, rounded down.
    Exact {
        /// Of the first pixel.
        start: [f64; 2],
        /// From column to column, from row to row.
        step: [f64; 2],
    },
    /// In 1/65536 pixel: x\[0\] + x\[1\] column + x\[2\] row, and y likewise.
    Fixed {
        /// Of the first pixel, from column to column, from row to row.
        x: [i64; 3],
        /// Likewise.
        y: [i64; 3],
    },
}

impl Affine {
    /// The inverse of `motion` of an image of `size` (height, width), in torchvision's convention:
    /// of rotation, scale, shear along the height and shear along the width the last comes first.
    pub fn new(motion: &Motion, [height, width]: [usize; 2]) -> Self {
        // torchvision's affine counts its angle clockwise.
        let angle = -motion.degrees.to_radians();
        let [shear_x, shear_y] = motion.shear.map(f64::to_radians);
        let slope = shear_x.tan();
        let [sin, cos] =
            [(angle - shear_y).sin(), (angle - shear_y).cos()].map(|f| f / shear_y.cos());
        let (b, d) = (-cos * slope - angle.sin(), -sin * slope + angle.cos());
        let [xx, xy, yx, yy] = [d, -b, -sin, cos].map(|part| part / motion.scale);
        let centre = [width as f64 / 2.0, height as f64 / 2.0];
        let x = -centre[0] - f64::from(motion.shift[0]);
        let y = -centre[1] - f64::from(motion.shift[1]);
        let offset = [xx * x + xy * y + centre[0], yx * x + yy * y + centre[1]];
        Self { matrix: [xx, xy, offset[0], yx, yy, offset[1]] }
    }

    /// How the map counts positions.
    pub fn positions(&self) -> Positions {
        let [xx, xy, x, yx, yy, y] = self.matrix;
        // The middle of the first pixel.
        let start = [x + 0.5 * (xx + xy), y + 0.5 * (yx + yy)];
        if xy == 0.0 && yx == 0.0 {
            // Without a rotation Pillow does not round positions.
            return Positions::Exact { start, step: [xx, yy] };
        }
        let fixed = |value: f64| (value * ONE + 0.5).floor() as i64;
        let [x, y] = start.map(fixed);
        Positions::Fixed { x: [x, fixed(xx), fixed(xy)], y: [y, fixed(yx), fixed(yy)] }
    }

    /// For every pixel of the new image, which is as large as the window, its place in a plane of the
    /// image of size `behind` the window; one beyond the plane where it is black.
    pub fn indices(&self, window: &Window, behind: [usize; 2], indices: &mut [u32]) {
        let ([x, xx, xy], [y, yx, yy]) = match self.positions() {
            Positions::Exact { start, step: [xx, yy] } => {
                return place(
                    window,
                    behind,
                    indices,
                    #[inline(always)]
                    |row, column| {
                        let x = start[0] + xx * f64::from(column);
                        let y = start[1] + yy * f64::from(row);
                        [x.floor() as i32, y.floor() as i32]
                    },
                );
            }
            Positions::Fixed { x, y } => (x, y),
        };
        let [rows, columns] = window.size().map(|side| side as i64);
        let farthest = |start: i64, by_column: i64, by_row: i64| {
            start.abs() + by_column.abs() * columns + by_row.abs() * rows
        };
        if farthest(x, xx, xy).max(farthest(y, yx, yy)) > i64::from(i32::MAX) {
            return place(
                window,
                behind,
                indices,
                #[inline(always)]
                |row, column| {
                    let (row, column) = (i64::from(row), i64::from(column));
                    [x + xx * column + xy * row, y + yx * column + yy * row]
                        .map(|position| (position >> 16).clamp(-1, i64::from(i32::MAX)) as i32)
                },
            );
        }
        let [x, y, xx, xy, yx, yy] = [x, y, xx, xy, yx, yy].map(|value| value as i32);
        place(
            window,
            behind,
            indices,
            #[inline(always)]
            |row, column| {
                [x + xx * column + xy * row, y + yx * column + yy * row]
                    .map(|position| position >> 16)
            },
        );
    }
}

/// Fills `indices` for a map from (row, column) of the new image to (x, y) of the window.
#[inline(always)]
fn place(
    window: &Window,
    [height, width]: [usize; 2],
    indices: &mut [u32],
    map: impl Fn(i32, i32) -> [i32; 2],
) {
    let look = window.lookup(width);
    let [columns, rows] = [look.columns, look.rows];
    let black = (height * width) as u32;
    vectorized(
        #[inline(always)]
        || {
            for (row, line) in (0..).zip(indices.chunks_exact_mut(window.size()[1])) {
                for (column, index) in (0..).zip(line) {
                    let [x, y] = map(row, column);
                    let lit = (x >= columns[0]) & (x < columns[1]) & (y >= rows[0]) & (y < rows[1]);
                    let at = look.origin.wrapping_add(y.wrapping_mul(look.step[0]));
                    let at = at.wrapping_add(x.wrapping_mul(look.step[1])) as u32;
                    *index = if lit { at } else { black };
                }
            }
        },
    );
}

/// Takes pixels of `from`, planes of `source` bytes each, into `to`, as `indices` say; black where
/// an index is beyond. Changes the indices; `packed` is memory to work in.
pub fn gather(
    from: &[u8],
    source: usize,
    indices: &mut [u32],
    to: &mut [u8],
    packed: &mut Vec<u32>,
) {
    let (mut from, mut to) = (from, to);
    let size = indices.len();
    if from.len() == 3 * source {
        return gather_colours(from, indices, to, packed);
    }
    while !from.is_empty() {
        let (plane, rest) = from.split_at(source);
        let (out, other) = to.split_at_mut(size);
        for (out, &index) in out.iter_mut().zip(indices.iter()) {
            *out = plane.get(index as usize).copied().unwrap_or(0);
        }
        (from, to) = (rest, other);
    }
}

/// Three channels: red, green and blue side by side are one number, which is looked up once.
fn gather_colours(from: &[u8], indices: &mut [u32], to: &mut [u8], packed: &mut Vec<u32>) {
    let source = from.len() / 3;
    packed.resize(source + 1, 0);
    let (red, rest) = from.split_at(source);
    let (green, blue) = rest.split_at(source);
    let (to_red, rest) = to.split_at_mut(indices.len());
    let (to_green, to_blue) = rest.split_at_mut(indices.len());
    vectorized(
        #[inline(always)]
        || {
            for (((out, &r), &g), &b) in packed.iter_mut().zip(red).zip(green).zip(blue) {
                *out = u32::from(r) | u32::from(g) << 8 | u32::from(b) << 16;
            }
        },
    );
    packed[source] = 0;
    for index in indices.iter_mut() {
        *index = packed.get(*index as usize).copied().unwrap_or(0);
    }
    vectorized(
        #[inline(always)]
        || {
            let out = to_red.iter_mut().zip(to_green).zip(to_blue);
            for (((r, g), b), &pixel) in out.zip(indices.iter()) {
                *r = pixel as u8;
                *g = (pixel >> 8) as u8;
                *b = (pixel >> 16) as u8;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    fn moved(motion: &Motion, image: &[u8], size: [usize; 2]) -> Vec<u8> {
        let plane = size[0] * size[1];
        let (mut out, mut indices) = (vec![99; image.len()], vec![0; plane]);
        Affine::new(motion, size).indices(&Window::whole(size), size, &mut indices);
        gather(image, plane, &mut indices, &mut out, &mut Vec::new());
        out
    }

    fn turn(degrees: f64, shift: [i32; 2]) -> Motion {
        Motion { degrees, shift, scale: 1.0, shear: [0.0; 2] }
    }

    #[test]
    fn quarter_turns_go_counter_clockwise() {
        let turned = |degrees| moved(&turn(degrees, [0, 0]), &[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3]);
        assert_eq!(turned(0.0), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(turned(90.0), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
        assert_eq!(turned(180.0), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(turned(-90.0), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
    }

    #[test]
    fn translations_come_after_the_rotation_and_leave_black() {
        let image = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let at = |degrees, shift| moved(&turn(degrees, shift), &image, [3, 3]);
        assert_eq!(at(0.0, [1, 0]), [0, 1, 2, 0, 4, 5, 0, 7, 8]);
        assert_eq!(at(0.0, [0, -1]), [4, 5, 6, 7, 8, 9, 0, 0, 0]);
        assert_eq!(at(90.0, [1, 0]), [0, 3, 6, 0, 2, 5, 0, 1, 4]);
        assert_eq!(at(0.0, [3, 0]), [0; 9]);
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
            let out = moved(&turn(number(&case["degrees"]), shift), &image, [height, width]);
            let found: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, case["pixels"].as_str().unwrap(), "{case}");
        }
    }

    #[test]
    fn channels_move_together() {
        for channels in 1..=4 {
            let image: Vec<u8> = (1..=9 * channels).collect();
            let out = moved(&turn(90.0, [1, 0]), &image, [3, 3]);
            for (plane, first) in out.chunks(9).zip((0..).step_by(9)) {
                let expected =
                    [0, 3, 6, 0, 2, 5, 0, 1, 4].map(|x| if x > 0 { x + first } else { 0 });
                assert_eq!(plane, expected);
            }
        }
    }

    /// Far out, 32 bits do not hold a position; the picture's middle pixel then covers the frame.
    #[test]
    fn an_extreme_scale_is_counted_in_64_bits() {
        let motion = Motion { degrees: 1.0, shift: [0, 0], scale: 1e-3, shear: [0.0; 2] };
        let out = moved(&motion, &[255; 64 * 64], [64, 64]);
        assert!(out.iter().filter(|&&pixel| pixel == 255).count() <= 1);
    }

    #[test]
    fn drawn_shifts_fill_their_range_and_round_to_whole_pixels() {
        let ranges = Ranges { translate: [0.1, 0.1], ..Ranges::rotation(15.0) };
        let mut shifts = [0; 7];
        for sample in 0..20_000 {
            let mut draws = Stream::new(3, Purpose::Augment, 0, sample).reader();
            let motion = ranges.draw(&mut draws, [28, 28]);
            assert!(motion.degrees.abs() <= 15.0 && motion.scale == 1.0);
            shifts[(motion.shift[0] + 3) as usize] += 1;
        }
        // Uniform in ± 2.8, rounded: 0.3 / 5.6 for ± 3, 1 / 5.6 for each of the others.
        let expected = [0.3, 1.0, 1.0, 1.0, 1.0, 1.0, 0.3].map(|part| part / 5.6 * 20_000.0);
        for (found, expected) in shifts.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 5.0 * f64::sqrt(expected), "{shifts:?}");
        }
    }
}
