//! Curves: how a run's numbers moved, in long format.
//!
//! In: the history of one run, from its result or from its events. Out: one [`CurvePoint`] for
//! every epoch (or step) and metric, lazily, run after run: a large sweep's curves are never in
//! memory together.

use crate::event::{EpochRecord, LayersRecord, RunEvent};
use crate::record::RunResult;
use crate::spec::run_policy::CurveDetail;

/// What one run recorded on its way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunHistory {
    /// Complete epochs, in order.
    pub epochs: Vec<EpochRecord>,
    /// Optimizer steps, in order.
    pub steps: Vec<StepRecord>,
    /// What was measured in the layers, in the order of the record.
    pub layers: Vec<LayersRecord>,
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRecord {
    /// Which, from 0, over the whole run.
    pub step: u64,
    /// Epoch that it belongs to, from 1.
    pub epoch: u32,
    /// Mean training loss of its batch, before the update.
    pub loss: f64,
    /// Its learning rate.
    pub lr: f64,
}

impl RunHistory {
    /// The epochs of a run that has ended.
    pub fn of_result(result: RunResult) -> Self {
        Self { epochs: result.epochs, ..Self::default() }
    }

    /// The history that events tell, over all attempts: what a later attempt did again, because
    /// the one before died after its last checkpoint, replaces what that one had done.
    pub fn of_events(events: impl IntoIterator<Item = RunEvent>) -> Self {
        let mut history = Self::default();
        for event in events {
            match event {
                RunEvent::Started { resumed_at_step, .. } => {
                    history.steps.retain(|record| record.step < resumed_at_step);
                    history.epochs.retain(|record| record.step <= resumed_at_step);
                    super::layers::keep_until(&mut history.layers, resumed_at_step);
                }
                RunEvent::Steps { first_step, epoch, loss, lr } => {
                    while history.steps.pop_if(|last| last.step >= first_step).is_some() {}
                    let steps = loss.into_iter().zip(lr).zip(first_step..);
                    history.steps.extend(steps.map(|((loss, lr), step)| StepRecord {
                        step,
                        epoch,
                        loss,
                        lr,
                    }));
                }
                RunEvent::Layers(record) => super::layers::add(&mut history.layers, record),
                RunEvent::Epoch(record) => {
                    while history.epochs.pop_if(|last| last.epoch >= record.epoch).is_some() {}
                    history.epochs.push(record);
                }
            }
        }
        history
    }

    /// Every point that is known (finite), epoch by epoch; the steps of an epoch come before it.
    pub fn points(&self, detail: CurveDetail) -> impl Iterator<Item = CurvePoint> {
        let steps = match detail {
            CurveDetail::Epoch => &[],
            CurveDetail::Step => self.steps.as_slice(),
        };
        let mut rest = steps;
        let complete = self.epochs.iter().flat_map(move |epoch| {
            let (before, after) =
                rest.split_at(rest.partition_point(|step| step.step < epoch.step));
            rest = after;
            before.iter().flat_map(step_points).chain(epoch_points(epoch))
        });
        let begun = self.epochs.last().map_or(0, |epoch| epoch.step);
        let begun = &steps[steps.partition_point(|step| step.step < begun)..];
        complete.chain(begun.iter().flat_map(step_points)).filter(|point| point.value.is_finite())
    }
}

/// A number at a point of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Epoch, from 1.
    pub epoch: u32,
    /// For an epoch's metrics, the optimizer steps done at its end; for a step's, its number
    /// from 1. So a step and an epoch at one `step` saw the same weights' history.
    pub step: u64,
    /// Which number.
    pub metric: CurveMetric,
    /// The number.
    pub value: f64,
}

/// A number that has a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CurveMetric {
    /// Learning rate of the epoch's last step.
    Lr,
    /// Mean training loss over the epoch.
    TrainLoss,
    /// Share of the epoch's training samples classified right.
    TrainAccuracy,
    /// Mean loss on the validation part after the epoch.
    ValLoss,
    /// Share of the validation part classified right after the epoch.
    ValAccuracy,
    /// Seconds of a step that rank 0 of several computed.
    StepCompute,
    /// Seconds of a step for which gradients were under way between ranks.
    StepCommunication,
    /// Seconds of a step for which rank 0 waited for the others.
    StepWait,
    /// Mean training loss of one step's batch.
    StepLoss,
    /// Learning rate of one step.
    StepLr,
}

