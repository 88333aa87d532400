//! A data set that is on an accelerator as bytes. What is done to an image is drawn here, number for
//! number as on the CPU; its pixels are computed there, bit for bit the same. Where all lanes show
//! windows (cuts, padding, mirror images), that is one look for each pixel; other augmentations are
//! [segments](super::augmented).

use std::ops::Range;

use super::Batches;
use super::augmented::Augmented;
use crate::train::augment::{Lookup, Pipeline};
use crate::train::data::DataSplits;
use crate::train::device::{Accelerator, Address, DeviceError, Memory, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::report::Part;

/// The parts of a data set on an accelerator, and what its kernels look up.
#[derive(Debug)]
pub(super) struct Resident {
    accelerator: Accelerator,
    train: Memory,
    validation: Memory,
    test: Memory,
    /// What every image of a batch shows.
    shown: Table<i32>,
    shape: Table<u32>,
    tables: Table<f32>,
    shares: Table<f32>,
    mixes: Table<u32>,
    /// What makes the images of lanes that are more than windows.
    augmented: Option<Augmented>,
}

/// A part of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// What is trained on.
    Training,
    /// Another.
    Part(Part),
}

impl Resident {
    fn new(accelerator: &Accelerator, data: &DataSplits) -> Result<Self, DeviceError> {
        let hold = |pixels: &[u8]| accelerator.hold(pixels);
        Ok(Self {
            train: hold(&data.train.pixels)?,
            validation: hold(&data.val.pixels)?,
            test: hold(&data.test.pixels)?,
            accelerator: accelerator.clone(),
            shown: Table::default(),
            shape: Table::default(),
            tables: Table::default(),
            shares: Table::default(),
            mixes: Table::default(),
            augmented: None,
        })
    }

    fn pixels(&self, from: From) -> Address {
        match from {
            From::Training => self.train.address(),
            From::Part(Part::Validation) => self.validation.address(),
            From::Part(Part::Test) => self.test.address(),
        }
    }

    /// Notes that the next image shows `lookup` of image number `image` of its part.
    fn show(table: &mut Vec<i32>, image: usize, lookup: &Lookup) {
        let Lookup { origin, step: [_, across], rows, columns } = *lookup;
        table.extend([image as i32, origin, across, rows[0], rows[1], columns[0], columns[1], 0]);
    }

    /// Writes the images that `list` lists, `samples` for every lane, into `input`.
    fn write<T: Real>(
        &mut self,
        pipeline: &Pipeline,
        from: From,
        (input, samples): (&mut Buffer<T>, usize),
        list: impl FnOnce(&mut Vec<i32>),
    ) -> Result<(), TrainError> {
        let accelerator = self.accelerator.clone();
        self.shown.refill(list);
        let shown = self.shown.place(&accelerator)?;
        let shape = self.shape.once(&accelerator, |table| table.extend(pipeline.geometry()))?;
        let tables = self.tables.once(&accelerator, |table| pipeline.tables(table))?;
        let [_, height, width] = pipeline.output_shape();
        let threads = [samples * height * width, input.lanes()];
        let (pixels, pitch) = (self.pixels(from), input.pitch());
        let given = arguments![pixels, &*input, pitch, samples as u32, shown, shape, tables];
        accelerator.launch("show_images", threads, given)?;
        Ok(())
    }

    /// Mixes neighbours in the lanes that mix; `shares` of all lanes.
    fn mix<T: Real>(
        &mut self,
        lanes: &[(u64, Pipeline)],
        (input, samples): (&mut Buffer<T>, usize),
        shares: &[f32],
    ) -> Result<(), TrainError> {
        let (Some((_, first)), pairs) = (lanes.first(), samples / 2) else { return Ok(()) };
        self.shares.refill(|table| table.extend(shares));
        let shares = self.shares.place(&self.accelerator)?;
        let mixes = self.mixes.once(&self.accelerator, |table| {
            table.extend(lanes.iter().map(|(_, lane)| u32::from(lane.mixup().is_some())));
        })?;
        let units: usize = first.output_shape().iter().product();
        let given = arguments![&*input, input.pitch(), units as u32, samples as u32, shares, mixes];
        self.accelerator.launch("mix_pairs", [pairs * units, lanes.len()], given)?;
        Ok(())
    }
}

