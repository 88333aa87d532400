//! The geometry of a convolution and the gathering of its input patches into matrices.
//!
//! Output positions are grouped by the part of the kernel that lies inside the image there. All
//! positions of a group use the same taps, so its matrix has no column for padding: on the 3x3 maps
//! that end a small network, 40 % of an ordinary im2col's products would be with zeros.

use std::ops::Range;

use super::Shape;
use crate::train::kernel::Real;

/// Extents of a convolution or pooling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub size: [usize; 2],
    /// Pixels between two windows, vertically and horizontally.
    pub stride: [usize; 2],
    /// Pixels of zeros around the image; less than `size`.
    pub padding: [usize; 2],
}

impl Window {
    /// A square window.
    pub fn square(size: usize, stride: usize, padding: usize) -> Self {
        Self { size: [size; 2], stride: [stride; 2], padding: [padding; 2] }
    }

    /// Height and width of the output: floor((extent + 2 padding - size) / stride) + 1; `None` if
    /// the window does not fit once.
    pub fn output(&self, input: Shape) -> Option<[usize; 2]> {
        let extent = |axis: usize, extent: usize| {
            let room = (extent + 2 * self.padding[axis]).checked_sub(self.size[axis])?;
            Some(room / self.stride[axis] + 1)
        };
        Some([extent(0, input.height)?, extent(1, input.width)?])
    }

    /// Taps of the kernel that lie inside the image at position `output` of an axis.
    fn taps(&self, axis: usize, extent: usize, output: usize) -> Range<usize> {
        let start = output * self.stride[axis];
        let first = self.padding[axis].saturating_sub(start);
        let end = (extent + self.padding[axis]).saturating_sub(start).min(self.size[axis]);
        first..end.max(first)
    }

    /// Runs of neighbouring output positions of an axis that use the same taps.
    fn runs(&self, axis: usize, extent: usize, outputs: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for output in 0..outputs {
            let taps = self.taps(axis, extent, output);
            match runs.last_mut() {
                Some(last) if last.taps == taps => last.outputs.end = output + 1,
                _ => runs.push(Run { outputs: output..output + 1, taps }),
            }
        }
        runs
    }
}

/// Neighbouring output positions of one axis with the same taps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    outputs: Range<usize>,
    taps: Range<usize>,
}

/// Output positions (a rectangle) that use the same rectangle of taps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    rows: Run,
    columns: Run,
    input: Shape,
    output: [usize; 2],
    window: Window,
}

impl Group {
    /// All groups of a convolution; together they cover every output position once.
    pub fn all(window: Window, input: Shape, output: [usize; 2]) -> Vec<Self> {
        let columns = window.runs(1, input.width, output[1]);
        let mut groups = Vec::new();
        for rows in window.runs(0, input.height, output[0]) {
            for columns in &columns {
                let (rows, columns) = (rows.clone(), columns.clone());
                groups.push(Self { rows, columns, input, output, window });
            }
        }
        groups
    }

    /// Output positions of one image.
    pub fn positions(&self) -> usize {
        self.rows.outputs.len() * self.columns.outputs.len()
    }

    /// Taps inside the image.
    pub fn taps(&self) -> usize {
        self.rows.taps.len() * self.columns.taps.len()
    }

    /// Numbers in a row of the group's matrix: taps x channels.
    pub fn depth(&self) -> usize {
        self.taps() * self.input.channels
    }

    /// Places in the output of the rows of a tile, rows counted over (image, y, x): pixel numbers
    /// over (image, height, width).
    pub fn output_pixels(&self, tile: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        self.walk(tile).map(|(image, y, x)| (image * self.output[0] + y) * self.output[1] + x)
    }

    /// Output positions (image, y, x) of a tile.
    fn walk(&self, tile: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let (height, width) = (self.rows.outputs.len(), self.columns.outputs.len());
        let mut image = tile.start / (height * width);
        let mut y = tile.start / width % height;
        let mut x = tile.start % width;
        tile.map(move |_| {
            let here = (image, self.rows.outputs.start + y, self.columns.outputs.start + x);
            x += 1;
            if x == width {
                x = 0;
                y += 1;
            }
            if y == height {
                y = 0;
                image += 1;
            }
            here
        })
    }

    /// Where in the input a row of the matrix starts, and how far apart its runs are: for each tap
    /// row one run of `run_len` numbers.
    fn starts(&self, tile: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        let window = self.window;
        let (top, left) = (self.rows.taps.start, self.columns.taps.start);
        self.walk(tile).map(move |(image, y, x)| {
            let row = y * window.stride[0] + top - window.padding[0];
            let column = x * window.stride[1] + left - window.padding[1];
            ((image * self.input.height + row) * self.input.width + column) * self.input.channels
        })
    }

