//! From data sets to batches: which images, in which order, through the augmentation, into the
//! network's input.

#[path = "batches_augmented.rs"]
mod augmented;
#[path = "batches_resident.rs"]
mod resident;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::augment::{Pipeline, View};
use super::crops::LaneViews;
use super::data::{DataSplits, Images};
use super::error::TrainError;
use super::kernel::{Buffer, Real};
use super::loss::{self, Targets};
use super::model::InputOrder;
use super::report::Part;
use super::rng::{Purpose, Stream};
use crate::spec::RunConfig;

/// What every image of a batch is mixed with, lane by lane.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mixed {
    /// Class of the other image, (L, N).
    pub labels: Vec<u16>,
    /// Share of the image's own class, (L, N), in [0, 1].
    pub shares: Vec<f32>,
}

impl Mixed {
    fn clear(&mut self) {
        self.labels.clear();
        self.shares.clear();
    }

    fn push(&mut self, label: u16, share: f32) {
        self.labels.push(label);
        self.shares.push(share);
    }
}

/// Fills the batches of all lanes.
pub struct Batches {
    data: Arc<DataSplits>,
    lanes: Vec<(u64, Pipeline)>,
    /// The epoch that `orders` belong to.
    epoch: u32,
    /// Order of the training images for each seed among the lanes.
    orders: BTreeMap<u64, Vec<u32>>,
    /// Classes of the last batch, lane by lane.
    labels: Vec<u16>,
    /// What they are mixed with, where any lane mixes.
    mixed: Mixed,
    /// The data set on an accelerator, if it is there.
    resident: Option<resident::Resident>,
    /// Images in the whole of the last batch, of which these may be a part.
    whole: usize,
    /// An image beside a rank's part of the batch; kept for its memory.
    beside: Vec<f32>,
    /// Images on their way to a network that does not compute in f32; kept for its memory.
    single: Vec<f32>,
}

impl Batches {
    /// Batches of `data` for `lanes`, whose network wants `order`.
    pub fn new(lanes: &[RunConfig], data: Arc<DataSplits>, order: InputOrder) -> Self {
        let pipelines = lanes
            .iter()
            .map(|lane| {
                let [_, height, width] = data.shape;
                let size = lane.input_size([height, width]);
                (lane.seed, Pipeline::new(&lane.augmentation, &data, order).cut_to(size))
            })
            .collect();
        Self {
            data,
            lanes: pipelines,
            epoch: 0,
            orders: BTreeMap::new(),
            labels: Vec::new(),
            mixed: Mixed::default(),
            resident: None,
            whole: 0,
            beside: Vec::new(),
            single: Vec::new(),
        }
    }

    /// Classes of the last batch, (L, N).
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// What the images of the last batch are mixed with; `None` if no lane mixes.
    pub fn mixed(&self) -> Option<&Mixed> {
        (!self.mixed.labels.is_empty()).then_some(&self.mixed)
    }

