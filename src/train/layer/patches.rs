//! The geometry of a convolution and the gathering of its input patches into matrices.
//!
//! Output positions are divided into regions by the part of the kernel that lies inside the image
//! there. All positions of a region use the same taps, so its matrix has no column for padding: on
//! the 3x3 maps that end a small network, 40 % of an ordinary im2col's products would be with zeros.
//!
//! A grouped convolution has one matrix a group, of the group's channels alone.

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
    /// Pixels of zeros around the image; less than the pixels that the window spans.
    pub padding: [usize; 2],
    /// Pixels between two taps of the window; 1 is an ordinary, dense window.
    pub dilation: [usize; 2],
}

impl Window {
    /// A square, dense window.
    pub fn square(size: usize, stride: usize, padding: usize) -> Self {
        Self { size: [size; 2], stride: [stride; 2], padding: [padding; 2], dilation: [1; 2] }
    }

    /// Pixels that the window spans along an axis: dilation (size - 1) + 1.
    pub fn span(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.size[axis] - 1) + 1
    }

    /// Height and width of the output: floor((extent + 2 padding - span) / stride) + 1; `None` if
    /// the window does not fit once.
    pub fn output(&self, input: Shape) -> Option<[usize; 2]> {
        let extent = |axis: usize, extent: usize| {
            let room = (extent + 2 * self.padding[axis]).checked_sub(self.span(axis))?;
            Some(room / self.stride[axis] + 1)
        };
        Some([extent(0, input.height)?, extent(1, input.width)?])
    }

    /// Taps of the kernel that lie inside the image at position `output` of an axis.
    fn taps(&self, axis: usize, extent: usize, output: usize) -> Range<usize> {
        let start = output * self.stride[axis];
        let before = |pixel: usize| pixel.saturating_sub(start).div_ceil(self.dilation[axis]);
        let size = self.size[axis];
        let first = before(self.padding[axis]).min(size);
        first..before(extent + self.padding[axis]).min(size).max(first)
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
pub struct Region {
    rows: Run,
    columns: Run,
    input: Shape,
    /// Input channels of one group of the convolution.
    channels: usize,
    output: [usize; 2],
    window: Window,
}

impl Region {
    /// All regions of a convolution with `groups` groups; together they cover every output position
    /// once.
    pub fn all(window: Window, input: Shape, groups: usize, output: [usize; 2]) -> Vec<Self> {
        let columns = window.runs(1, input.width, output[1]);
        let channels = input.channels / groups;
        let mut regions = Vec::new();
        for rows in window.runs(0, input.height, output[0]) {
            for columns in &columns {
                let (rows, columns) = (rows.clone(), columns.clone());
                regions.push(Self { rows, columns, input, channels, output, window });
            }
        }
        regions
    }

    /// Output positions of one image.
    pub fn positions(&self) -> usize {
        self.rows.outputs.len() * self.columns.outputs.len()
    }

    /// Taps inside the image; 0 where a dilated window steps over it.
    pub fn taps(&self) -> usize {
        self.rows.taps.len() * self.columns.taps.len()
    }

    /// Numbers in a row of the region's matrix: taps x channels of one group.
    pub fn depth(&self) -> usize {
        self.taps() * self.channels
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

    /// Where in the input the rows of a tile start, for one group of the convolution.
    fn starts(&self, tile: Range<usize>, group: usize) -> impl Iterator<Item = usize> + '_ {
        let window = self.window;
        let top = self.rows.taps.start * window.dilation[0];
        let left = self.columns.taps.start * window.dilation[1];
        self.walk(tile).map(move |(image, y, x)| {
            let row = y * window.stride[0] + top - window.padding[0];
            let column = x * window.stride[1] + left - window.padding[1];
            let pixel = (image * self.input.height + row) * self.input.width + column;
            pixel * self.input.channels + group * self.channels
        })
    }

    /// The runs of memory that make a row of the matrix, in order.
    fn patch_runs(&self) -> PatchRuns {
        let (rows, columns) = (self.rows.taps.len(), self.columns.taps.len());
        let row_pitch = self.window.dilation[0] * self.input.width * self.input.channels;
        if self.window.dilation[1] == 1 && self.channels == self.input.channels {
            let (counts, pitches) = ([rows, 1], [row_pitch, 0]);
            return PatchRuns { counts, pitches, len: columns * self.channels };
        }
        let column_pitch = self.window.dilation[1] * self.input.channels;
        let (counts, pitches) = ([rows, columns], [row_pitch, column_pitch]);
        PatchRuns { counts, pitches, len: self.channels }
    }

    /// Copies the patches of a tile, of one group of the convolution, into the rows of `patches`,
    /// (tile, depth).
    pub fn gather<T: Real>(
        &self,
        tile: Range<usize>,
        group: usize,
        input: &[T],
        patches: &mut [T],
    ) {
        if self.taps() == 0 {
            return;
        }
        let runs = self.patch_runs();
        let rows = patches.chunks_exact_mut(self.depth());
        for (start, patch) in self.starts(tile, group).zip(rows) {
            for (place, out) in runs.places().zip(patch.chunks_exact_mut(runs.len)) {
                out.copy_from_slice(&input[start + place..][..runs.len]);
            }
        }
    }

    /// Adds the rows of `patches` to where [`gather`](Self::gather) reads them.
    #[inline(always)]
    pub fn scatter_add<T: Real>(
        &self,
        tile: Range<usize>,
        group: usize,
        patches: &[T],
        input: &mut [T],
    ) {
        if self.taps() == 0 {
            return;
        }
        let runs = self.patch_runs();
        let rows = patches.chunks_exact(self.depth());
        for (start, patch) in self.starts(tile, group).zip(rows) {
            for (place, patch) in runs.places().zip(patch.chunks_exact(runs.len)) {
                for (out, &x) in input[start + place..][..runs.len].iter_mut().zip(patch) {
                    *out += x;
                }
            }
        }
    }

    /// Copies the region's taps out of one group's weights (O, kH, kW, C) into `narrow`, (O, depth).
    pub fn narrow<T: Real>(&self, weight: &[T], narrow: &mut [T]) {
        if self.taps() == 0 {
            return;
        }
        let run = self.run();
        for (place, narrow) in self.weight_runs(weight.len()).zip(narrow.chunks_exact_mut(run)) {
            narrow.copy_from_slice(&weight[place..][..run]);
        }
    }

    /// Adds `narrow`, (O, depth), to the region's taps of one group's weights (O, kH, kW, C).
    pub fn widen_add<T: Real>(&self, narrow: &[T], weight: &mut [T]) {
        if self.taps() == 0 {
            return;
        }
        let run = self.run();
        for (place, narrow) in self.weight_runs(weight.len()).zip(narrow.chunks_exact(run)) {
            for (out, &x) in weight[place..][..run].iter_mut().zip(narrow) {
                *out += x;
            }
        }
    }

    /// Does the region use every tap?
    pub fn is_whole(&self) -> bool {
        self.taps() == self.window.size[0] * self.window.size[1]
    }

    /// Numbers of one tap row of the weights.
    fn run(&self) -> usize {
        self.columns.taps.len() * self.channels
    }

    /// Starts of the region's tap rows in weights (O, kH, kW, C) of `len` numbers.
    fn weight_runs(&self, len: usize) -> impl Iterator<Item = usize> + '_ {
        let pitch = self.window.size[1] * self.channels;
        let outputs = len / (self.window.size[0] * pitch);
        (0..outputs).flat_map(move |output| {
            self.rows.taps.clone().map(move |tap_row| {
                (output * self.window.size[0] + tap_row) * pitch
                    + self.columns.taps.start * self.channels
            })
        })
    }
}

