//! Times to the target, also of runs that never came to it.
//!
//! In: runs that are compared with each other. Out: `epochs_to_target` or `seconds_to_target` of each;
//! a run that never got there counts with the length of the longest of them: in epochs, or in seconds of
//! training and validation, which is what the time to the target is told in. Means over such numbers
//! are restricted means (Royston and Parmar, 2013). Without these runs a comparison would be one of
//! the lucky: a configuration that got there with one seed of ten would be as fast as that seed.
//!
//! Of such a run no more is known than that it takes longer than it lasted, which a [`Value`] says.

use super::row::{RowStatus, RunRow};
use super::statistics::Summary;
use crate::spec::metric::MetricName;

/// A number that runs are compared by, or the most that is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    /// What it counts with.
    pub counted: f64,
    /// Where the target was never reached: what the true number is not below.
    pub at_least: Option<f64>,
}

impl Value {
    /// A number that is known.
    pub fn known(counted: f64) -> Self {
        Self { counted, at_least: None }
    }

    /// The least and the most that it may be: without end where the target was never reached, or up to
    /// what it counts with, of times that are `restricted` to that.
    pub fn range(self, restricted: bool) -> (f64, f64) {
        let most = if restricted || self.at_least.is_none() { self.counted } else { f64::INFINITY };
        (self.at_least.unwrap_or(self.counted), most)
    }

    /// The mean of several; `None` of none.
    pub fn mean(values: &[Self]) -> Option<Self> {
        let mean = |of: fn(&Self) -> f64| Summary::of(values.iter().map(of)).mean;
        let counted = mean(|value| value.counted)?;
        let never = values.iter().any(|value| value.at_least.is_some());
        let at_least = if never { mean(|value| value.range(true).0) } else { None };
        Some(Self { counted, at_least })
    }
}

/// How long the longest of some runs are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lengths {
    epochs: Option<f64>,
    seconds: Option<f64>,
}

impl Lengths {
    /// Of the finished ones among `rows`.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a RunRow>) -> Self {
        let mut lengths = Self { epochs: None, seconds: None };
        for row in rows.into_iter().filter(|row| row.status == RowStatus::Finished) {
            lengths.epochs = longer(lengths.epochs, row.metrics.epochs_done.map(f64::from));
            lengths.seconds = longer(lengths.seconds, row.metrics.elapsed_s);
        }
        lengths
    }

    /// The same for comparisons by `metric`, which need a finished run that got there: where none did, none
    /// has a value, and not all the same one.
    pub fn where_reached<'a>(
        rows: impl IntoIterator<Item = &'a RunRow> + Clone,
        metric: MetricName,
    ) -> Self {
        let known =
            |row: &RunRow| row.status == RowStatus::Finished && row.metrics.get(metric).is_some();
        match rows.clone().into_iter().any(known) {
            true => Self::of(rows),
            false => Self { epochs: None, seconds: None },
        }
    }

    /// What a run counts with that never came to the target; `None` of a metric that is no time to it.
    pub fn of_metric(&self, metric: MetricName) -> Option<f64> {
        match metric {
            MetricName::EpochsToTarget => self.epochs,
            MetricName::SecondsToTarget => self.seconds,
            _ => None,
        }
    }

    /// What a finished run is compared by: its metric or, of a time to a target that it never reached, the
    /// length of the longest.
    pub fn of_finished(&self, row: &RunRow, metric: MetricName) -> Option<f64> {
        let finished = row.status == RowStatus::Finished;
        finished.then(|| self.value(row, metric)).flatten().map(|value| value.counted)
    }

    /// The metric of a run that finished, or that diverged: such a run has none but for the time to a
    /// target that it will never reach.
    pub fn value(&self, row: &RunRow, metric: MetricName) -> Option<Value> {
        let finished = match row.status {
            RowStatus::Finished => true,
            RowStatus::Diverged => false,
            _ => return None,
        };
        if let Some(known) = row.metrics.get(metric).filter(|_| finished) {
            return Some(Value::known(known));
        }
        let counted = self.of_metric(metric)?;
        let lasted = match metric {
            MetricName::EpochsToTarget => row.metrics.epochs_done.map(f64::from),
            // Not `wall_s`: start-up, loading of data and the test are no part of a time to the target.
            _ => row.metrics.elapsed_s,
        };
        // One that diverged would not get there if it lasted longer.
        let at_least = lasted.filter(|_| finished).map_or(counted, |lasted| lasted.min(counted));
        Some(Value { counted, at_least: Some(at_least) })
    }
}

fn longer(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::row::RunState;
    use crate::aggregate::sample;
    use crate::record::{RunResult, RunStatus};

    /// Ten seconds an epoch, and much more from start to result.
    fn row(accuracies: &[f64], status: RunStatus) -> RunRow {
        let result = RunResult { status, wall_s: Some(1000.0), ..sample::result(accuracies) };
        RunRow::new(sample::planned("a", 0), RunState::Ended(&result), &sample::metric())
    }

    #[test]
    fn a_run_that_never_got_there_counts_with_the_longest_and_is_known_to_last_its_own() {
        let rows = [
            row(&[0.5, 0.95, 0.96, 0.97], RunStatus::Finished),
            row(&[0.5, 0.6], RunStatus::Finished),
            row(&[f64::NAN], RunStatus::Diverged),
            row(&[], RunStatus::Failed),
        ];
        let lengths = Lengths::of(&rows);
        let of = |metric| rows.each_ref().map(|row| lengths.value(row, metric));
        let never = |counted, least| Some(Value { counted, at_least: Some(least) });
        let epochs = [Some(Value::known(2.0)), never(4.0, 2.0), never(4.0, 4.0), None];
        assert_eq!(of(MetricName::EpochsToTarget), epochs);
        let seconds = [Some(Value::known(20.0)), never(40.0, 20.0), never(40.0, 40.0), None];
        assert_eq!(of(MetricName::SecondsToTarget), seconds);
        assert_eq!(of(MetricName::TestLoss), [None; 4]);
        assert_eq!(of(MetricName::ValAccuracy)[2], None, "what diverged has no other result");
        let never = Lengths::where_reached(&rows[1..], MetricName::EpochsToTarget);
        assert_eq!(never.value(&rows[1], MetricName::EpochsToTarget), None, "none got there");
        let lost = [row(&[0.96, f64::NAN], RunStatus::Diverged), rows[1].clone()];
        let lost = Lengths::where_reached(&lost, MetricName::EpochsToTarget);
        assert_eq!(lost.value(&rows[1], MetricName::EpochsToTarget), None, "none that finished");
        let some = Lengths::where_reached(&rows, MetricName::EpochsToTarget);
        assert_eq!(some, lengths);
        assert_eq!(Lengths::of(&rows[3..]).value(&rows[2], MetricName::EpochsToTarget), None);
    }
}
