//! The numbers that one run results in.
//!
//! In: the complete epochs and, once the run has ended, its result. Out: one optional number for
//! every column. A number that is not finite is *unknown* here, so that neither a mean nor a
//! spreadsheet ever meets a NaN.

use crate::event::EpochRecord;
use crate::record::{RunResult, Site, Spread, Throughput};
use crate::spec::metric::{Goal, Metric, MetricName};

/// The results of one run. Losses are means in nats, accuracies shares from 0 to 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunMetrics {
    /// Complete epochs; unknown before the run has begun.
    pub epochs_done: Option<u32>,
    /// Share of the validation part classified right after the last complete epoch.
    pub val_accuracy: Option<f64>,
    /// Mean loss on the validation part after the last complete epoch.
    pub val_loss: Option<f64>,
    /// Share of the test part classified right.
    pub test_accuracy: Option<f64>,
    /// Mean loss on the test part.
    pub test_loss: Option<f64>,
    /// Mean training loss over the last complete epoch.
    pub train_loss: Option<f64>,
    /// `val_loss - train_loss`.
    pub generalization_gap: Option<f64>,
    /// First epoch, from 1, whose validation reaches the target.
    pub epochs_to_target: Option<u32>,
    /// Seconds of training and validation up to the end of that epoch.
    pub seconds_to_target: Option<f64>,
    /// Seconds of training and validation up to the end of the last complete epoch: the clock of
    /// `seconds_to_target`.
    pub elapsed_s: Option<f64>,
    /// Training images per second of training time.
    pub images_per_s: Option<f64>,
    /// Seconds from start to result.
    pub wall_s: Option<f64>,
    /// Largest resident memory, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Most that was allocated on a GPU at a time, in bytes.
    pub device_memory_bytes: Option<u64>,
    /// Trained scalars.
    pub parameters: Option<u64>,
    /// Runs that were trained together as lanes of one network, this one included.
    pub fused_lanes: Option<u32>,
    /// Where it was executed.
    pub site: Option<Site>,
    /// On several devices, seconds of a step that rank 0 computed, for which gradients were under way
    /// and for which it waited: means over the epochs.
    pub step_seconds: [Option<f64>; 3],
    /// What the steps took, of a run whose steps were timed.
    pub throughput: Option<Throughput>,
    /// `images_per_s` over that of the reference, see [`MetricName::SpeedUp`].
    pub speed_up: Option<f64>,
    /// `speed_up` over how many times as many devices there are.
    pub efficiency: Option<f64>,
}

impl RunMetrics {
    /// The metrics that complete epochs alone give, of a run that is under way.
    pub fn of_epochs(epochs: &[EpochRecord], metric: &Metric) -> Self {
        let last = epochs.last();
        let train_loss = last.map(|epoch| epoch.train_loss).and_then(finite);
        let val_loss = last.map(|epoch| epoch.val_loss).and_then(finite);
        let at_target = first_at_target(epochs, metric);
        Self {
            epochs_done: Some(last.map_or(0, |epoch| epoch.epoch)),
            val_accuracy: last.map(|epoch| epoch.val_accuracy).and_then(finite),
            val_loss,
            train_loss,
            generalization_gap: val_loss
                .zip(train_loss)
                .and_then(|(val, train)| finite(val - train)),
            epochs_to_target: at_target.map(|epoch| epoch.epoch),
            seconds_to_target: at_target.map(|epoch| epoch.elapsed_s).and_then(finite),
            elapsed_s: last.map(|epoch| epoch.elapsed_s).and_then(finite),
            step_seconds: [
                mean(epochs, |epoch| epoch.step_compute_s),
                mean(epochs, |epoch| epoch.step_communication_s),
                mean(epochs, |epoch| epoch.step_wait_s),
            ],
            ..Self::default()
        }
    }

    /// The metrics of a run that has ended, however it did.
    pub fn of_result(result: &RunResult, metric: &Metric) -> Self {
        let of_epochs = Self::of_epochs(&result.epochs, metric);
        let timed = result.throughput.as_ref();
        let exchange = timed.and_then(|throughput| throughput.exchange.as_ref());
        Self {
            // A run whose steps are timed completes none, however often it goes round.
            epochs_done: of_epochs.epochs_done.filter(|_| timed.is_none()),
            step_seconds: exchange.map_or(of_epochs.step_seconds, |exchange| {
                [exchange.compute_s, exchange.communication_s, exchange.wait_s]
                    .map(|spread| finite(spread.median))
            }),
            throughput: timed.cloned(),
            test_accuracy: result.test_accuracy.and_then(finite),
            test_loss: result.test_loss.and_then(finite),
            images_per_s: result.images_per_s.and_then(finite),
            wall_s: result.wall_s.and_then(finite),
            peak_memory_bytes: result.peak_memory_bytes,
            device_memory_bytes: result.device_memory_bytes,
            parameters: result.parameters,
            fused_lanes: result.fused_lanes,
            site: result.site.clone(),
            ..of_epochs
        }
    }

