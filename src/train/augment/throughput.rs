//! What a benchmark of the augmentation calls: images through a pipeline, as a training step would
//! send them, without the step.

use super::pipeline::Pipeline;
use crate::spec::RunConfig;
use crate::train::data::DataSplits;
use crate::train::model::InputOrder;

/// Images through the pipeline of one configuration, round after round.
#[derive(Debug)]
pub struct Rounds<'a> {
    data: &'a DataSplits,
    pipeline: Pipeline,
    seed: u64,
    epoch: u32,
    /// One batch, (N, H, W, C).
    batch: Vec<f32>,
}

impl<'a> Rounds<'a> {
    /// The augmentation, seed and batch size of `config` on the training images of `data`.
    pub fn new(config: &RunConfig, data: &'a DataSplits) -> Self {
        let pipeline = Pipeline::new(&config.augmentation, data, InputOrder::ChannelsLast);
        let units = pipeline.output_shape().iter().product::<usize>();
        let batch = vec![0.0; units * config.batch_size as usize];
        Self { data, pipeline, seed: config.seed, epoch: 0, batch }
    }

    /// Sends all training images through once, batch after batch; gives how many that were, and a
    /// sum of what came out, which depends on all of it.
    pub fn round(&mut self) -> (usize, f64) {
        self.epoch += 1;
        let Self { data, pipeline, seed, epoch, batch } = self;
        let units = pipeline.output_shape().iter().product::<usize>();
        let stored = data.shape.iter().product::<usize>();
        let images = data.train.pixels.chunks_exact(stored);
        let count = images.len();
        let mut sum = 0.0;
        for (sample, pixels) in images.enumerate() {
            let at = sample % (batch.len() / units) * units;
            pipeline.fill(*seed, *epoch, sample, pixels, &mut batch[at..at + units]);
            sum += f64::from(batch[at + sample % units]);
        }
        (count, sum)
    }
}
