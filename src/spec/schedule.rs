//! `schedule`: how the learning rate moves over training.

use super::value::{Interval, ListLimits};
use super::word::words;

words! {
    /// When a rate that could move at every step moves.
    Pace, "a pace" {
        /// After every optimizer step.
        Step = "step",
        /// After every epoch.
        Epoch = "epoch",
    }
}

words! {
    /// The way from one rate to another.
    Anneal, "an annealing" {
        /// Along half a cosine.
        Cosine = "cosine",
        /// Along a line.
        Linear = "linear",
    }
}

words! {
    /// What has to get better on the validation images.
    Watched, "a watched metric" {
        /// The mean loss, which has to fall.
        Loss = "loss",
        /// The accuracy, which has to rise.
        Accuracy = "accuracy",
    }
}

words! {
    /// How the learning rate moves over training. Each rate is a factor on `lr`.
    Schedule, "a schedule" {
        /// The factor is 1 throughout.
        Constant = "constant",
        /// gamma ^ floor(epoch / every_epochs), as PyTorch's StepLR.
        Step = "step" {
            /// Epochs between two drops.
            every_epochs: u32 = 10, Interval::at_least(1.0);
            /// What the rate is multiplied with at each drop.
            gamma: f64 = 0.1, Interval::above_up_to(0.0, 1.0);
        },
        /// gamma ^ (milestones passed), as PyTorch's MultiStepLR.
        MultiStep = "multi_step" {
            /// Epochs after which the rate drops, in ascending order, each below `epochs`.
            milestones: Vec<u32> = vec![30, 60, 80],
                ListLimits { item: Interval::at_least(1.0), length: (1, 64) };
            /// What the rate is multiplied with at each drop.
            gamma: f64 = 0.1, Interval::above_up_to(0.0, 1.0);
        },
        /// gamma ^ epoch, as PyTorch's ExponentialLR.
        Exponential = "exponential" {
            /// What the rate is multiplied with over every epoch.
            gamma: f64 = 0.95, Interval::above_up_to(0.0, 1.0);
            /// Whether it falls at once after an epoch or a little at every step.
            per: Pace = Pace::Epoch, ();
        },
        /// From 1 to `final_factor` along half a cosine (Loshchilov and Hutter, 2017, equation 5,
        /// without restarts).
        Cosine = "cosine" {
            /// The factor that the last step ends at.
            final_factor: f64 = 0.0, Interval::closed(0.0, 1.0);
            /// Whether it moves at every step or stands still over an epoch.
            per: Pace = Pace::Step, ();
        },
        /// Linear from 0 to 1 over `warmup_epochs` (Goyal et al., 2017), then as `cosine` over the
        /// rest; moved at every step.
        WarmupCosine = "warmup_cosine" {
            /// Epochs of linear warm-up; fewer than `epochs`.
            warmup_epochs: u32 = 5, Interval::at_least(1.0);
            /// The factor that the last step ends at.
            final_factor: f64 = 0.0, Interval::closed(0.0, 1.0);
        },
        /// From 1 to `final_factor`: f + (1 - f) (1 - progress) ^ power, moved at every step; a line
        /// with the default power, PyTorch's PolynomialLR with f = 0.
        Polynomial = "polynomial" {
            /// The exponent.
            power: f64 = 1.0, Interval::above_up_to(0.0, 16.0);
            /// The factor that the last step ends at.
            final_factor: f64 = 0.0, Interval::closed(0.0, 1.0);
        },
        /// Up from 1 / div_factor to 1, then down to 1 / (div_factor final_div_factor), moved at
        /// every step (Smith and Topin, 2018), as PyTorch's OneCycleLR of two phases; `lr` is the
        /// highest rate. The momentum is left alone.
        OneCycle = "one_cycle" {
            /// Part of the run's steps that the rate rises.
            pct_start: f64 = 0.3, Interval::closed(0.0, 1.0);
            /// The highest rate over the first.
            div_factor: f64 = 25.0, Interval::at_least(1.0);
            /// The first rate over the last.
            final_div_factor: f64 = 1e4, Interval::at_least(1.0);
            /// The way up and down.
            anneal: Anneal = Anneal::Cosine, ();
        },
        /// The rate is multiplied with `factor` when validation has stopped improving (Krizhevsky et
        /// al., 2012, section 5), as PyTorch's ReduceLROnPlateau with a relative threshold.
        Plateau = "plateau" {
            /// What the rate is multiplied with.
            factor: f64 = 0.1, Interval { min: 0.0, min_open: true, max: 1.0, max_open: true };
            /// Epochs in a row without an improvement that are put up with.
            patience: u32 = 10, Interval::at_least(0.0);
            /// Part of the best value by which another has to be better to count.
            threshold: f64 = 1e-4, Interval::half_open(0.0, 1.0);
            /// Epochs after a drop that are not counted.
            cooldown: u32 = 0, Interval::at_least(0.0);
            /// The rate that is not gone below; below `lr`.
            min_lr: f64 = 0.0, Interval::at_least(0.0);
            /// What has to improve.
            metric: Watched = Watched::Loss, ();
        },
    }
}