/// Where the numbers of a row of the matrix lie, from the row's start: runs of `len` numbers.
#[derive(Debug, Clone, Copy)]
struct PatchRuns {
    /// Runs, vertically and horizontally.
    counts: [usize; 2],
    /// Numbers between the starts of two runs.
    pitches: [usize; 2],
    len: usize,
}

impl PatchRuns {
    /// Starts of the runs.
    #[inline(always)]
    fn places(self) -> impl Iterator<Item = usize> {
        let [rows, columns] = self.pitches;
        (0..self.counts[0])
            .flat_map(move |y| (0..self.counts[1]).map(move |x| y * rows + x * columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_cover_every_output_once_and_only_taps_inside() {
        for (extent, size, stride, padding, dilation) in [
            (7, 3, 1, 1, 1),
            (8, 3, 2, 1, 1),
            (5, 5, 3, 2, 1),
            (3, 3, 1, 0, 1),
            (1, 3, 1, 1, 1),
            (6, 1, 2, 0, 1),
            (9, 3, 1, 2, 2),
            (7, 2, 2, 3, 3),
            (1, 2, 1, 1, 2),
        ] {
            let input = Shape { height: extent, width: extent + 1, channels: 2 };
            let mut window = Window::square(size, stride, padding);
            window.dilation = [dilation; 2];
            let output = window.output(input).unwrap();
            let mut seen = vec![0; output[0] * output[1]];
            for region in Region::all(window, input, 1, output) {
                for pixel in region.output_pixels(0..region.positions()) {
                    seen[pixel] += 1;
                    let (y, x) = (pixel / output[1], pixel % output[1]);
                    let inside = |output: usize, tap: usize, extent: usize| {
                        let pixel = (output * stride + tap * dilation).checked_sub(padding);
                        pixel.is_some_and(|pixel| pixel < extent)
                    };
                    let rows = (0..size).filter(|&tap| inside(y, tap, input.height)).count();
                    let columns = (0..size).filter(|&tap| inside(x, tap, input.width)).count();
                    assert_eq!(region.taps(), rows * columns);
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
