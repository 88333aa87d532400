//! Where the windows of a pooling layer lie: the one place that knows PyTorch's arithmetic of
//! padding, rounding and adaptive sizes. Padding is never seen by the kernels: a window is the
//! range of rows and the range of columns that are inside the image.

#[path = "accelerated/pool_tables.rs"]
pub mod tables;

use std::ops::Range;

use super::Shape;
use crate::train::error::TrainError;
use crate::train::kernel::parallel::BLOCK;

/// Extents of a pooling window, vertically and horizontally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// Pixels between two windows.
    pub stride: [usize; 2],
    /// Pixels around the image, at most half of `size`.
    pub padding: [usize; 2],
    /// Round the number of windows up, not down? The last one must then still start inside the
    /// image or the padding before it.
    pub ceil_mode: bool,
}

impl Pool {
    /// A square window without padding, rounding down.
    pub fn square(size: usize, stride: usize) -> Self {
        Self { size: [size; 2], stride: [stride; 2], padding: [0; 2], ceil_mode: false }
    }

    /// Windows along an axis of `extent` pixels; `None` if not one fits.
    fn count(&self, axis: usize, extent: usize) -> Option<usize> {
        let (size, stride, padding) = (self.size[axis], self.stride[axis], self.padding[axis]);
        let room = (extent + 2 * padding).checked_sub(size)?;
        if !self.ceil_mode {
            return Some(room / stride + 1);
        }
        let count = room.div_ceil(stride) + 1;
        let last_starts_outside = (count - 1) * stride >= extent + padding;
        Some(count - usize::from(last_starts_outside))
    }

    /// The part of window `i` of an axis that is inside the image.
    fn inside(&self, axis: usize, extent: usize, i: usize) -> Range<usize> {
        let (start, padding) = (i * self.stride[axis], self.padding[axis]);
        start.saturating_sub(padding)..(start + self.size[axis] - padding).min(extent)
    }

    /// Pixels of window `i` of an axis that are inside the image or its padding.
    fn padded_len(&self, axis: usize, extent: usize, i: usize) -> usize {
        let start = i * self.stride[axis];
        (start + self.size[axis]).min(extent + 2 * self.padding[axis]) - start
    }
}

/// All windows over images of one shape: every range of rows with every range of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    input: Shape,
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

impl Windows {
    /// Windows that slide over the image. Every one has a pixel inside of it.
    ///
    /// # Errors
    /// When no window fits, or the padding is more than half a window.
    pub fn sliding(input: Shape, pool: Pool) -> Result<Self, TrainError> {
        let [height, width] = pool.size;
        let layer = format!("a pool of {height} x {width}");
        if let Some(axis) = (0..2).find(|&axis| pool.padding[axis] > pool.size[axis] / 2) {
            let (half, found) = (pool.size[axis] / 2, pool.padding[axis]);
            return Err(TrainError::Padding { layer, half, found });
        }
        let ranges = |axis: usize, extent: usize| -> Option<Vec<Range<usize>>> {
            let count = pool.count(axis, extent)?;
            Some((0..count).map(|i| pool.inside(axis, extent, i)).collect())
        };
        let (rows, columns) = (ranges(0, input.height), ranges(1, input.width));
        let (Some(rows), Some(columns)) = (rows, columns) else {
            let expected = format!("{height} x {width} pixels");
            return Err(TrainError::Shape { layer, expected, found: input.to_string() });
        };
        Ok(Self { input, rows, columns })
    }

    /// Windows that make the output `height` x `width` pixels, whatever the image has: window i of
    /// an axis covers floor(i n / m) .. ceil((i + 1) n / m) of n pixels for m windows, so
    /// neighbours may overlap.
    pub fn adaptive(input: Shape, [height, width]: [usize; 2]) -> Self {
        let ranges = |extent: usize, count: usize| -> Vec<Range<usize>> {
            (0..count).map(|i| i * extent / count..((i + 1) * extent).div_ceil(count)).collect()
        };
        Self { input, rows: ranges(input.height, height), columns: ranges(input.width, width) }
    }

    /// Shape of an image.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Images that one thread takes at a time.
    pub fn images_of_a_block(&self) -> usize {
        (BLOCK / self.input.units()).max(1)
    }

    /// A pixel for every window.
    pub fn output(&self) -> Shape {
        let channels = self.input.channels;
        Shape { height: self.rows.len(), width: self.columns.len(), channels }
    }

    /// For every window, in the output's order, what it is divided by to get its mean: the pixels
    /// inside the image, or with `padding` also those in `pool`'s padding.
    pub fn divisors(&self, padding: Option<Pool>) -> Vec<usize> {
        let lens = |axis: usize, ranges: &[Range<usize>], extent: usize| -> Vec<usize> {
            let len = |(i, range): (usize, &Range<usize>)| match padding {
                Some(pool) => pool.padded_len(axis, extent, i),
                None => range.len(),
            };
            ranges.iter().enumerate().map(len).collect()
        };
        let heights = lens(0, &self.rows, self.input.height);
        let widths = lens(1, &self.columns, self.input.width);
        heights.iter().flat_map(|height| widths.iter().map(move |width| height * width)).collect()
    }