    /// What the network is to say of the last batch.
    pub fn targets(&self) -> Targets<'_> {
        let mixed = self.mixed();
        let mixed = mixed.map(|m| loss::Mixed { labels: &m.labels, shares: &m.shares });
        Targets { labels: &self.labels, mixed, whole: Some(self.whole) }
    }

    /// Shape of the images that the network is given, (C, H, W); the same for all lanes.
    pub fn image_shape(&self) -> [usize; 3] {
        self.lanes.first().map_or(self.data.shape, |(_, pipeline)| pipeline.output_shape())
    }

    /// Puts the images at places `part` of epoch `epoch`'s order (from 1) into `input`, which are
    /// those, or some of those, of the batch at `batch`. Each is what it is in the whole batch.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn fill_training<T: Real>(
        &mut self,
        input: &mut Buffer<T>,
        epoch: u32,
        batch: &Range<usize>,
        part: Range<usize>,
    ) -> Result<(), TrainError> {
        self.draw_orders(epoch);
        self.whole = batch.len();
        if self.show_training(input, epoch, batch, &part)? {
            return Ok(());
        }
        let units = self.image_shape().iter().product::<usize>();
        let Self { data, lanes, orders, labels, mixed, beside, single, .. } = self;
        let (stored, images) = (data.shape.iter().product(), &data.train);
        let capacity = input.lane_len();
        let mixing = lanes.iter().any(|(_, pipeline)| pipeline.mixup().is_some());
        labels.clear();
        mixed.clear();
        input.overwrite(|input| {
            for ((seed, pipeline), input) in lanes.iter().zip(input.chunks_exact_mut(capacity)) {
                let order = &orders[seed];
                let first = labels.len();
                let image = |place: usize, out: &mut [f32]| {
                    let sample = order[place] as usize;
                    pipeline.fill(*seed, epoch, sample, pixels(images, sample, stored), out);
                };
                let label = |place: usize| images.labels[order[place] as usize];
                labels.extend(part.clone().map(label));
                T::lend_single(&mut input[..part.len() * units], single, |input| {
                    for (place, out) in part.clone().zip(input.chunks_exact_mut(units)) {
                        image(place, out);
                    }
                    if let Some(mixup) = pipeline.mixup() {
                        beside.resize(units, 0.0);
                        let places = (batch, part.clone());
                        mixup.apply(
                            (*seed, epoch),
                            places,
                            (input, beside),
                            image,
                            |with, share| {
                                mixed.push(label(with), share);
                            },
                        );
                    }
                });
                if mixing && pipeline.mixup().is_none() {
                    labels[first..].iter().for_each(|&label| mixed.push(label, 1.0));
                }
            }
        })
    }

    /// Puts images `samples` of a part into `input`, the same for every lane.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn fill_evaluation<T: Real>(
        &mut self,
        input: &mut Buffer<T>,
        part: Part,
        samples: Range<usize>,
    ) -> Result<(), TrainError> {
        let units = self.image_shape().iter().product::<usize>();
        self.labels.clear();
        self.mixed.clear();
        for _ in &self.lanes {
            self.labels.extend_from_slice(&part.of(&self.data).labels[samples.clone()]);
        }
        let on_device = self.show_part(input, part, samples.len(), |_, pipeline, at| {
            Some((samples.start + at, pipeline.shown_plain(View::CENTRE, 0)))
        })?;
        if on_device {
            return Ok(());
        }
        let Self { data, lanes, single, .. } = self;
        let (stored, images) = (data.shape.iter().product(), part.of(data));
        let capacity = input.lane_len();
        input.overwrite(|input| {
            for ((_, pipeline), input) in lanes.iter().zip(input.chunks_exact_mut(capacity)) {
                T::lend_single(&mut input[..samples.len() * units], single, |input| {
                    for (sample, out) in samples.clone().zip(input.chunks_exact_mut(units)) {
                        pipeline.fill_plain(pixels(images, sample, stored), View::CENTRE, out);
                    }
                });
            }
        })
    }

    /// Puts views of the images of a part into `input`: for every lane the places in its own list of
    /// (image, view), image by image. What is beyond a list's end may be anything.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn fill_views<T: Real>(
        &mut self,
        input: &mut Buffer<T>,
        part: Part,
        places: Range<usize>,
        views: &[LaneViews],
    ) -> Result<(), TrainError> {
        let units = self.image_shape().iter().product::<usize>();
        let total = part.of(&self.data).len();
        let on_device = self.show_part(input, part, places.len(), |lane, pipeline, at| {
            let (views, place) = (&views[lane], places.start + at);
            let view = views.views[place % views.views.len()];
            let lookup = || pipeline.shown_plain(view, views.padding);
            (place < total * views.views.len()).then(|| (place / views.views.len(), lookup()))
        })?;
        if on_device {
            return Ok(());
        }
        let Self { data, lanes, single, .. } = self;
        let (stored, images) = (data.shape.iter().product(), part.of(data));
        let capacity = input.lane_len();
        input.overwrite(|input| {
            let inputs = input.chunks_exact_mut(capacity);
            for (((_, pipeline), lane), input) in lanes.iter().zip(views).zip(inputs) {
                let end = places.end.min(images.len() * lane.views.len());
                let used = end.saturating_sub(places.start) * units;
                T::lend_single(&mut input[..used], single, |input| {
                    for (place, out) in (places.start..end).zip(input.chunks_exact_mut(units)) {
                        let pixels = pixels(images, place / lane.views.len(), stored);
                        let view = lane.views[place % lane.views.len()];
                        pipeline.fill_padded(pixels, view, lane.padding, out);
                    }
                });
            }
        })
    }

    /// Draws the orders of an epoch, unless they are there already.
    fn draw_orders(&mut self, epoch: u32) {
        if self.epoch == epoch {
            return;
        }
        let images = self.data.train.len();
        self.orders = self
            .lanes
            .iter()
            .map(|&(seed, _)| seed)
            .collect::<std::collections::BTreeSet<u64>>()
            .into_iter()
            .map(|seed| {
                let stream = Stream::new(seed, Purpose::Order, epoch, 0);
                (seed, stream.reader().permutation(images))
            })
            .collect();
        self.epoch = epoch;
    }
}

