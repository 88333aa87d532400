//! `activation`: the non-linearity after every hidden layer.

use super::word::words;

words! {
    /// The non-linearity after every hidden layer.
    Activation, "an activation" {
        /// max(0, x); its derivative at 0 is 0 (Nair and Hinton, 2010).
        Relu = "relu",
        /// 1 / (1 + exp(-x)).
        Sigmoid = "sigmoid",
        /// The hyperbolic tangent.
        Tanh = "tanh",
    }
}
