//! Resizing a cut of an image by bilinear interpolation with antialiasing: the triangle filter of
//! Pillow, widened where the image becomes smaller, in Pillow's own fixed-point arithmetic. Columns
//! first, then rows, rounded to bytes in between.

use super::simd::vectorized;

/// Weights are counted in 2^-22: sums of 255 times weights stay within 32 bits.
const BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (BITS - 1);

/// Rows that become narrower or wider together: as many sums as fill a vector register or two.
const ROWS: usize = 16;

/// A rectangle of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Height and width.
    pub size: [usize; 2],
}

/// The memory that resizing needs, kept from image to image.
#[derive(Debug, Default)]
pub struct Resizer {
    columns: Weights,
    rows: Weights,
    /// All rows of the cut with the new columns.
    between: Vec<u8>,
    /// `ROWS` rows of the cut, pixel by pixel, and what they become.
    turned: [Vec<[u8; ROWS]>; 2],
    /// One row of sums.
    sums: Vec<i32>,
}

impl Cut {
    /// All of an image of `size`.
    pub fn whole(size: [usize; 2]) -> Self {
        Self { top: 0, left: 0, size }
    }
}

impl Resizer {
    /// Writes `cut` of `from`, (C, H, W) with H and W as in `source`, into `to`, (C, `size`).
    pub fn resize(
        &mut self,
        (from, source): (&[u8], [usize; 2]),
        cut: &Cut,
        (to, size): (&mut [u8], [usize; 2]),
    ) {
        let [height, width] = size;
        self.rows.measure(cut.size[0], height);
        self.columns.measure(cut.size[1], width);
        self.between.resize(cut.size[0] * width, 0);
        self.sums.resize(width, 0);
        let planes = from.chunks_exact(source[0] * source[1]);
        for (from, to) in planes.zip(to.chunks_exact_mut(height * width)) {
            let lines = from[cut.top * source[1]..].chunks_exact(source[1]).take(cut.size[0]);
            let lines: Vec<&[u8]> =
                lines.map(|line| &line[cut.left..cut.left + cut.size[1]]).collect();
            for (lines, rows) in lines.chunks(ROWS).zip(self.between.chunks_mut(ROWS * width)) {
                self.columns.apply_along(lines, &mut self.turned, rows);
            }
            for (taps, row) in self.rows.taps().zip(to.chunks_exact_mut(width)) {
                add_rows(taps, &self.between, &mut self.sums, row);
            }
        }
    }
}

/// For each new pixel, where its old ones begin and what each weighs.
#[derive(Debug, Default)]
struct Weights {
    /// First old pixel and how many.
    spans: Vec<[usize; 2]>,
    /// The weights of all new pixels, `stride` for each.
    weights: Vec<i32>,
    stride: usize,
    /// Weights of one pixel before they are rounded.
    exact: Vec<f64>,
}

impl Weights {
    /// Weights for making `new` pixels of `old` ones.
    fn measure(&mut self, old: usize, new: usize) {
        let scale = old as f64 / new as f64;
        let support = scale.max(1.0);
        self.stride = support.ceil() as usize * 2 + 1;
        self.spans.clear();
        self.weights.clear();
        self.weights.resize(self.stride * new, 0);
        for (pixel, weights) in self.weights.chunks_exact_mut(self.stride).enumerate() {
            let centre = (pixel as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(old);
            self.exact.clear();
            let distance = |at: usize| (at as f64 - centre + 0.5) / support;
            self.exact.extend((first..end).map(|at| (1.0 - distance(at).abs()).max(0.0)));
            let sum: f64 = self.exact.iter().sum();
            for (weight, exact) in weights.iter_mut().zip(&self.exact) {
                *weight = (exact / sum * f64::from(1 << BITS) + 0.5) as i32;
            }
            self.spans.push([first, end - first]);
        }
    }

    /// The first old pixel and the weights of each new one.
    fn taps(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.stride);
        self.spans.iter().zip(weights).map(|(&[first, count], weights)| (first, &weights[..count]))
    }

    /// Resizes up to `ROWS` lines into `rows`. Turned, the lines lie side by side, so that one weight
    /// meets a whole vector of pixels.
    fn apply_along(&self, lines: &[&[u8]], turned: &mut [Vec<[u8; ROWS]>; 2], rows: &mut [u8]) {
        let width = rows.len() / lines.len();
        let [old, new] = turned;
        old.resize(lines[0].len(), [0; ROWS]);
        new.resize(width, [0; ROWS]);
        for (at, line) in lines.iter().enumerate() {
            for (turned, &pixel) in old.iter_mut().zip(*line) {
                turned[at] = pixel;
            }
        }
        vectorized(
            #[inline(always)]
            || {
                for ((first, weights), out) in self.taps().zip(new.iter_mut()) {
                    let mut sums = [HALF; ROWS];
                    for (pixels, &weight) in old[first..].iter().zip(weights) {
                        for (sum, &pixel) in sums.iter_mut().zip(pixels) {
                            *sum += i32::from(pixel) * weight;
                        }
                    }
                    for (out, &sum) in out.iter_mut().zip(&sums) {
                        *out = rounded(sum);
                    }
                }
            },
        );
        for (at, row) in rows.chunks_exact_mut(width).enumerate() {
            for (out, turned) in row.iter_mut().zip(new.iter()) {
                *out = turned[at];
            }
        }
    }
}

/// Makes one new row of rows of `lines`, each as long as it.
fn add_rows((first, weights): (usize, &[i32]), lines: &[u8], sums: &mut [i32], row: &mut [u8]) {
    sums.fill(HALF);
    let lines = lines.chunks_exact(row.len()).skip(first);
    vectorized(
        #[inline(always)]
        || {
            for (line, &weight) in lines.zip(weights) {
                for (sum, &pixel) in sums.iter_mut().zip(line) {
                    *sum += i32::from(pixel) * weight;
                }
            }
            for (out, &sum) in row.iter_mut().zip(sums.iter()) {
                *out = rounded(sum);
            }
        },
    );
}

#[inline(always)]
fn rounded(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(from: &[u8], source: [usize; 2], cut: Cut, size: [usize; 2]) -> Vec<u8> {
        let channels = from.len() / (source[0] * source[1]);
        let mut out = vec![99; channels * size[0] * size[1]];
        Resizer::default().resize((from, source), &cut, (&mut out, size));
        out
    }

    #[test]
    fn the_same_size_is_the_cut_itself() {
        let image: Vec<u8> = (0..24).collect();
        let cut = Cut { top: 1, left: 1, size: [2, 2] };
        assert_eq!(resized(&image, [3, 4], cut, [2, 2]), [5, 6, 9, 10, 17, 18, 21, 22]);
    }

    #[test]
    fn halving_weighs_neighbours_by_the_triangle() {
        // Weights 3, 3, 1 of 7 at the border; 1, 3, 3, 1 of 8 inside.
        let cut = Cut { top: 0, left: 0, size: [1, 6] };
        let found = resized(&[70, 0, 0, 0, 0, 70], [1, 6], cut, [1, 3]);
        assert_eq!(found, [30, 0, 30]);
    }

    #[test]
    fn one_colour_stays_that_colour() {
        for (old, new) in [(7, 3), (3, 7), (224, 32), (5, 5)] {
            let cut = Cut { top: 0, left: 0, size: [old, old] };
            let out = resized(&vec![201; old * old], [old, old], cut, [new, new]);
            assert!(out.iter().all(|&pixel| pixel == 201), "{old} {new}");
        }
    }
}