    /// One of them by its name; finite where known.
    pub fn get(&self, name: MetricName) -> Option<f64> {
        match name {
            MetricName::ValAccuracy => self.val_accuracy,
            MetricName::ValLoss => self.val_loss,
            MetricName::TestAccuracy => self.test_accuracy,
            MetricName::TestLoss => self.test_loss,
            MetricName::TrainLoss => self.train_loss,
            MetricName::GeneralizationGap => self.generalization_gap,
            MetricName::EpochsToTarget => self.epochs_to_target.map(f64::from),
            MetricName::SecondsToTarget => self.seconds_to_target,
            MetricName::ImagesPerS => self.images_per_s,
            MetricName::WallS => self.wall_s,
            // Exact up to 2^53 bytes, 8 PiB.
            MetricName::PeakMemoryBytes => self.peak_memory_bytes.map(|bytes| bytes as f64),
            MetricName::DataS => self.median(|throughput| throughput.data_s),
            MetricName::ForwardS => self.median(|throughput| throughput.forward_s),
            MetricName::BackwardS => self.median(|throughput| throughput.backward_s),
            MetricName::UpdateS => self.median(|throughput| throughput.update_s),
            MetricName::StepS => self.median(|throughput| throughput.step_s),
            MetricName::DeviceMemoryBytes => self.device_memory_bytes.map(|bytes| bytes as f64),
            MetricName::SpeedUp => self.speed_up,
            MetricName::Efficiency => self.efficiency,
            MetricName::WaitShare => {
                let throughput = self.throughput.as_ref()?;
                let wait = throughput.exchange.as_ref()?.wait_s.median;
                finite(wait / throughput.step_s.median)
            }
        }
    }

    /// The median of some seconds of the steps, where they were timed.
    fn median(&self, of: fn(&Throughput) -> Spread) -> Option<f64> {
        self.throughput.as_ref().map(|throughput| of(throughput).median).and_then(finite)
    }
}

/// The first epoch whose validation reaches the target, see [`Metric::target_of`]: in the direction of the
/// goal where that is the ranking metric, else upwards.
fn first_at_target<'a>(epochs: &'a [EpochRecord], metric: &Metric) -> Option<&'a EpochRecord> {
    let (target, of) = (metric.target?, metric.target_of()?);
    let goal = if of == metric.name { metric.goal } else { Goal::Maximize };
    let value = |epoch: &EpochRecord| match of {
        MetricName::ValLoss => epoch.val_loss,
        _ => epoch.val_accuracy,
    };
    epochs.iter().find(|epoch| match goal {
        Goal::Maximize => value(epoch) >= target,
        Goal::Minimize => value(epoch) <= target,
    })
}

/// The mean over the epochs that know the number.
fn mean(epochs: &[EpochRecord], get: fn(&EpochRecord) -> Option<f64>) -> Option<f64> {
    let (count, sum) = epochs
        .iter()
        .filter_map(get)
        .filter_map(finite)
        .fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x));
    (count > 0.0).then_some(sum / count)
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;

    fn metric(name: MetricName, target: f64) -> Metric {
        Metric { name, goal: name.natural_goal(), target: Some(target) }
    }

    #[test]
    fn the_last_complete_epoch_and_the_result_give_the_numbers() {
        let mut result = sample::result(&[0.5, 0.8, 0.75]);
        result.test_accuracy = Some(0.7);
        let metrics = RunMetrics::of_result(&result, &metric(MetricName::ValAccuracy, 0.8));
        assert_eq!(metrics.epochs_done, Some(3));
        assert_eq!(metrics.val_accuracy, Some(0.75));
        assert_eq!(metrics.val_loss, Some(0.25));
        assert_eq!(metrics.train_loss, Some(0.125));
        assert_eq!(metrics.generalization_gap, Some(0.125));
        assert_eq!(metrics.test_accuracy, Some(0.7));
        assert_eq!(metrics.epochs_to_target, Some(2), "it counts though accuracy fell again");
        assert_eq!(metrics.seconds_to_target, Some(20.0));
    }

    #[test]
    fn a_target_is_on_the_validation_metric_by_its_goal_and_else_on_accuracy() {
        let epochs = sample::result(&[0.5, 0.8, 0.9]).epochs;
        let at =
            |name, target| RunMetrics::of_epochs(&epochs, &metric(name, target)).epochs_to_target;
        assert_eq!(at(MetricName::ValAccuracy, 0.85), Some(3));
        assert_eq!(at(MetricName::ValLoss, 0.2), Some(2), "losses 0.5, 0.2, 0.1");
        assert_eq!(at(MetricName::EpochsToTarget, 0.8), Some(2));
        assert_eq!(at(MetricName::ValAccuracy, 0.95), None, "never reached is unknown");
        let no_target = Metric { target: None, ..metric(MetricName::ValAccuracy, 0.0) };
        assert_eq!(RunMetrics::of_epochs(&epochs, &no_target).epochs_to_target, None);
    }

    #[test]
    fn what_is_not_finite_is_unknown() {
        let mut result = sample::result(&[0.5, f64::NAN]);
        result.epochs[1].val_loss = f64::INFINITY;
        result.test_loss = Some(f64::NAN);
        let metrics = RunMetrics::of_result(&result, &metric(MetricName::ValAccuracy, 0.9));
        assert_eq!(metrics.epochs_done, Some(2));
        for name in [
            MetricName::ValAccuracy,
            MetricName::ValLoss,
            MetricName::TestLoss,
            MetricName::GeneralizationGap,
        ] {
            assert_eq!(metrics.get(name), None, "{name:?}");
        }
    }

    #[test]
    fn seconds_of_steps_are_means_over_the_epochs_that_know_them() {
        let mut result = sample::result(&[0.5, 0.8, 0.9]);
        for (epoch, wait) in result.epochs.iter_mut().zip([Some(1.0), None, Some(3.0)]) {
            epoch.step_wait_s = wait;
        }
        let metrics = RunMetrics::of_result(&result, &metric(MetricName::ValAccuracy, 0.8));
        assert_eq!(metrics.step_seconds, [None, None, Some(2.0)]);
    }

    #[test]
    fn a_run_without_an_epoch_has_done_none() {
        let metrics = RunMetrics::of_epochs(&[], &metric(MetricName::ValAccuracy, 0.9));
        assert_eq!(metrics, RunMetrics { epochs_done: Some(0), ..RunMetrics::default() });
    }
}
