//! Where the windows of a pool lie, for kernels.

use std::ops::Range;

use super::Windows;
use crate::train::device::{Accelerator, Address, DeviceError, Table};

/// What the kernels of pools look up.
#[derive(Debug, Default)]
pub struct Tables {
    shape: Table<u32>,
    rows: Table<u32>,
    columns: Table<u32>,
    row_windows: Table<u32>,
    column_windows: Table<u32>,
}

/// Where these are on an accelerator.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// Height, width and channels of the image; height and width of the output.
    pub shape: Address,
    /// From and to of every window's rows.
    pub rows: Address,
    /// From and to of every window's columns.
    pub columns: Address,
    /// From and to of the windows that every row of the image belongs to.
    pub row_windows: Address,
    /// The same of columns.
    pub column_windows: Address,
    /// 1 if no pixel belongs to two windows.
    pub disjoint: u32,
}

impl Tables {
    /// The tables of `windows` on the accelerator.
    ///
    /// # Errors
    /// When it has no memory left, or a copy fails.
    pub fn on(
        &mut self,
        accelerator: &Accelerator,
        windows: &Windows,
    ) -> Result<Places, DeviceError> {
        let (input, output) = (windows.input(), windows.output());
        let sizes =
            [input.height, input.width, input.channels, output.height, output.width].map(narrow);
        let shape = self.shape.once(accelerator, |table| table.extend(sizes))?;
        let rows = self.rows.once(accelerator, |table| ends(&windows.rows, table))?;
        let columns = self.columns.once(accelerator, |table| ends(&windows.columns, table))?;
        let row_windows = self.row_windows.once(accelerator, |table| {
            owners(&windows.rows, input.height, table);
        })?;
        let column_windows = self.column_windows.once(accelerator, |table| {
            owners(&windows.columns, input.width, table);
        })?;
        let disjoint = u32::from(windows.are_disjoint());
        Ok(Places { shape, rows, columns, row_windows, column_windows, disjoint })
    }
}

/// A size of an image, which is small.
fn narrow(size: usize) -> u32 {
    size as u32
}

fn ends(ranges: &[Range<usize>], table: &mut Vec<u32>) {
    table.extend(ranges.iter().flat_map(|range| [narrow(range.start), narrow(range.end)]));
}

/// For every one of `extent` pixels of an axis, the first of the windows it belongs to and the one
/// after the last. They follow one another, since both ends of windows ascend.
fn owners(ranges: &[Range<usize>], extent: usize, table: &mut Vec<u32>) {
    for pixel in 0..extent {
        let first = ranges.iter().position(|range| range.contains(&pixel));
        let last = ranges.iter().rposition(|range| range.contains(&pixel));
        let (first, end) = first.zip(last).map_or((0, 0), |(first, last)| (first, last + 1));
        table.extend([narrow(first), narrow(end)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::Shape;
    use crate::train::layer::pool_windows::Pool;

    #[test]
    fn every_pixel_belongs_to_the_windows_that_contain_it() {
        let shape = Shape { height: 7, width: 5, channels: 1 };
        let sliding = |size, stride, padding| {
            let pool =
                Pool { padding: [padding; 2], ceil_mode: true, ..Pool::square(size, stride) };
            Windows::sliding(shape, pool).unwrap()
        };
        for windows in [
            sliding(3, 2, 1),
            sliding(2, 3, 0),
            sliding(3, 1, 0),
            Windows::adaptive(shape, [3, 4]),
            Windows::adaptive(shape, [9, 2]),
        ] {
            let mut table = Vec::new();
            owners(&windows.rows, shape.height, &mut table);
            for (pixel, range) in table.chunks(2).enumerate() {
                for (window, rows) in windows.rows.iter().enumerate() {
                    let listed = (range[0]..range[1]).contains(&(window as u32));
                    assert_eq!(listed, rows.contains(&pixel), "{windows:?} {pixel} {window}");
                }
            }
        }
    }
}
