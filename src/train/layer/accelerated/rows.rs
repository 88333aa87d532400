//! On an accelerator: a bias on every row, sums of columns, and how rows are cut into parts for sums.

use crate::train::device::{Accelerator, Address, Argument, DeviceError, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::lane_set::LaneSet;
use crate::train::layer::Parameter;

/// Threads of a lane that keep the memory of a large GPU busy with what each of them asks for ahead.
const THREADS: usize = 1 << 16;

/// Fewest rows that one thread sums: as many as it asks for ahead.
const FEWEST: usize = 8;

/// Most sums that one thread joins.
const FOLD: usize = 64;

/// Most parts that rows are cut into: they are joined in two steps at most.
const MOST_PARTS: usize = FOLD * FOLD;

/// How the rows of a matrix are cut into parts. Depends on its size in one lane alone, so sums do not
/// change with anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Rows of a part; the last may have fewer.
    pub rows: usize,
    /// Number of parts.
    pub count: usize,
    columns: usize,
}

impl Parts {
    /// Of so many rows of so many columns.
    pub fn of(rows: usize, columns: usize) -> Self {
        let across = columns / Self::of_thread(columns);
        let wanted = THREADS.div_ceil(across.max(1)).clamp(1, MOST_PARTS);
        let of_part = rows.div_ceil(wanted).max(FEWEST);
        Self { rows: of_part, count: rows.div_ceil(of_part), columns }
    }

    /// Columns that a thread sums, as `OF_THREAD` in `kernels/rows.cu` has it.
    fn of_thread(columns: usize) -> usize {
        if columns.is_multiple_of(4) { 4 } else { 1 }
    }

    /// Sums of all parts, of one column each.
    pub fn numbers(&self) -> usize {
        self.count * self.columns
    }

    /// Parts that are left when they have been [joined](Self::join) in part.
    pub fn joined(&self) -> usize {
        if self.count > FOLD { self.count.div_ceil(FOLD) } else { self.count }
    }

    /// Bytes of the parts of `sums` sums in each of `lanes`, and of what they are joined to.
    pub fn bytes(&self, [sums, lanes]: [usize; 2]) -> usize {
        let joined = if self.count > FOLD { self.joined() * self.columns } else { 0 };
        lanes * sums * (self.numbers() + joined) * size_of::<f64>()
    }

    /// Scratch memory for so many bytes.
    ///
    /// # Errors
    /// When there is not so much left.
    pub fn scratch(
        &self,
        accelerator: &Accelerator,
        of: [usize; 2],
    ) -> Result<Address, DeviceError> {
        accelerator.scratch(self.bytes(of))
    }

    /// Queues a kernel that makes the parts.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn launch<const N: usize>(
        &self,
        accelerator: &Accelerator,
        kernel: &'static str,
        lanes: usize,
        arguments: [Argument; N],
    ) -> Result<(), DeviceError> {
        let numbers = [self.numbers(), lanes];
        match Self::of_thread(self.columns) {
            1 => accelerator.launch(kernel, numbers, arguments),
            _ => accelerator.launch_fours(kernel, numbers, arguments),
        }
    }

    /// Joins parts of `sums` sums, which begin in memory of as many [bytes](Self::bytes), until one thread
    /// can join the rest; says where they are then, [`joined`](Self::joined) of each sum.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn join(
        &self,
        accelerator: &Accelerator,
        parts: Address,
        [sums, lanes]: [usize; 2],
    ) -> Result<Address, DeviceError> {
        let groups = self.joined();
        if groups == self.count {
            return Ok(parts);
        }
        let stride = sums * self.numbers();
        let to = parts.after::<f64>(lanes * stride);
        let [columns, count] = [self.columns, self.count].map(|size| size as u32);
        let given =
            arguments![parts, to, columns, count, FOLD as u32, groups as u32, stride as u32];
        accelerator.launch("fold_rows", [sums * groups * self.columns, lanes], given)?;
        Ok(to)
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
    accelerator.launch_fours("add_to_rows", [rows * columns, bias.lanes.group()], given)?;
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
    accelerator.launch_fours("widen_bf16_rows", [rows * columns, bias.lanes.group()], given)?;
    Ok(())
}

/// Overwrites the gradient of a bias, in the lanes that have it, with the sum of `rows` rows.
pub fn bias_gradient<T: Real>(
    accelerator: &Accelerator,
    bias: &mut Parameter<T>,
    (gradient, rows): (&Buffer<T>, usize),
    present: &mut Table<u32>,
) -> Result<(), TrainError> {
    let parts = Parts::of(rows, bias.value.lane_len());
    let sums = parts.scratch(accelerator, [1, bias.lanes.group()])?;
    sum(accelerator, bias, (gradient, parts, rows), (sums, Address::NONE, 0), present)
}

/// The same, and rows in bf16 at a place with its pitch; in memory for the [parts](Parts::bytes).
pub fn bias_gradient_and_rounded<T: Real>(
    accelerator: &Accelerator,
    bias: &mut Parameter<T>,
    (gradient, rows): (&Buffer<T>, usize),
    (sums, (rounded, pitch)): (Address, (Address, usize)),
    present: &mut Table<u32>,
) -> Result<(), TrainError> {
    let parts = Parts::of(rows, bias.value.lane_len());
    sum(accelerator, bias, (gradient, parts, rows), (sums, rounded, pitch), present)
}

fn sum<T: Real>(
    accelerator: &Accelerator,
    bias: &mut Parameter<T>,
    (gradient, parts, rows): (&Buffer<T>, Parts, usize),
    (sums, rounded, pitch): (Address, Address, usize),
    present: &mut Table<u32>,
) -> Result<(), TrainError> {
    let present = members(present, &bias.lanes, accelerator)?;
    let (columns, lanes) = (bias.value.lane_len(), bias.lanes.group());
    let [pitch, count, of_part] = [pitch, rows, parts.rows].map(|size| size as u32);
    let given = arguments![
        gradient,
        sums,
        rounded,
        gradient.pitch(),
        pitch,
        columns as u32,
        count,
        of_part,
    ];
    parts.launch(accelerator, "sum_rows_parts", lanes, given)?;
    let joined = parts.join(accelerator, sums, [1, lanes])?;
    let given = arguments![joined, &bias.gradient, parts.joined() as u32, present];
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
    accelerator.launch_fours("copy_lanes", [len, lanes], given)?;
    Ok(())
}
