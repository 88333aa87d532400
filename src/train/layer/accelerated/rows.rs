//! On an accelerator: a bias on every row, sums of columns, and how rows are cut into parts for sums.

use crate::train::device::{Accelerator, Address, DeviceError, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::lane_set::LaneSet;
use crate::train::layer::Parameter;

/// Fewest rows that one thread sums.
const FEWEST: usize = 32;

/// Most parts that rows are cut into, the sums of which one thread joins.
const MOST_PARTS: usize = 128;

/// How the rows of a matrix are cut into parts. Depends on their number alone, so sums do not change
/// with anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Rows of a part; the last may have fewer.
    pub rows: usize,
    /// Number of parts.
    pub count: usize,
}

impl Parts {
    /// Of so many rows.
    pub fn of(rows: usize) -> Self {
        let of_part = rows.div_ceil(MOST_PARTS).max(FEWEST);
        Self { rows: of_part, count: rows.div_ceil(of_part) }
    }
}

/// For every lane 1 if it is in the set, else 0.
pub fn members(
    table: &mut Table<u32>,
    lanes: &LaneSet,
    accelerator: &Accelerator,
) -> Result<Address, DeviceError> {
    table.once(accelerator, |table| {
        table.extend((0..lanes.group()).map(|lane| u32::from(lanes.contains(lane))));
    })
}

/// Adds a bias to every one of `rows` rows, in the lanes that have it.
pub fn add_bias<T: Real>(
    accelerator: &Accelerator,
    (output, rows): (&mut Buffer<T>, usize),
    bias: &Parameter<T>,
    present: &mut Table<u32>,
) -> Result<(), TrainError> {
    let present = members(present, &bias.lanes, accelerator)?;
    let columns = bias.value.lane_len();
    let given = arguments![&*output, &bias.value, output.pitch(), bias.value.pitch(), present];
    accelerator.launch("add_to_rows", [rows * columns, bias.lanes.group()], given)?;
    Ok(())
}

/// Overwrites `rows` rows with numbers in bf16, and adds a bias in the lanes that have it.
pub fn widen_with_bias<T: Real>(
    accelerator: &Accelerator,
    (from, pitch): (Address, usize),
    (output, rows): (&mut Buffer<T>, usize),
    (bias, present): (&Parameter<T>, &mut Table<u32>),
) -> Result<(), TrainError> {
    let present = members(present, &bias.lanes, accelerator)?;
    let columns = bias.value.lane_len();
    let pitches = [pitch as u32, output.pitch()];
    let given = arguments![
        from,
        &*output,
        &bias.value,
        pitches[0],
        pitches[1],
        bias.value.pitch(),
        present
    ];
    accelerator.launch("widen_bf16_rows", [rows * columns, bias.lanes.group()], given)?;
    Ok(())
}

/// Overwrites the gradient of a bias, in the lanes that have it, with the sum of `rows` rows.
pub fn bias_gradient<T: Real>(
    accelerator: &Accelerator,
    bias: &mut Parameter<T>,
    (gradient, rows): (&Buffer<T>, usize),
    present: &mut Table<u32>,
) -> Result<(), TrainError> {
    let present = members(present, &bias.lanes, accelerator)?;
    let (columns, lanes) = (bias.value.lane_len(), bias.lanes.group());
    let parts = Parts::of(rows);
    let threads = parts.count * columns;
    let sums = accelerator.scratch(lanes * threads * size_of::<f64>())?;
    let [count, of_part] = [rows as u32, parts.rows as u32];
    let given = arguments![gradient, sums, gradient.pitch(), columns as u32, count, of_part];
    accelerator.launch("sum_rows_parts", [threads, lanes], given)?;
    let given = arguments![sums, &bias.gradient, parts.count as u32, present];
    accelerator.launch("sum_rows_join", [columns, lanes], given)?;
    Ok(())
}

/// Copies the first `len` numbers of every lane.
pub fn copy<T: Real>(
    accelerator: &Accelerator,
    from: &Buffer<T>,
    to: &mut Buffer<T>,
    [len, lanes]: [usize; 2],
) -> Result<(), TrainError> {
    let given = arguments![from, &*to, from.pitch(), to.pitch()];
    accelerator.launch("copy_lanes", [len, lanes], given)?;
    Ok(())
}
