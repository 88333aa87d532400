//! `optimizer`: the update rule.

use super::value::Interval;
use super::word::words;

words! {
    /// Which parameters the weight decay acts on.
    DecayOn, "a choice of parameters" {
        /// Every parameter, as PyTorch's optimizers do.
        All = "all",
        /// Weights of convolutions and linear layers only: no bias, no scale or shift of a
        /// normalisation.
        Weights = "weights",
    }
}

words! {
    /// The update rule; `lr` and `weight_decay` are keys of their own.
    Optimizer, "an optimizer" {
        /// Stochastic gradient descent as PyTorch defines it: v = momentum v + g; w -= lr v.
        Sgd = "sgd" {
            /// How much of the last update is kept.
            momentum: f64 = 0.0, Interval::half_open(0.0, 1.0);
            /// Look ahead (Sutskever et al., 2013): w -= lr (g + momentum v).
            nesterov: bool = false, ();
        },
        /// Adam (Kingma and Ba, 2015); weight decay is added to the gradient.
        Adam = "adam" {
            /// Decay of the first moment.
            beta1: f64 = 0.9, Interval::half_open(0.0, 1.0);
            /// Decay of the second moment.
            beta2: f64 = 0.999, Interval::half_open(0.0, 1.0);
            /// Added to the root of the second moment.
            eps: f64 = 1e-8, Interval::above(0.0);
        },
        /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
        Adamw = "adamw" {
            /// Decay of the first moment.
            beta1: f64 = 0.9, Interval::half_open(0.0, 1.0);
            /// Decay of the second moment.
            beta2: f64 = 0.999, Interval::half_open(0.0, 1.0);
            /// Added to the root of the second moment.
            eps: f64 = 1e-8, Interval::above(0.0);
        },
    }
}
