//! `init`: the distribution of the initial weights.

use super::weights::WeightsFile;
use super::word::words;

words! {
    /// The distribution of the initial weights. Biases start at 0 unless said.
    Init, "an initialisation" {
        /// PyTorch's default for linear and convolution layers: weights and biases uniform in
        /// +-1/sqrt(fan_in).
        Pytorch = "pytorch",
        /// N(0, 2 / fan_in) (He et al., 2015, equation 10).
        KaimingNormal = "kaiming_normal",
        /// Uniform in +-sqrt(6 / fan_in) (He et al., 2015).
        KaimingUniform = "kaiming_uniform",
        /// N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio, 2010).
        XavierNormal = "xavier_normal",
        /// Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010, equation 16).
        XavierUniform = "xavier_uniform",
        /// N(0, 0.01^2); biases start at 1 in the second, fourth and fifth convolution and in hidden
        /// linear layers, at 0 elsewhere (Krizhevsky et al., 2012, section 5).
        Alexnet = "alexnet",
        /// Not drawn: the weights in a safetensors file, `init = { from = "weights.safetensors" }`; every
        /// seed starts with them. The names and shapes are those of [weights](weights.md). The run's
        /// identity is what is inside the file and not its path.
        From = "from" {
            /// The file, relative to the sweep file.
            from: WeightsFile, ();
        },
    }
}