    /// Copies the patches of a tile into the rows of `patches`, (tile, depth).
    pub fn gather<T: Real>(&self, tile: Range<usize>, input: &[T], patches: &mut [T]) {
        let run = self.columns.taps.len() * self.input.channels;
        let pitch = self.input.width * self.input.channels;
        for (start, patch) in self.starts(tile).zip(patches.chunks_exact_mut(self.depth())) {
            for (tap_row, out) in patch.chunks_exact_mut(run).enumerate() {
                out.copy_from_slice(&input[start + tap_row * pitch..][..run]);
            }
        }
    }

    /// Adds the rows of `patches` to where [`gather`](Self::gather) reads them.
    #[inline(always)]
    pub fn scatter_add<T: Real>(&self, tile: Range<usize>, patches: &[T], input: &mut [T]) {
        let run = self.columns.taps.len() * self.input.channels;
        let pitch = self.input.width * self.input.channels;
        for (start, patch) in self.starts(tile).zip(patches.chunks_exact(self.depth())) {
            for (tap_row, patch) in patch.chunks_exact(run).enumerate() {
                for (out, &x) in input[start + tap_row * pitch..][..run].iter_mut().zip(patch) {
                    *out += x;
                }
            }
        }
    }

    /// Copies the group's taps out of weights (O, kH, kW, C) into `narrow`, (O, depth).
    pub fn narrow<T: Real>(&self, weight: &[T], narrow: &mut [T]) {
        for (place, narrow) in
            self.weight_runs(weight.len()).zip(narrow.chunks_exact_mut(self.run()))
        {
            narrow.copy_from_slice(&weight[place..][..self.run()]);
        }
    }

    /// Adds `narrow`, (O, depth), to the group's taps of weights (O, kH, kW, C).
    pub fn widen_add<T: Real>(&self, narrow: &[T], weight: &mut [T]) {
        for (place, narrow) in self.weight_runs(weight.len()).zip(narrow.chunks_exact(self.run())) {
            for (out, &x) in weight[place..][..self.run()].iter_mut().zip(narrow) {
                *out += x;
            }
        }
    }

    /// Does the group use every tap?
    pub fn is_whole(&self) -> bool {
        self.taps() == self.window.size[0] * self.window.size[1]
    }

    /// Numbers of one tap row.
    fn run(&self) -> usize {
        self.columns.taps.len() * self.input.channels
    }

    /// Starts of the group's tap rows in weights (O, kH, kW, C) of `len` numbers.
    fn weight_runs(&self, len: usize) -> impl Iterator<Item = usize> + '_ {
        let pitch = self.window.size[1] * self.input.channels;
        let outputs = len / (self.window.size[0] * pitch);
        (0..outputs).flat_map(move |output| {
            self.rows.taps.clone().map(move |tap_row| {
                (output * self.window.size[0] + tap_row) * pitch
                    + self.columns.taps.start * self.input.channels
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_every_output_once_and_only_taps_inside() {
        for (extent, size, stride, padding) in
            [(7, 3, 1, 1), (8, 3, 2, 1), (5, 5, 3, 2), (3, 3, 1, 0), (1, 3, 1, 1), (6, 1, 2, 0)]
        {
            let input = Shape { height: extent, width: extent + 1, channels: 2 };
            let window = Window::square(size, stride, padding);
            let output = window.output(input).unwrap();
            let mut seen = vec![0; output[0] * output[1]];
            for group in Group::all(window, input, output) {
                assert!(group.taps() > 0);
                for pixel in group.output_pixels(0..group.positions()) {
                    seen[pixel] += 1;
                    let (y, x) = (pixel / output[1], pixel % output[1]);
                    let inside = |output: usize, tap: usize, extent: usize| {
                        (output * stride + tap).checked_sub(padding).is_some_and(|i| i < extent)
                    };
                    let rows = (0..size).filter(|&tap| inside(y, tap, input.height)).count();
                    let columns = (0..size).filter(|&tap| inside(x, tap, input.width)).count();
                    assert_eq!(group.taps(), rows * columns);
                }
            }
            assert!(seen.iter().all(|&n| n == 1), "{seen:?}");
        }
    }

    #[test]
    fn a_window_that_does_not_fit_has_no_output() {
        let input = Shape { height: 1, width: 4, channels: 1 };
        assert_eq!(Window::square(2, 2, 0).output(input), None);
        assert_eq!(Window::square(3, 1, 1).output(input), Some([1, 4]));
    }
}
