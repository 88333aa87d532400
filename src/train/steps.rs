//! The steps of an epoch: begun, and finished once their losses are known.
//!
//! In main memory a step is finished before the next one begins. An accelerator would stand still
//! while the host looks at losses and queues the next step; there a step is begun, update included,
//! while the one before it is still computed, and its losses are looked at afterwards. What must not
//! happen to a lane whose loss turns out not to be finite, the accelerator knows to leave undone (see
//! [`Lives`](super::layer::Lives)), so everything is as if every step had been waited for.
//!
//! Where something of a step has to be seen from here before its update (what measurements read, losses
//! that ranks agree on), that step is waited for.

use std::ops::{ControlFlow, Range};

use super::device::{Accelerator, Address, Arrival};
use super::divergence::{self, Noticed, Origin};
use super::error::TrainError;
use super::kernel::Real;
use super::lane_set::LaneSet;
use super::layer::{Mode, Parameter, Pass};
use super::loss::BatchLoss;
use super::loss::accelerated::Coming;
use super::measure::{At, Phase};
use super::optim::LaneUpdate;
use super::optim::clip;
use super::report::{EpochEnd, EpochStats, LaneEpoch, LaneStep, StepReport};
use super::trainer::Trainer;

/// Steps that are begun and not yet finished, at most: the one that is computed, and one that is
/// queued behind it.
const AHEAD: usize = 2;

/// A step that has been begun.
struct Begun {
    /// Its number, from 0, over the whole run.
    at: At,
    /// Places of its batch in the epoch's order.
    batch: Range<usize>,
    pass: Pass,
    /// Where they are not here already.
    losses: Option<Coming>,
    norms: Option<Arrival<f64>>,
    /// Is its update still to be made?
    waits: bool,
}

/// Steps that are begun, in their order; without memory that would have to be allocated.
#[derive(Default)]
struct Ahead([Option<Begun>; AHEAD]);

impl Ahead {
    fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    fn last(&self) -> Option<&Begun> {
        self.0.iter().flatten().last()
    }

    /// Adds one behind the others, for which there must be room.
    fn push(&mut self, step: Begun) {
        let place = self.len();
        self.0[place] = Some(step);
    }

    /// The first of them.
    fn pop(&mut self) -> Option<Begun> {
        let first = self.0[0].take();
        self.0.rotate_left(1);
        first
    }
}

