//! `lr_scaling`: what several devices make of the learning rate.

use super::config::RunConfig;
use super::word::words;

words! {
    /// What the learning rate is multiplied with on several devices.
    LrScaling, "a scaling" {
        /// 1: the batch is the same, whatever number of devices shares it.
        None = "none",
        /// The number of devices (Goyal et al., 2017), for a batch that grows with it.
        Linear = "linear",
        /// The square root of the number of devices (Krizhevsky, 2014).
        Sqrt = "sqrt",
    }
}

impl LrScaling {
    /// The factor for so many devices.
    pub fn factor(&self, devices: u32) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Linear => f64::from(devices),
            Self::Sqrt => f64::from(devices).sqrt(),
        }
    }
}

impl RunConfig {
    /// The learning rate that the schedule's factors are on: `lr`, scaled.
    pub fn scaled_lr(&self) -> f64 {
        self.lr * self.lr_scaling.factor(self.devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_grows_as_the_word_says() {
        let rate = |lr_scaling, devices| {
            RunConfig { lr: 0.1, lr_scaling, devices, ..RunConfig::default() }.scaled_lr()
        };
        assert_eq!(rate(LrScaling::None, 4), 0.1);
        assert_eq!(rate(LrScaling::Linear, 4), 0.4);
        assert_eq!(rate(LrScaling::Sqrt, 4), 0.2);
        assert_eq!(rate(LrScaling::Linear, 1), 0.1);
    }
}