/// Does a border of `part` part two images of a batch that are mixed with each other?
fn parts_a_pair(batch: &Range<usize>, part: &Range<usize>) -> bool {
    let is_odd = |places: usize| places % 2 == 1;
    is_odd(part.start - batch.start) || (is_odd(part.len()) && part.end != batch.end)
}

impl Batches {
    /// Puts the data set on an accelerator, if it has room for it: what is computed does not depend
    /// on that.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        // Images are counted in 31 bits there, and so are the pixels of one.
        let fits = |len: usize| i32::try_from(len).is_ok();
        let parts = [&self.data.train, &self.data.val, &self.data.test];
        if !parts.iter().all(|part| fits(part.len())) || !fits(self.data.shape.iter().product()) {
            return Ok(());
        }
        self.resident = match Resident::new(accelerator, &self.data) {
            Ok(resident) => Some(resident),
            Err(DeviceError::Memory { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    /// [`fill_training`](Self::fill_training) from the data set on an accelerator; says whether it
    /// could.
    pub(super) fn show_training<T: Real>(
        &mut self,
        input: &mut Buffer<T>,
        epoch: u32,
        batch: &Range<usize>,
        places: &Range<usize>,
    ) -> Result<bool, TrainError> {
        let Self { data, lanes, orders, labels, mixed, resident, .. } = self;
        let Some(resident) = resident else { return Ok(false) };
        let mixing = lanes.iter().any(|(_, pipeline)| pipeline.mixup().is_some());
        if mixing && parts_a_pair(batch, places) {
            return Ok(false);
        }
        let Some((_, first)) = lanes.first() else { return Ok(false) };
        labels.clear();
        mixed.clear();
        let samples = places.len();
        let shown = |seed: &u64| &orders[seed][places.clone()];
        for (seed, pipeline) in lanes.iter() {
            let start = labels.len();
            labels.extend(shown(seed).iter().map(|&sample| data.train.labels[sample as usize]));
            let labels = &labels[start..];
            if let Some(mixup) = pipeline.mixup() {
                let key = (*seed, epoch, places.start);
                mixup.partners(key, samples, |with, share| mixed.push(labels[with], share));
            } else if mixing {
                labels.iter().for_each(|&label| mixed.push(label, 1.0));
            }
        }
        if lanes.iter().all(|(_, pipeline)| pipeline.is_window()) {
            resident.write(first, From::Training, (&mut *input, samples), |table| {
                for (seed, pipeline) in lanes.iter() {
                    for &sample in shown(seed) {
                        let lookup = pipeline.shown(*seed, epoch, sample as usize);
                        Resident::show(table, sample as usize, &lookup);
                    }
                }
            })?;
        } else {
            let augmented = resident.augmented.get_or_insert_with(|| Augmented::new(lanes));
            augmented.note(lanes.iter().map(|lane| (lane, shown(&lane.0))), epoch);
            let units = first.output_shape().iter().product();
            let pixels = resident.train.address();
            augmented.write(&resident.accelerator, pixels, (&mut *input, samples), units)?;
        }
        if mixing {
            resident.mix(lanes, (input, samples), &mixed.shares)?;
        }
        Ok(true)
    }

    /// Images of a part from the data set on an accelerator, `samples` in every lane; `image` says
    /// for a lane and a place in it the image's number and what it shows, or that the place keeps
    /// anything. Says whether it could.
    pub(super) fn show_part<T: Real>(
        &mut self,
        input: &mut Buffer<T>,
        part: Part,
        samples: usize,
        image: impl Fn(usize, &Pipeline, usize) -> Option<(usize, Lookup)>,
    ) -> Result<bool, TrainError> {
        let Self { lanes, resident, .. } = self;
        let Some(resident) = resident else { return Ok(false) };
        let Some((_, first)) = lanes.first() else { return Ok(false) };
        resident.write(first, From::Part(part), (input, samples), |table| {
            for (lane, (_, pipeline)) in lanes.iter().enumerate() {
                for at in 0..samples {
                    match image(lane, pipeline, at) {
                        Some((image, lookup)) => Resident::show(table, image, &lookup),
                        // Black: it reads no pixel.
                        None => table.extend([0; 8]),
                    }
                }
            }
        })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::spec::RunConfig;
    use crate::spec::augmentation::Augmentation;
    use crate::spec::operation::{Operation, Side};
    use crate::train::crops::LaneViews;
    use crate::train::data::Images;
    use crate::train::device::emulated;
    use crate::train::model::InputOrder;

    fn data(shape: [usize; 3]) -> Arc<DataSplits> {
        let units: usize = shape.iter().product();
        let part = |n: usize, by: usize| Images {
            pixels: (0..n * units).map(|i| (i * by % 251) as u8).collect(),
            labels: (0..n).map(|i| (i % 4) as u16).collect(),
        };
        Arc::new(DataSplits {
            shape,
            classes: 4,
            mean: (0..shape[0]).map(|c| 0.3 + 0.1 * c as f32).collect(),
            std: (0..shape[0]).map(|c| 0.2 + 0.1 * c as f32).collect(),
            train: part(11, 7),
            val: part(6, 5),
            test: part(5, 3),
        })
    }

    fn lanes() -> Vec<RunConfig> {
        let lane = |seed, operations| RunConfig {
            seed,
            augmentation: Augmentation::of(operations),
            ..RunConfig::default()
        };
        let crop = Operation::RandomCrop { padding: 2, size: Side::Same };
        let flip = Operation::HorizontalFlip { p: 0.5 };
        vec![
            lane(1, vec![]),
            lane(2, vec![crop.clone(), flip.clone(), crop.clone()]),
            lane(3, vec![flip, crop, Operation::Mixup { alpha: 0.7 }]),
        ]
    }

    /// Bits of what three batches leave, and labels with their mixtures.
    fn filled(
        shape: [usize; 3],
        order: InputOrder,
        on: Option<&Accelerator>,
    ) -> Vec<(Vec<u32>, Vec<u16>, String)> {
        let lanes = lanes();
        let mut batches = Batches::new(&lanes, data(shape), order);
        let units: usize = shape.iter().product();
        let mut input = Buffer::<f32>::zeros(lanes.len(), &[7, units]).unwrap();
        if let Some(accelerator) = on {
            input.move_to(accelerator).unwrap();
            batches.move_to(accelerator).unwrap();
        }
        let mut seen = Vec::new();
        let mut note = |batches: &Batches, input: &Buffer<f32>, samples: usize| {
            let numbers = input.read().unwrap();
            let used = (0..3).flat_map(|lane| numbers.lane(lane, samples * units).to_vec());
            let used = used.map(f32::to_bits).collect();
            seen.push((used, batches.labels().to_vec(), format!("{:?}", batches.mixed())));
        };
        for places in [0..7, 7..11] {
            batches.fill_training(&mut input, 2, &places, places.clone()).unwrap();
            note(&batches, &input, places.len());
        }
        for part in [Part::Validation, Part::Test] {
            batches.fill_evaluation(&mut input, part, 1..5).unwrap();
            note(&batches, &input, 4);
        }
        let views = |config: &RunConfig| LaneViews::of(&config.evaluation, Part::Test);
        let views: Vec<LaneViews> = lanes.iter().map(views).collect();
        batches.fill_views(&mut input, Part::Test, 0..5, &views).unwrap();
        note(&batches, &input, 5);
        seen
    }

    #[test]
    fn batches_on_an_accelerator_have_the_same_bits() {
        for accelerator in emulated::accelerators() {
            for (shape, order) in [
                ([1, 6, 5], InputOrder::ChannelsFirst),
                ([3, 5, 6], InputOrder::ChannelsLast),
                ([2, 4, 4], InputOrder::ChannelsLast),
                ([3, 5, 4], InputOrder::ChannelsFirst),
            ] {
                let expected = filled(shape, order, None);
                assert!(
                    expected == filled(shape, order, Some(&accelerator)),
                    "{shape:?} {order:?}"
                );
            }
        }
    }
}
