//! From data sets to batches: which images, in which order, through the augmentation, into the
//! network's input.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::augment::Pipeline;
use super::data::{DataSplits, Images};
use super::error::TrainError;
use super::kernel::Buffer;
use super::model::InputOrder;
use super::report::Part;
use super::rng::{Purpose, Stream};
use crate::spec::RunConfig;

/// Fills the batches of all lanes.
pub struct Batches {
    data: Arc<DataSplits>,
    lanes: Vec<(u64, Pipeline)>,
    order: InputOrder,
    /// The epoch that `orders` belong to.
    epoch: u32,
    /// Order of the training images for each seed among the lanes.
    orders: BTreeMap<u64, Vec<u32>>,
    /// Classes of the last batch, lane by lane.
    labels: Vec<u16>,
    /// One image, channels first.
    image: Vec<f32>,
}

impl Batches {
    /// Batches of `data` for `lanes`, whose network wants `order`.
    pub fn new(lanes: &[RunConfig], data: Arc<DataSplits>, order: InputOrder) -> Self {
        let pipelines = lanes
            .iter()
            .map(|lane| (lane.seed, Pipeline::new(&lane.augmentation, &data)))
            .collect();
        let units = data.shape.iter().product();
        Self {
            data,
            lanes: pipelines,
            order,
            epoch: 0,
            orders: BTreeMap::new(),
            labels: Vec::new(),
            image: vec![0.0; units],
        }
    }

    /// Classes of the last batch, (L, N).
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// Puts the images at `places` of epoch `epoch`'s order (from 1) into `input`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn fill_training(
        &mut self,
        input: &mut Buffer<f32>,
        epoch: u32,
        places: Range<usize>,
    ) -> Result<(), TrainError> {
        self.draw_orders(epoch);
        let Self { data, lanes, order, orders, labels, image, .. } = self;
        let (shape, images) = (data.shape, &data.train);
        let capacity = input.lane_len();
        labels.clear();
        input.write(|input| {
            for ((seed, pipeline), input) in lanes.iter().zip(input.chunks_exact_mut(capacity)) {
                let samples = &orders[seed][places.clone()];
                for (&sample, out) in samples.iter().zip(input.chunks_exact_mut(image.len())) {
                    let sample = sample as usize;
                    let pixels = pixels(images, sample, image.len());
                    labels.push(images.labels[sample]);
                    place(*order, shape, image, out, |out| {
                        pipeline.fill(*seed, epoch, sample, pixels, out);
                    });
                }
            }
        })
    }

    /// Puts images `samples` of a part into `input`, the same for every lane.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn fill_evaluation(
        &mut self,
        input: &mut Buffer<f32>,
        part: Part,
        samples: Range<usize>,
    ) -> Result<(), TrainError> {
        let Self { data, lanes, order, labels, image, .. } = self;
        let (shape, images) = (data.shape, part.of(data));
        let capacity = input.lane_len();
        labels.clear();
        input.write(|input| {
            for ((_, pipeline), input) in lanes.iter().zip(input.chunks_exact_mut(capacity)) {
                labels.extend_from_slice(&images.labels[samples.clone()]);
                for (sample, out) in samples.clone().zip(input.chunks_exact_mut(image.len())) {
                    let pixels = pixels(images, sample, image.len());
                    place(*order, shape, image, out, |out| pipeline.fill_plain(pixels, out));
                }
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

/// Lets `fill` write an image, (C, H, W), and puts it into `out` in the network's order.
fn place(
    order: InputOrder,
    [channels, height, width]: [usize; 3],
    image: &mut [f32],
    out: &mut [f32],
    fill: impl FnOnce(&mut [f32]),
) {
    if order == InputOrder::ChannelsFirst || channels == 1 {
        return fill(out);
    }
    fill(image);
    for (channel, plane) in image.chunks_exact(height * width).enumerate() {
        for (&x, out) in plane.iter().zip(out[channel..].iter_mut().step_by(channels)) {
            *out = x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut input = Buffer::zeros(3, &[10, 12]).unwrap();
        let mut seen = Vec::new();
        for epoch in [1, 2] {
            batches.fill_training(&mut input, epoch, 0..10).unwrap();
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
    fn channels_go_last_where_the_network_wants_them_last() {
        let expected = [12.0, 16.0, 20.0, 13.0, 17.0, 21.0, 14.0, 18.0, 22.0, 15.0, 19.0, 23.0];
        let mut batches = Batches::new(&[lane(0)], data(), InputOrder::ChannelsLast);
        let mut input = Buffer::zeros(1, &[4, 12]).unwrap();
        batches.fill_evaluation(&mut input, Part::Validation, 1..3).unwrap();
        let found = input.read().unwrap();
        assert!(found[..12].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3));
        assert_eq!(batches.labels(), [1, 2]);
    }
}
