//! `activation`: the non-linearity after every hidden layer.

use super::value::Interval;
use super::word::words;

words! {
    /// The non-linearity after every hidden layer.
    Activation, "an activation" {
        /// max(0, x); its derivative at 0 is 0 (Nair and Hinton, 2010).
        Relu = "relu",
        /// x where it is positive, else `negative_slope` x (Maas et al., 2013).
        LeakyRelu = "leaky_relu" {
            /// Slope of the negative half.
            negative_slope: f64 = 0.01, Interval::closed(0.0, 1.0);
        },
        /// x where it is positive, else `alpha` (exp(x) - 1) (Clevert et al., 2016).
        Elu = "elu" {
            /// Minus the limit at the negative end.
            alpha: f64 = 1.0, Interval::at_least(0.0);
        },
        /// x Phi(x), with the normal distribution's Phi (Hendrycks and Gimpel, 2016).
        Gelu = "gelu" {
            /// The paper's approximation of Phi by a hyperbolic tangent, PyTorch's
            /// approximate="tanh", instead of the error function.
            approximate: bool = false, ();
        },
        /// x / (1 + exp(-x)), also called swish (Elfwing et al., 2018).
        Silu = "silu",
        /// 1 / (1 + exp(-x)).
        Sigmoid = "sigmoid",
        /// The hyperbolic tangent.
        Tanh = "tanh",
        /// x itself: a network without a non-linearity, for comparison.
        Identity = "identity",
    }
}