impl<T: Real> Trainer<T> {
    /// Trains on to the end of the current epoch, from wherever it stands (also from the middle of
    /// one). `after_step` is told of every step and may ask to stop; a [`save`](Self::save) taken
    /// then continues with the same bits. On an accelerator one more step may have been begun before
    /// that is heeded: it is finished and told of as well, unless
    /// [`nothing_ahead_of`](Self::nothing_ahead_of) says otherwise.
    ///
    /// On several ranks all of them stop where any of them is asked to.
    ///
    /// # Errors
    /// When all epochs are done, the tensor library fails, another rank does, or ranks are found to
    /// hold different parameters.
    pub fn train_epoch(
        &mut self,
        after_step: &mut dyn FnMut(&StepReport<'_>) -> ControlFlow<()>,
    ) -> Result<EpochEnd, TrainError> {
        self.ranks.computing(true);
        let end = self.train_on(after_step);
        self.ranks.computing(false);
        end
    }

    fn train_on(
        &mut self,
        after_step: &mut dyn FnMut(&StepReport<'_>) -> ControlFlow<()>,
    ) -> Result<EpochEnd, TrainError> {
        let epochs = self.lanes[0].epochs;
        if self.progress.epochs_done == epochs {
            return Err(TrainError::NothingLeft { epochs });
        }
        self.check_start()?;
        if let Some(lives) = self.network.lives() {
            lives.set(self.progress.living())?;
        }
        let epoch = self.progress.epochs_done + 1;
        let end = u64::from(epoch) * self.steps_per_epoch();
        let (mut next, mut stop) = (self.progress.steps_done, false);
        let mut begun = Ahead::default();
        loop {
            if next < end && !stop && self.may_begin(next, &begun) {
                if self.progress.living().is_empty() {
                    return Ok(EpochEnd::Diverged);
                }
                self.ranks.begin_step();
                begun.push(self.begin(epoch, next)?);
                next += 1;
                continue;
            }
            let Some(step) = begun.pop() else { break };
            if !self.finish(epoch, step)? {
                // Those that were begun after it have found no lane that lives.
                return Ok(EpochEnd::Diverged);
            }
            let wish = self.report(epoch, after_step);
            stop |= self.any_rank(wish.is_break())?;
            self.ranks.end_step();
        }
        if stop { Ok(EpochEnd::Stopped) } else { self.complete(end) }
    }

    /// Tells of the step that has just been finished.
    fn report(
        &mut self,
        epoch: u32,
        after_step: &mut dyn FnMut(&StepReport<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let seconds = self.measures.lap();
        let report = StepReport {
            step: self.progress.steps_done - 1,
            epoch,
            lanes: &self.step_lanes,
            measured: self.measures.of_step(),
            seconds,
        };
        self.ranks.computing(false);
        let wish = after_step(&report);
        self.ranks.computing(true);
        wish
    }

    /// Ends the epoch that has no step from number `end` on.
    fn complete(&mut self, end: u64) -> Result<EpochEnd, TrainError> {
        let sums = self.progress.complete_epoch();
        self.end_epoch_together()?;
        let images = self.data.train.len() as f64;
        let lanes = sums
            .iter()
            .enumerate()
            .map(|(lane, sums)| {
                sums.map(|sums| LaneEpoch {
                    train_loss: sums.loss / images,
                    train_accuracy: sums.right as f64 / images,
                    lr: self.rate(lane, end - 1),
                })
            })
            .collect();
        let times = self.ranks.take_times();
        let epoch = self.progress.epochs_done;
        Ok(EpochEnd::Complete(EpochStats { epoch, lanes, times }))
    }

    /// May step `next` be begun while those that are `begun` are not finished?
    fn may_begin(&self, next: u64, begun: &Ahead) -> bool {
        begun.last().is_none_or(|last| {
            let ahead = begun.len() < AHEAD && self.nothing_ahead_of != Some(next);
            ahead && !last.waits && !self.waits(self.at(next))
        })
    }

    fn at(&self, step: u64) -> At {
        At { step, ends_epoch: (step + 1).is_multiple_of(self.steps_per_epoch()) }
    }

    /// Has something of a step to be seen from here before its update?
    fn waits(&self, at: At) -> bool {
        self.network.accelerator().is_none() || self.ranks.world() > 1 || self.measures.watches(at)
    }

    /// Queues what `work` queues as one, on an accelerator.
    pub(super) fn together<R>(
        accelerator: Option<&Accelerator>,
        work: impl FnOnce() -> Result<R, TrainError>,
    ) -> Result<R, TrainError> {
        match accelerator {
            Some(accelerator) => accelerator.together(work),
            None => work(),
        }
    }

    /// Begins a step of the lanes that live: all of it, if nobody has to look at it before.
    fn begin(&mut self, epoch: u32, step: u64) -> Result<Begun, TrainError> {
        let at = self.at(step);
        let (batch, waits) = (self.places(step % self.steps_per_epoch()), self.waits(at));
        // Several ranks put work of their own between the layers'.
        let accelerator = self.network.accelerator().filter(|_| self.ranks.world() == 1);
        let pass = Self::together(accelerator.as_ref(), || {
            let pass = self.pass_backward(epoch, step, &batch)?;
            if !waits {
                self.update_unseen(step)?;
            }
            Ok(pass)
        })?;
        let measures_norms = !waits && !self.measured_gradients.is_empty();
        let norms = if measures_norms { self.norms.fetch()? } else { None };
        Ok(Begun { at, batch, pass, losses: self.network.fetch_losses()?, norms, waits })
    }

    /// Finishes a step. A lane whose loss (or norm of gradients, where measured) is not finite is
    /// none of those that live from there on. Says whether any is left; otherwise the step is not
    /// done.
    fn finish(&mut self, epoch: u32, step: Begun) -> Result<bool, TrainError> {
        let Begun { at, batch, pass, losses, norms, waits } = step;
        if let Some(losses) = losses {
            losses.collect(&mut self.losses)?;
        }
        if let Some(norms) = norms {
            self.norms.collect(norms, self.lanes.len())?;
        }
        self.agree_on_losses()?;
        self.notice_losses(epoch, (&batch, &pass), waits)?;
        if self.progress.living().is_empty() {
            return Ok(false);
        }
        self.measures.enter(Phase::Update);
        self.notice_gradients(epoch, (&batch, &pass), waits)?;
        if self.progress.living().is_empty() {
            return Ok(false);
        }
        self.measures.enter(Phase::Other);
        self.measures.before_update(&self.network, at)?;
        if waits {
            self.measures.enter(Phase::Update);
            let accelerator = self.network.accelerator();
            Self::together(accelerator.as_ref(), || self.update(at.step))?;
        }
        self.measures.enter(Phase::Other);
        self.measures.after_update(&self.network, at, self.progress.living())?;
        self.progress.add(&self.losses);
        self.step_lanes.clear();
        for (lane, loss) in self.losses.iter().enumerate() {
            let report = self.progress.living().contains(lane).then(|| LaneStep {
                loss: loss.sum / batch.len() as f64,
                lr: self.rate(lane, at.step),
                gradient_norm: self.gradient_norm(lane),
            });
            self.step_lanes.push(report);
        }
        Ok(true)
    }

    /// The losses of the batch at these places of the epoch's order, as far as they are this rank's,
    /// and the gradients of all ranks together.
    fn pass_backward(
        &mut self,
        epoch: u32,
        step: u64,
        batch: &Range<usize>,
    ) -> Result<Pass, TrainError> {
        let part = self.ranks.part(batch);
        let first_sample = part.start - batch.start;
        let pass = Pass { mode: Mode::Train { step }, samples: part.len(), first_sample };
        self.measures.enter(Phase::Data);
        self.batches.fill_training(self.network.input_mut(), epoch, batch, part)?;
        self.measures.enter(Phase::Forward);
        self.network.forward(&pass)?;
        let targets = self.batches.targets();
        self.network.queue_loss_and_gradient(&targets, &self.smoothing, &mut self.losses)?;
        self.measures.enter(Phase::Backward);
        let ranks = &mut self.ranks;
        self.network.backward(&pass, &mut |ready: &mut Parameter<T>| ranks.ready(ready))?;
        self.ranks.finish(self.network.parameters_mut())?;
        Ok(pass)
    }

    /// Ends the lanes whose loss is not finite in a step, which was the last one to pass through the
    /// network if it was `last`.
    fn notice_losses(
        &mut self,
        epoch: u32,
        (batch, pass): (&Range<usize>, &Pass),
        last: bool,
    ) -> Result<(), TrainError> {
        let broken = |lane: &usize| !self.losses[*lane].sum.is_finite();
        let broken: Vec<usize> = self.progress.living().iter().filter(broken).collect();
        if broken.is_empty() {
            return Ok(());
        }
        if !last {
            self.pass_again(epoch, batch, pass, false)?;
        }
        for lane in broken {
            let nan = self.losses[lane].sum.is_nan();
            let origin = divergence::in_forward(&self.network, lane, pass)?;
            let origin = self.first_origin(origin)?;
            let origin = Some(origin.unwrap_or(Origin::Overflow));
            self.diverge(lane, epoch, Noticed::Loss { nan }, origin);
        }
        Ok(())
    }

    /// Passes the batch of a step once more, and back if it is asked to, so that outputs and gradients
    /// can be looked at. In a lane that has ended in that step they are what they were: its parameters
    /// are, and every draw is of the step. No running statistics move.
    fn pass_again(
        &mut self,
        epoch: u32,
        batch: &Range<usize>,
        pass: &Pass,
        back: bool,
    ) -> Result<(), TrainError> {
        self.network.keep_alive(&LaneSet::none(self.lanes.len()));
        self.batches.fill_training(self.network.input_mut(), epoch, batch, batch.clone())?;
        self.network.forward(pass)?;
        if back {
            let mut losses = vec![BatchLoss::default(); self.lanes.len()];
            let targets = self.batches.targets();
            self.network.loss_and_gradient(&targets, &self.smoothing, &mut losses)?;
            self.network.backward(pass, &mut |_| Ok(()))?;
        }
        self.network.keep_alive(self.progress.living());
        Ok(())
    }

    /// Ends the lanes the norm of whose gradients is measured and not finite in a step, which was the
    /// last one to pass through the network if it was `last`; its norms are measured now, then.
    fn notice_gradients(
        &mut self,
        epoch: u32,
        (batch, pass): (&Range<usize>, &Pass),
        last: bool,
    ) -> Result<(), TrainError> {
        if self.measured_gradients.is_empty() {
            return Ok(());
        }
        if last {
            self.norms.measure(self.network.parameters(), &self.measured_gradients)?;
        }
        let living = self.progress.living().iter();
        let broken: Vec<usize> =
            living.filter(|&lane| !self.norms.last()[lane].is_finite()).collect();
        if broken.is_empty() {
            return Ok(());
        }
        if !last {
            self.pass_again(epoch, batch, pass, true)?;
        }
        for lane in broken {
            let nan = self.norms.last()[lane].is_nan();
            let origin = divergence::in_backward(&self.network, lane)?;
            let origin = Some(origin.unwrap_or(Origin::Overflow));
            self.diverge(lane, epoch, Noticed::GradientNorm { nan }, origin);
        }
        Ok(())
    }

    /// The norm of a lane's last gradients, where it is measured.
    fn gradient_norm(&self, lane: usize) -> Option<f64> {
        self.measured_gradients.contains(lane).then(|| self.norms.last()[lane])
    }

    /// Clips and updates every lane that lives.
    fn update(&mut self, step: u64) -> Result<(), TrainError> {
        self.updates.clear();
        for (lane, config) in self.lanes.iter().enumerate() {
            let norm = self.gradient_norm(lane).unwrap_or_default();
            let (rate, scale) = (self.rate(lane, step), clip::scale(norm, config.clip_norm));
            let lives = self.progress.living().contains(lane);
            self.updates.push(lives.then_some(LaneUpdate { rate, scale }));
        }
        self.optimizer.update(self.network.parameters_mut(), step, &self.updates)
    }

    /// The same on an accelerator, by norms that nobody here has seen.
    fn update_unseen(&mut self, step: u64) -> Result<(), TrainError> {
        let Some(accelerator) = self.network.accelerator() else { return self.update(step) };
        let mut scales = Address::NONE;
        if !self.measured_gradients.is_empty() {
            let (lanes, measured) = (self.lanes.iter().enumerate(), &self.measured_gradients);
            let limits = lanes.map(|(at, lane)| measured.contains(at).then_some(lane.clip_norm));
            let (parameters, lives) = (self.network.parameters(), self.network.lives());
            scales = self.norms.queue_on(&accelerator, parameters, limits, lives)?;
        }
        self.updates.clear();
        for lane in 0..self.lanes.len() {
            let lives = self.progress.living().contains(lane);
            let update = LaneUpdate { rate: self.rate(lane, step), scale: 1.0 };
            self.updates.push(lives.then_some(update));
        }
        let parameters = self.network.parameters_mut();
        self.optimizer.update_on(&accelerator, parameters, step, &self.updates, scales)
    }

    /// Places in the epoch's order that a step of the epoch (from 0) trains on.
    fn places(&self, step_of_epoch: u64) -> Range<usize> {
        let batch = self.lanes[0].batch_size as usize;
        let start = step_of_epoch as usize * batch;
        start..(start + batch).min(self.data.train.len())
    }
}
