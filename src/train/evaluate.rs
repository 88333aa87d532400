//! A trainer looks at what it has come to: validation, test, and what is measured after an epoch.

use std::collections::VecDeque;
use std::ops::Range;

use super::admission;
use super::crops::{self, LaneViews};
use super::divergence::Noticed;
use super::error::TrainError;
use super::kernel::Real;
use super::layer::{Mode, Pass};
use super::loss::BatchLoss;
use super::measure::{self, Measured, Memory, Phase, Probe};
use super::report::{Evaluation, Part};
use super::trainer::Trainer;

/// Passes of an evaluation that are queued behind the one whose losses are waited for, at most.
const AHEAD: usize = 2;

impl<T: Real> Trainer<T> {
    /// [`evaluate`](Self::evaluate) on the validation part, telling the schedules that wait for it.
    /// A lane whose loss is not finite has diverged, one that early stopping ends stays as it is. Once
    /// after every epoch; again changes nothing.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn validate(&mut self) -> Result<Vec<Option<Evaluation>>, TrainError> {
        let validations = self.evaluate(Part::Validation)?;
        self.progress.validated(&self.lanes, &validations);
        if (0..self.lanes.len()).any(|lane| self.progress.early_stop(lane).is_some()) {
            self.network.keep_alive(self.progress.living());
        }
        for (lane, validation) in validations.iter().enumerate() {
            if validation.is_some_and(|validation| !validation.loss.is_finite()) {
                let epoch = self.progress.epochs_done;
                self.diverge(lane, epoch, Noticed::ValidationLoss, None);
            }
        }
        Ok(validations)
    }

    /// Mean plain cross-entropy and accuracy of every lane on a part, with running statistics and no
    /// dropout, over the views that its configuration says; `None` of a lane that ended in a step before
    /// the last.
    ///
    /// # Errors
    /// When the part is empty, or the tensor library fails.
    pub fn evaluate(&mut self, part: Part) -> Result<Vec<Option<Evaluation>>, TrainError> {
        let total = part.of(&self.data).len();
        if total == 0 {
            let name = if part == Part::Validation { "validation" } else { "test" };
            return Err(admission::no_images(name));
        }
        self.ranks.computing(true);
        let sums = self.sums_over(part, total);
        self.ranks.computing(false);
        let sums = sums?;
        let (total, abreast) = (total as f64, self.progress.abreast());
        let evaluation = |(lane, sum): (usize, &BatchLoss)| {
            let accuracy = sum.right as f64 / total;
            abreast.contains(lane).then_some(Evaluation { loss: sum.sum / total, accuracy })
        };
        Ok(sums.iter().enumerate().map(evaluation).collect())
    }

    /// Losses and numbers right of every lane over the `total` images of a part. Ranks share the
    /// images, unless the outputs are watched: what is measured of them is of all images at once.
    fn sums_over(&mut self, part: Part, total: usize) -> Result<Vec<BatchLoss>, TrainError> {
        let views: Vec<_> =
            self.lanes.iter().map(|lane| LaneViews::of(&lane.evaluation, part)).collect();
        let mut sums = vec![BatchLoss::default(); self.lanes.len()];
        let watched = part == Part::Validation && self.measures.watches_outputs();
        let images = if watched { 0..total } else { self.ranks.part(&(0..total)) };
        self.measures.begin_pass();
        self.measures.enter(Phase::Evaluation);
        if watched || views.iter().any(LaneViews::is_single) {
            self.evaluate_once(part, images.clone(), &mut sums)?;
        }
        if views.iter().any(|lane| !lane.is_single()) {
            let labels = &part.of(&self.data).labels;
            let (network, batches) = (&mut self.network, &mut self.batches);
            let averaged = crops::evaluate(network, batches, part, &views, (labels, images))?;
            let lanes = sums.iter_mut().zip(averaged).zip(&views);
            for ((sum, averaged), _) in lanes.filter(|(_, lane)| !lane.is_single()) {
                *sum = averaged;
            }
        }
        self.measures.enter(Phase::Other);
        if !watched {
            self.sum_over_ranks(&mut sums)?;
        }
        Ok(sums)
    }

    /// Adds the loss and the number right of every lane over images of a part, each shown once. The
    /// sums are made image by image, however many pass at once. On an accelerator the passes after one
    /// are queued before its losses are looked at.
    fn evaluate_once(
        &mut self,
        part: Part,
        images: Range<usize>,
        sums: &mut [BatchLoss],
    ) -> Result<(), TrainError> {
        let capacity = self.network.capacity();
        let mut coming = VecDeque::new();
        for start in images.clone().step_by(capacity) {
            let range = start..(start + capacity).min(images.end);
            let samples = range.len();
            let accelerator = self.network.accelerator();
            Self::together(accelerator.as_ref(), || {
                self.batches.fill_evaluation(self.network.input_mut(), part, range)?;
                self.network.forward(&Pass { mode: Mode::Evaluate, samples, first_sample: 0 })?;
                self.network.queue_loss(self.batches.labels(), sums)
            })?;
            coming.extend(self.network.fetch_samples(self.batches.labels().len())?);
            if coming.len() > AHEAD
                && let Some(first) = coming.pop_front()
            {
                first.add_to(sums)?;
            }
            if part == Part::Validation {
                self.measures.enter(Phase::Other);
                self.measures.observe(&self.network, samples)?;
                self.measures.enter(Phase::Evaluation);
            }
        }
        coming.into_iter().try_for_each(|last| last.add_to(sums))
    }

    /// What the configuration asks to measure at the end of an epoch, after
    /// [`train_epoch`](Self::train_epoch) and an evaluation of the validation part; leaves the
    /// training as it is, bit for bit.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn measure(&mut self) -> Result<Vec<Measured>, TrainError> {
        if !self.measures.has_epochs() {
            return Ok(Vec::new());
        }
        let last = self.progress.steps_done.saturating_sub(1);
        let rates: Vec<f64> = (0..self.lanes.len()).map(|lane| self.rate(lane, last)).collect();
        let parts = [&self.data.train, &self.data.val, &self.data.test];
        let bytes = parts.map(|part| part.pixels.len() + size_of_val(&part.labels[..]));
        let optimizer = |lane| {
            let kept = self.optimizer.memory_names(lane).len() * size_of::<T>();
            kept * self.parameters(lane) as usize
        };
        let optimizer = (0..self.lanes.len()).map(optimizer).collect();
        let memory = Memory { optimizer, data: bytes.iter().sum() };
        let mut probe = Probe {
            lanes: &self.progress.abreast(),
            network: &mut self.network,
            fill: &mut measure::from_validation(&mut self.batches),
            images: self.data.val.len(),
            rates: &rates,
            smoothing: &self.smoothing,
        };
        self.ranks.computing(true);
        let measured = self.measures.of_epoch(self.progress.epochs_done, memory, &mut probe);
        self.ranks.computing(false);
        measured
    }
}
