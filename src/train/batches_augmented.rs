//! Augmentations that are more than windows, from the bytes of a data set on an accelerator: a launch
//! for each segment of the lanes' [programs](Program), and two more where one begins with a change of
//! contrast. What differs from lane to lane is in tables, so lanes with other lists, or none, are in
//! the same launches.

use crate::train::augment::{Pipeline, Program, Segment, record_len};
use crate::train::device::{Accelerator, Address, DeviceError, Memory, Table, arguments, counted};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};

/// Numbers of a lane's segment that do not change, as `augment.cu` has them.
const PLAN: usize = 16;

/// What lanes do with a segment.
const GOES_ON: u32 = 1;
const LAST: u32 = 2;

/// Sums that are made side by side over a plane.
const SUMS: usize = 16;

/// The programs of all lanes and what their kernels work in.
#[derive(Debug)]
pub(super) struct Augmented {
    program: Program,
    stages: Vec<Stage>,
    channels: usize,
    /// Numbers of one image in `records`.
    record_len: usize,
    records: Table<u32>,
    plans: Table<u32>,
    colours: Table<f32>,
    /// Numbers of the largest image that lies between two segments.
    between: usize,
    memory: Option<Working>,
}

/// One segment of every lane.
#[derive(Debug, Clone, Copy, Default)]
struct Stage {
    /// Where it begins in an image's record.
    at: usize,
    /// Changes of colours that there is room for.
    room: usize,
    /// Pixels of the largest image that a lane makes.
    pixels: usize,
    sums: bool,
    /// Numbers that resizing looks up for an image, and for one of its columns or rows.
    taps: Option<[usize; 2]>,
}

/// Memory that means nothing between two batches.
#[derive(Debug)]
struct Working {
    images: Vec<Memory>,
    /// Numbers of a lane in each.
    stride: usize,
    sums: Memory,
    means: Memory,
    taps: Memory,
}

impl Augmented {
    /// For the augmentations of these lanes.
    pub(super) fn new(lanes: &[(u64, Pipeline)]) -> Self {
        let programs: Vec<Program> = lanes.iter().map(|(_, pipeline)| shape(pipeline)).collect();
        let longest = programs.iter().map(|program| program.segments().len()).max().unwrap_or(0);
        let mut record_len = 0;
        let stages: Vec<Stage> = (0..longest)
            .map(|number| {
                let segments = programs.iter().filter_map(|program| program.segments().get(number));
                let stage = Stage::of(record_len, segments);
                record_len += self::record_len(stage.room);
                stage
            })
            .collect();
        let channels = lanes.first().map_or(0, |(_, pipeline)| pipeline.stored_shape()[0]);
        let mut plans = Table::default();
        plans.refill(|table| {
            for number in 0..longest {
                for ((_, pipeline), program) in lanes.iter().zip(&programs) {
                    table.extend(plan(pipeline, program.segments(), number));
                }
            }
        });
        let mut colours = Table::default();
        colours.refill(|table| {
            table.extend(lanes.first().iter().flat_map(|(_, pipeline)| pipeline.colours()));
        });
        let between = programs.iter().flat_map(|program| {
            let made = program.segments().split_last().map_or(&[][..], |(_, before)| before);
            made.iter().map(|segment| channels * area(segment.size()))
        });
        Self {
            program: Program::default(),
            between: between.max().unwrap_or(0),
            stages,
            channels,
            record_len,
            records: Table::default(),
            plans,
            colours,
            memory: None,
        }
    }

