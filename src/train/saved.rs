//! A trainer's state as bytes, and back: checkpoints, and weights to start from.

use std::io::Write;

use super::checkpoint;
use super::error::TrainError;
use super::progress::Progress;
use super::trainer::Trainer;
use super::weights::Weights;

impl Trainer {
    /// Starts a lane from weights of a file instead of drawn ones.
    ///
    /// # Errors
    /// When they do not fit the network.
    pub fn start_from(&mut self, lane: usize, weights: &Weights) -> Result<(), TrainError> {
        weights.load(&mut self.network, lane)
    }

    /// Writes everything needed to continue a lane with the same bits, as a safetensors file:
    /// parameters, running statistics, the optimizer's memory, progress; of a lane that has
    /// diverged, what it came to and why. The file of a lane is that of the run alone, byte for byte.
    ///
    /// # Errors
    /// When the tensor library fails, or `to` takes no more.
    pub fn write(&self, lane: usize, to: &mut dyn Write) -> Result<(), TrainError> {
        let source = (&self.network, &self.optimizer, self.measures.states());
        checkpoint::write(source, lane, &self.header(lane), to)
    }

    /// What [`write`](Self::write) writes.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn save(&self, lane: usize) -> Result<Vec<u8>, TrainError> {
        let mut bytes = Vec::new();
        self.write(lane, &mut bytes)?;
        Ok(bytes)
    }

    /// Continues from what [`save`](Self::save) gave of every lane at the same step, in this group
    /// or in another. Lanes that had diverged have diverged.
    ///
    /// # Errors
    /// When the bytes are damaged, belong to another run, engine or data set, or are of different
    /// steps; says what was expected and found. The trainer is then unchanged.
    pub fn restore(&mut self, lanes: &[impl AsRef<[u8]>]) -> Result<(), TrainError> {
        checkpoint::same("number of lanes", self.lanes.len(), lanes.len())?;
        let mut checkpoints = Vec::with_capacity(lanes.len());
        for (lane, bytes) in lanes.iter().enumerate() {
            let source = (&self.network, &self.optimizer, self.measures.states());
            let checkpoint = checkpoint::read(bytes.as_ref(), source, lane)?;
            checkpoint.header.check(lane, &self.header(lane), self.steps_per_epoch())?;
            checkpoints.push(checkpoint);
        }
        let progress: Vec<_> = checkpoints.iter().map(|c| c.header.progress.clone()).collect();
        let progress = Progress::of_lanes(&progress)?;
        for checkpoint in &checkpoints {
            checkpoint.apply(&mut self.network, &mut self.optimizer, self.measures.states_mut())?;
        }
        self.progress = progress;
        self.network.keep_alive(self.progress.living());
        Ok(())
    }

    pub(super) fn header(&self, lane: usize) -> checkpoint::Header {
        let images = self.data.train.len();
        checkpoint::Header::new(&self.lanes[lane], images, self.progress.lane(lane))
    }
}
