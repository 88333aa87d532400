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
    /// Seconds of a step in which its batch is made: gathered, augmented, copied; the median.
    DataS,
    /// Seconds of a step for outputs and loss, the median.
    ForwardS,
    /// Seconds of a step for the gradients, their sum over several devices among them; the median.
    BackwardS,
    /// Seconds of a step for the update, the median.
    UpdateS,
    /// Seconds of a step, the median.
    StepS,
    /// Memory that was allocated on the GPU.
    DeviceMemoryBytes,
    /// `images_per_s` over that of the reference: the run with the first `device` of the sweep and
    /// the fewest `devices` that agrees in all else.
    SpeedUp,
    /// `speed_up` over how many times as many devices there are.
    Efficiency,
    /// Part of a step for which the first of several devices waited for the others.
    WaitShare,
}

impl Metric {
    /// The metric that the target is of: a target of `val_accuracy` or `val_loss` is on that metric; with
    /// any other ranking metric it is a validation accuracy, the one thing that "reaching a target" is
    /// said of.
    pub fn target_of(&self) -> Option<MetricName> {
        self.target.map(|_| match self.name {
            MetricName::ValLoss => MetricName::ValLoss,
            _ => MetricName::ValAccuracy,
        })
    }
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
        Self::DataS,
        Self::ForwardS,
        Self::BackwardS,
        Self::UpdateS,
        Self::StepS,
        Self::DeviceMemoryBytes,
        Self::SpeedUp,
        Self::Efficiency,
        Self::WaitShare,
    ];

    /// How many of [`ALL`](Self::ALL), the first, every sweep has; the others are those of runs whose
    /// steps are timed.
    const COMMON: usize = 11;

    /// The metrics of a sweep, in the order of the columns: those of timed steps only where there are
    /// `timed` runs.
    pub fn of_sweep(timed: bool) -> &'static [Self] {
        if timed { Self::ALL } else { &Self::ALL[..Self::COMMON] }
    }

    /// Is it known only of runs whose steps are timed?
    pub fn is_of_throughput(self) -> bool {
        Self::ALL[Self::COMMON..].contains(&self)
    }

    /// Is it known only of runs that are trained?
    pub fn is_of_training(self) -> bool {
        let everywhere = [Self::ImagesPerS, Self::WallS, Self::PeakMemoryBytes];
        !self.is_of_throughput() && !everywhere.contains(&self)
    }

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
            Self::DataS => "data_s",
            Self::ForwardS => "forward_s",
            Self::BackwardS => "backward_s",
            Self::UpdateS => "update_s",
            Self::StepS => "step_s",
            Self::DeviceMemoryBytes => "device_memory_bytes",
            Self::SpeedUp => "speed_up",
            Self::Efficiency => "efficiency",
            Self::WaitShare => "wait_share",
        }
    }

    /// The direction that is better.
    pub fn natural_goal(self) -> Goal {
        match self {
            Self::ValAccuracy
            | Self::TestAccuracy
            | Self::ImagesPerS
            | Self::SpeedUp
            | Self::Efficiency => Goal::Maximize,
            _ => Goal::Minimize,
        }
    }
}
