//! `[metric]`: what configurations are ranked by.

/// What configurations are ranked by.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// `name`: a result of every run.
    pub name: MetricName,
    /// `goal`; from the metric's own direction where not written.
    pub goal: Goal,
    /// `target`: gives `epochs_to_target` and `seconds_to_target`.
    pub target: Option<f64>,
}

/// Is more better, or less?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// More is better.
    Maximize,
    /// Less is better.
    Minimize,
}

/// A number that every run results in. Also the name of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricName {
    /// Share of the validation part classified right after the last epoch.
    ValAccuracy,
    /// Mean loss on the validation part after the last epoch.
    ValLoss,
    /// Share of the test part classified right, measured once.
    TestAccuracy,
    /// Mean loss on the test part, measured once.
    TestLoss,
    /// Mean training loss over the last epoch.
    TrainLoss,
    /// `val_loss - train_loss` of the last epoch.
    GeneralizationGap,
    /// First epoch whose validation reaches `target`; unknown if none does.
    EpochsToTarget,
    /// Seconds of training and validation until then.
    SecondsToTarget,
    /// Training images per second.
    ImagesPerS,
    /// Seconds from start to result.
    WallS,
    /// Largest resident memory.
    PeakMemoryBytes,
}

impl MetricName {
    /// Every metric, in the order of the columns of `runs.csv`.
    pub const ALL: &[Self] = &[
        Self::ValAccuracy,
        Self::ValLoss,
        Self::TestAccuracy,
        Self::TestLoss,
        Self::TrainLoss,
        Self::GeneralizationGap,
        Self::EpochsToTarget,
        Self::SecondsToTarget,
        Self::ImagesPerS,
        Self::WallS,
        Self::PeakMemoryBytes,
    ];

    /// As the sweep file and the CSVs spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValAccuracy => "val_accuracy",
            Self::ValLoss => "val_loss",
            Self::TestAccuracy => "test_accuracy",
            Self::TestLoss => "test_loss",
            Self::TrainLoss => "train_loss",
            Self::GeneralizationGap => "generalization_gap",
            Self::EpochsToTarget => "epochs_to_target",
            Self::SecondsToTarget => "seconds_to_target",
            Self::ImagesPerS => "images_per_s",
            Self::WallS => "wall_s",
            Self::PeakMemoryBytes => "peak_memory_bytes",
        }
    }

    /// The direction that is better.
    pub fn natural_goal(self) -> Goal {
        match self {
            Self::ValAccuracy | Self::TestAccuracy | Self::ImagesPerS => Goal::Maximize,
            _ => Goal::Minimize,
        }
    }
}
