//! `schedule`: how the learning rate moves over training.

use super::value::Interval;
use super::word::words;

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
        /// gamma ^ epoch, as PyTorch's ExponentialLR.
        Exponential = "exponential" {
            /// What the rate is multiplied with after every epoch.
            gamma: f64 = 0.95, Interval::above_up_to(0.0, 1.0);
        },
        /// From 1 to `final_factor` along half a cosine, moved at every step (Loshchilov and
        /// Hutter, 2017, equation 5, without restarts).
        Cosine = "cosine" {
            /// The factor that the last step ends at.
            final_factor: f64 = 0.0, Interval::closed(0.0, 1.0);
        },
        /// Linear from 0 to 1 over `warmup_epochs` (Goyal et al., 2017), then as `cosine` over the
        /// rest; moved at every step.
        WarmupCosine = "warmup_cosine" {
            /// Epochs of linear warm-up; fewer than `epochs`.
            warmup_epochs: u32 = 5, Interval::at_least(1.0);
            /// The factor that the last step ends at.
            final_factor: f64 = 0.0, Interval::closed(0.0, 1.0);
        },
    }
}