impl CurveMetric {
    /// As the CSV spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lr => "lr",
            Self::TrainLoss => "train_loss",
            Self::TrainAccuracy => "train_accuracy",
            Self::ValLoss => "val_loss",
            Self::ValAccuracy => "val_accuracy",
            Self::StepCompute => "step_compute_s",
            Self::StepCommunication => "step_communication_s",
            Self::StepWait => "step_wait_s",
            Self::StepLoss => "step_loss",
            Self::StepLr => "step_lr",
        }
    }
}

fn epoch_points(record: &EpochRecord) -> impl Iterator<Item = CurvePoint> + use<> {
    let (epoch, step) = (record.epoch, record.step);
    [
        (CurveMetric::Lr, record.lr),
        (CurveMetric::TrainLoss, record.train_loss),
        (CurveMetric::TrainAccuracy, record.train_accuracy),
        (CurveMetric::ValLoss, record.val_loss),
        (CurveMetric::ValAccuracy, record.val_accuracy),
        (CurveMetric::StepCompute, record.step_compute_s.unwrap_or(f64::NAN)),
        (CurveMetric::StepCommunication, record.step_communication_s.unwrap_or(f64::NAN)),
        (CurveMetric::StepWait, record.step_wait_s.unwrap_or(f64::NAN)),
    ]
    .into_iter()
    .map(move |(metric, value)| CurvePoint { epoch, step, metric, value })
}

fn step_points(record: &StepRecord) -> impl Iterator<Item = CurvePoint> + use<> {
    let (epoch, step) = (record.epoch, record.step + 1);
    [(CurveMetric::StepLoss, record.loss), (CurveMetric::StepLr, record.lr)]
        .into_iter()
        .map(move |(metric, value)| CurvePoint { epoch, step, metric, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;
    use crate::event::EVENT_FORMAT;

    fn started(resumed_at_step: u64) -> RunEvent {
        RunEvent::Started {
            format: EVENT_FORMAT,
            attempt: 1,
            resumed_at_step,
            total_steps: 200,
            checkpoint_refused: None,
        }
    }

    fn steps(first_step: u64, epoch: u32, loss: &[f64]) -> RunEvent {
        RunEvent::Steps { first_step, epoch, loss: loss.to_vec(), lr: vec![0.1; loss.len()] }
    }

    #[test]
    fn a_resumed_run_has_the_history_of_an_unbroken_one() {
        let epochs = sample::result(&[0.5, 0.75]).epochs;
        let epoch = |i: usize| RunEvent::Epoch(epochs[i].clone());
        let unbroken =
            [started(0), steps(98, 1, &[3.0, 2.0]), epoch(0), steps(100, 2, &[1.5]), epoch(1)];
        let broken = [
            started(0),
            steps(98, 1, &[3.0, 2.0]),
            epoch(0),
            steps(100, 2, &[1.5]),
            started(100),
            steps(100, 2, &[1.5]),
            epoch(1),
        ];
        let from_scratch = [started(0), steps(0, 1, &[9.0]), started(0)];
        let history = RunHistory::of_events(unbroken);
        assert_eq!(RunHistory::of_events(broken), history);
        assert_eq!(history.epochs, epochs);
        assert_eq!(RunHistory::of_events(from_scratch), RunHistory::default());
    }

    #[test]
    fn points_are_in_order_and_known() {
        let mut epochs = sample::result(&[0.5]).epochs;
        epochs[0].train_loss = f64::NAN;
        let events = [
            started(0),
            steps(99, 1, &[2.0]),
            RunEvent::Epoch(epochs[0].clone()),
            steps(100, 2, &[f64::INFINITY]),
        ];
        let history = RunHistory::of_events(events);
        let shown = |detail| -> Vec<String> {
            let points = history.points(detail);
            points
                .map(|p| format!("{} {} {} {}", p.epoch, p.step, p.metric.as_str(), p.value))
                .collect()
        };
        let of_epochs = [
            "1 100 lr 0.1",
            "1 100 train_accuracy 0.5",
            "1 100 val_loss 0.5",
            "1 100 val_accuracy 0.5",
        ];
        assert_eq!(shown(CurveDetail::Epoch), of_epochs);
        let mut of_steps = vec!["1 100 step_loss 2", "1 100 step_lr 0.1"];
        of_steps.extend(of_epochs);
        of_steps.push("2 101 step_lr 0.1");
        assert_eq!(shown(CurveDetail::Step), of_steps);
    }
}