/// The bytes of one image.
fn pixels(images: &Images, sample: usize, units: usize) -> &[u8] {
    &images.pixels[sample * units..][..units]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::augmentation::Augmentation;
    use crate::spec::operation::Operation;

    fn data() -> Arc<DataSplits> {
        let part = |n: usize| Images {
            pixels: (0..n * 12).map(|i| i as u8).collect(),
            labels: (0..n).map(|i| i as u16).collect(),
        };
        Arc::new(DataSplits {
            shape: [3, 2, 2],
            classes: 10,
            mean: vec![0.0; 3],
            std: vec![1.0 / 255.0; 3],
            train: part(10),
            val: part(3),
            test: part(2),
        })
    }

    fn lane(seed: u64) -> RunConfig {
        RunConfig { seed, ..Default::default() }
    }

    #[test]
    fn an_epoch_shows_every_image_once_and_each_epoch_and_seed_in_its_own_order() {
        let lanes = [lane(1), lane(2), lane(1)];
        let mut batches = Batches::new(&lanes, data(), InputOrder::ChannelsFirst);
        let mut input = Buffer::<f32>::zeros(3, &[10, 12]).unwrap();
        let mut seen = Vec::new();
        for epoch in [1, 2] {
            batches.fill_training(&mut input, epoch, &(0..10), 0..10).unwrap();
            for labels in batches.labels().chunks(10) {
                let mut sorted = labels.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..10).collect::<Vec<u16>>());
                seen.push(labels.to_vec());
            }
        }
        assert_eq!(seen[0], seen[2]);
        assert!(seen[0] != seen[1] && seen[0] != seen[3]);
    }

    #[test]
    fn mixed_images_carry_both_classes_and_their_shares() {
        let alpha = |alpha| Augmentation::of(vec![Operation::Mixup { alpha }]);
        let lanes = [RunConfig { augmentation: alpha(1.0), ..lane(4) }, lane(4)];
        let mut batches = Batches::new(&lanes, data(), InputOrder::ChannelsFirst);
        let mut input = Buffer::<f32>::zeros(2, &[5, 12]).unwrap();
        batches.fill_training(&mut input, 1, &(5..10), 5..10).unwrap();
        let (labels, mixed) = (batches.labels(), batches.mixed().unwrap());
        assert_eq!(mixed.labels[..5], [1, 0, 3, 2, 4].map(|with| labels[with]));
        assert_eq!((&mixed.labels[5..], &mixed.shares[5..]), (&labels[5..], [1.0; 5].as_slice()));
        assert!(mixed.shares[4] == 1.0 && mixed.shares[..4].iter().all(|share| *share < 1.0));
        let found = input.read().unwrap();
        let (mixtures, plain) = found.split_at(60);
        for (at, mixture) in mixtures.iter().enumerate() {
            let share = mixed.shares[at / 12];
            let with = [1, 0, 3, 2, 4][at / 12] * 12 + at % 12;
            assert!((mixture - share * plain[at] - (1.0 - share) * plain[with]).abs() < 1e-3);
        }
        drop(found);
        batches.fill_evaluation(&mut input, Part::Validation, 0..3).unwrap();
        assert_eq!(batches.mixed(), None);
    }

    #[test]
    fn the_parts_of_a_batch_are_together_the_batch_also_where_a_border_parts_a_pair() {
        let augmentation = Augmentation::of(vec![
            Operation::HorizontalFlip { p: 0.5 },
            Operation::Mixup { alpha: 1.0 },
        ]);
        let lanes = [RunConfig { augmentation, ..lane(4) }, lane(9)];
        let mut batches = Batches::new(&lanes, data(), InputOrder::ChannelsFirst);
        let mut fill = |batch: Range<usize>, part: Range<usize>| {
            let mut input = Buffer::<f32>::zeros(2, &[7, 12]).unwrap();
            batches.fill_training(&mut input, 2, &batch, part.clone()).unwrap();
            let input = input.read().unwrap();
            let len = part.len();
            let image = |i: usize| {
                let (lane, i) = (i / len, i % len);
                let mixed = batches.mixed().unwrap();
                let at = lane * len + i;
                let pixels = input.lane(lane, len * 12)[i * 12..][..12].to_vec();
                (pixels, batches.labels()[at], mixed.labels[at], mixed.shares[at])
            };
            (0..2 * len).map(image).collect::<Vec<_>>()
        };
        for batch in [3..10, 2..8] {
            let whole = fill(batch.clone(), batch.clone());
            for border in batch.clone() {
                let (left, right) = (batch.start..border, border..batch.end);
                let parts = [left, right].map(|part| {
                    if part.is_empty() { Vec::new() } else { fill(batch.clone(), part) }
                });
                for lane in 0..2 {
                    let own = |images: &[_]| {
                        images[lane * images.len() / 2..][..images.len() / 2].to_vec()
                    };
                    let joined = [own(&parts[0]), own(&parts[1])].concat();
                    assert_eq!(joined, own(&whole), "{batch:?} {border}");
                }
            }
        }
    }

    #[test]
    fn channels_go_last_where_the_network_wants_them_last() {
        let expected = [12.0, 16.0, 20.0, 13.0, 17.0, 21.0, 14.0, 18.0, 22.0, 15.0, 19.0, 23.0];
        let mut batches = Batches::new(&[lane(0)], data(), InputOrder::ChannelsLast);
        let mut input = Buffer::<f32>::zeros(1, &[4, 12]).unwrap();
        batches.fill_evaluation(&mut input, Part::Validation, 1..3).unwrap();
        let found = input.read().unwrap();
        assert!(found[..12].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3));
        assert_eq!(batches.labels(), [1, 2]);
    }
}