    /// Notes what is done to the images that `samples` lists of every lane.
    pub(super) fn note<'a>(
        &mut self,
        lanes: impl Iterator<Item = (&'a (u64, Pipeline), &'a [u32])>,
        epoch: u32,
    ) {
        let Self { program, stages, records, .. } = self;
        records.refill(|table| {
            for ((seed, pipeline), samples) in lanes {
                for &sample in samples {
                    pipeline.note(*seed, epoch, sample as usize, program);
                    for (number, stage) in stages.iter().enumerate() {
                        program.encode(number, sample as usize, stage.room, table);
                    }
                }
            }
        });
    }

    /// Makes the images that were noted, `samples` in every lane, from `pixels`, the data set.
    pub(super) fn write<T: Real>(
        &mut self,
        accelerator: &Accelerator,
        pixels: Address,
        (input, samples): (&mut Buffer<T>, usize),
        units: usize,
    ) -> Result<(), TrainError> {
        let lanes = input.lanes();
        if self.memory.is_none() {
            self.memory = Some(self.working(accelerator, lanes, input.lane_len() / units)?);
        }
        let Self { stages, channels, record_len, records, plans, colours, memory, .. } = self;
        let memory = memory.as_ref().expect("invariant: made above");
        let [records, plans] = [records.place(accelerator)?, plans.place(accelerator)?];
        let colours = colours.place(accelerator)?;
        let (stride, record_len) = (memory.stride as u32, *record_len as u32);
        let [sums, means, taps] = [&memory.sums, &memory.means, &memory.taps].map(Memory::address);
        for (number, stage) in stages.iter().enumerate() {
            let plans = plans.after::<u32>(number * lanes * PLAN);
            let at = stage.at as u32;
            // The first begins with the data set, and the last ends in the input.
            let image =
                |turn: usize| memory.images.get(turn % 2).map_or(Address::NONE, Memory::address);
            let [from, to] = [image(number + 1), image(number)];
            if stage.sums {
                let given = arguments![from, stride, plans, sums];
                accelerator.launch("grey_sums", [samples * *channels * SUMS, lanes], given)?;
                let given = arguments![from, stride, plans, sums, means];
                accelerator.launch("grey_means", [samples, lanes], given)?;
            }
            let [taps_len, tap_len] = stage.taps.unwrap_or([0; 2]);
            if stage.taps.is_some() {
                let given = arguments![
                    plans,
                    records,
                    samples as u32,
                    record_len,
                    at,
                    taps,
                    taps_len as u32,
                    tap_len as u32,
                ];
                accelerator.launch("resize_taps", [samples * taps_len / tap_len, lanes], given)?;
            }
            let groups = if *channels == 3 { 1 } else { *channels };
            let given = arguments![
                pixels,
                from,
                to,
                &*input,
                stride,
                input.pitch(),
                samples as u32,
                plans,
                records,
                record_len,
                at,
                taps,
                taps_len as u32,
                tap_len as u32,
                means,
                colours,
            ];
            accelerator.launch(
                "augment_pixels",
                [samples * stage.pixels * groups, lanes],
                given,
            )?;
        }
        Ok(())
    }

    /// Memory for `images` of every lane at a time.
    fn working(
        &self,
        accelerator: &Accelerator,
        lanes: usize,
        images: usize,
    ) -> Result<Working, DeviceError> {
        let stride = images * self.between;
        counted("the images of a batch on their way", stride)?;
        let all = lanes * images;
        let kept = self.stages.len().saturating_sub(1).min(2);
        let sums = if self.stages.iter().any(|stage| stage.sums) { all } else { 0 };
        let taps = self.stages.iter().filter_map(|stage| stage.taps).map(|[len, _]| len);
        Ok(Working {
            images: (0..kept)
                .map(|_| accelerator.zeros::<f32>(lanes * stride))
                .collect::<Result<_, _>>()?,
            stride,
            sums: accelerator.zeros::<f64>(sums * self.channels * SUMS)?,
            means: accelerator.zeros::<f32>(sums)?,
            taps: accelerator.zeros::<i32>(all * taps.max().unwrap_or(0))?,
        })
    }
}

impl Stage {
    /// What one launch does for these segments of lanes, whose numbers begin at `at`.
    fn of<'a>(at: usize, segments: impl Iterator<Item = &'a Segment>) -> Self {
        segments.fold(Self { at, ..Self::default() }, |stage, segment| Self {
            at,
            room: stage.room.max(segment.changes()),
            pixels: stage.pixels.max(area(segment.size())),
            sums: stage.sums || segment.sums(),
            taps: widest(stage.taps, segment),
        })
    }
}

/// Numbers that resizing looks up for an image and for one of its columns or rows, where others of
/// the launch need as many as `taps` says.
fn widest(taps: Option<[usize; 2]>, segment: &Segment) -> Option<[usize; 2]> {
    let Some(old) = segment.resized() else { return taps };
    let new = segment.mapped();
    // A cut is at most the image; as in kernel/resize.rs.
    let pixels = [0, 1].map(|axis| old[axis].div_ceil(new[axis]).max(1) * 2 + 1);
    let [positions, tap_len] = [new[0] + new[1], 2 + pixels[0].max(pixels[1])];
    let [most, longest] = taps.map_or([0; 2], |[taps_len, tap_len]| [taps_len / tap_len, tap_len]);
    let tap_len = tap_len.max(longest);
    Some([positions.max(most) * tap_len, tap_len])
}

/// The segments of a pipeline: those of any image.
fn shape(pipeline: &Pipeline) -> Program {
    let mut program = Program::default();
    pipeline.note(0, 0, 0, &mut program);
    program
}

fn area([height, width]: [usize; 2]) -> usize {
    height * width
}

/// What does not change of segment `number`; 0 where a lane has no such one.
fn plan(pipeline: &Pipeline, segments: &[Segment], number: usize) -> [u32; PLAN] {
    let mut plan = [0; PLAN];
    let Some(segment) = segments.get(number) else { return plan };
    let kind = if number + 1 == segments.len() { LAST } else { GOES_ON };
    let (from, size, mapped) = (segment.from(), segment.size(), segment.mapped());
    let numbers = [
        kind as usize,
        usize::from(number == 0),
        from[0],
        from[1],
        size[0],
        size[1],
        segment.changes(),
        usize::from(segment.sums()),
        usize::from(segment.resized().is_some()),
        mapped[0],
        mapped[1],
        pipeline.stored_shape()[0],
        usize::from(pipeline.is_channels_last()),
    ];
    plan.iter_mut().zip(numbers).for_each(|(to, number)| *to = number as u32);
    plan
}

#[cfg(test)]
#[path = "batches_augmented_tests.rs"]
mod tests;