    /// Does no pixel belong to two windows?
    pub fn are_disjoint(&self) -> bool {
        let disjoint = |ranges: &[Range<usize>]| ranges.windows(2).all(|w| w[0].end <= w[1].start);
        disjoint(&self.rows) && disjoint(&self.columns)
    }

    /// Does every pixel belong to exactly one window?
    pub fn are_a_tiling(&self) -> bool {
        let whole = |ranges: &[Range<usize>], extent: usize| {
            ranges.iter().map(Range::len).sum::<usize>() == extent
        };
        self.are_disjoint()
            && whole(&self.rows, self.input.height)
            && whole(&self.columns, self.input.width)
    }

    /// The windows of one image, in the output's order.
    #[inline(always)]
    pub fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        let pitch = self.input.width;
        self.rows.iter().flat_map(move |rows| {
            self.columns.iter().map(move |columns| Place {
                first: rows.start * pitch + columns.start,
                size: [rows.len(), columns.len()],
                pitch,
            })
        })
    }
}

/// One window of an image.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its first pixel.
    pub first: usize,
    /// Rows and columns, at least 1.
    size: [usize; 2],
    /// Pixels in a row of the image.
    pitch: usize,
}

impl Place {
    /// Pixels from the first of the window to every one of them, row by row; the first is 0.
    #[inline(always)]
    pub fn offsets(self) -> impl Iterator<Item = usize> {
        let [height, width] = self.size;
        (0..height).flat_map(move |row| (0..width).map(move |column| row * self.pitch + column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize) -> Shape {
        Shape { height, width, channels: 1 }
    }

    /// Every case against the rules written out pixel by pixel.
    #[test]
    fn windows_cover_what_their_definition_says() {
        for extent in 1..9 {
            for size in 1..5 {
                for (stride, padding, ceil_mode) in (1..5)
                    .flat_map(|s| (0..=size / 2).flat_map(move |p| [(s, p, false), (s, p, true)]))
                {
                    let pool =
                        Pool { padding: [padding; 2], ceil_mode, ..Pool::square(size, stride) };
                    let Ok(windows) = Windows::sliding(image(extent, extent), pool) else {
                        assert!(extent + 2 * padding < size);
                        continue;
                    };
                    // In padded places: start inside image or left padding, and end inside
                    // unless rounding up.
                    let expected: Vec<Range<usize>> = (0..)
                        .map(|i| i * stride..i * stride + size)
                        .take_while(|window| {
                            let before = window.start.saturating_sub(stride);
                            let last_fits =
                                before + size >= extent + 2 * padding && window.start > 0;
                            let fits = window.end <= extent + 2 * padding;
                            fits || (ceil_mode && !last_fits && window.start < extent + padding)
                        })
                        .map(|window| {
                            let inside = window.filter(|i| (padding..extent + padding).contains(i));
                            let inside: Vec<usize> = inside.map(|i| i - padding).collect();
                            inside[0]..inside[inside.len() - 1] + 1
                        })
                        .collect();
                    assert_eq!(windows.rows, expected, "{extent} {pool:?}");
                    assert_eq!(windows.columns, expected);
                }
            }
        }
    }

    #[test]
    fn a_tiling_is_told_from_overlap_and_from_gaps() {
        let sliding = |extent, size, stride| {
            Windows::sliding(image(extent, extent), Pool::square(size, stride)).unwrap()
        };
        let kinds = |windows: Windows| (windows.are_disjoint(), windows.are_a_tiling());
        assert_eq!(kinds(sliding(6, 2, 2)), (true, true));
        assert_eq!(kinds(sliding(7, 2, 2)), (true, false));
        assert_eq!(kinds(sliding(6, 2, 3)), (true, false));
        assert_eq!(kinds(sliding(7, 3, 2)), (false, false));
        assert_eq!(kinds(Windows::adaptive(image(4, 6), [2, 3])), (true, true));
        assert_eq!(kinds(Windows::adaptive(image(3, 3), [2, 2])), (false, false));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let error = Windows::sliding(image(4, 1), Pool::square(2, 2)).unwrap_err().to_string();
        assert_eq!(
            error,
            "a pool of 2 x 2 needs an input of at least 2 x 2 pixels, found 1 x 4 x 1"
        );
        let padded = Pool { padding: [0, 2], ..Pool::square(3, 1) };
        let error = Windows::sliding(image(4, 4), padded).unwrap_err().to_string();
        assert_eq!(error, "a pool of 3 x 3 takes a padding of at most 1 pixels, found 2");
    }
}
