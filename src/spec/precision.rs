//! `precision`: how matrix products and convolutions are computed on a GPU.

use super::config::{Key, RunConfig};
use super::device::Device;
use super::validate::Misfit;
use super::value::Value as _;
use super::word::words;

words! {
    /// How the products of linear layers and convolutions are computed on a GPU. Weights, activations,
    /// gradients, losses, norms and the update are in f32 whatever it says, sums of losses in f64.
    Precision, "a precision" {
        /// Factors and sums in f32, TF32 off.
        F32 = "f32",
        /// Factors rounded to TF32 (10 bits after the point, f32's exponent) where the GPU multiplies
        /// them, sums in f32. Needs a GPU of compute capability 8.0 to be faster.
        Tf32 = "tf32",
        /// Factors rounded to bf16 (7 bits after the point, f32's exponent), sums in f32; what is
        /// learnt is kept and updated in f32, so no loss need be scaled.
        Bf16 = "bf16",
    }
}

impl Copy for Precision {}

impl Eq for Precision {}

impl Precision {
    /// Does it need a GPU?
    pub fn needs_gpu(self) -> bool {
        self != Self::F32
    }
}

/// Cores compute in f32.
pub fn misfit(config: &RunConfig) -> Option<Misfit> {
    (config.precision.needs_gpu() && config.device == Device::Cpu).then(|| {
        let precision = config.precision.label();
        let message =
            format!("precision = \"{precision}\" is for GPUs, device = \"cpu\" computes in f32");
        let help = "take precision = \"f32\" or device = \"cuda\", or drop the combination with \
                    [[exclude]]";
        Misfit::new(&[Key::Precision, Key::Device], message, help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::validate::misfits;

    #[test]
    fn what_is_not_f32_is_refused_on_cores_and_on_nothing_else() {
        let found = |precision: Precision, device: Device| {
            let config = RunConfig { precision, device, ..RunConfig::default() };
            misfits(&config).into_iter().map(|misfit| misfit.message).collect::<Vec<_>>()
        };
        let refused = "precision = \"bf16\" is for GPUs, device = \"cpu\" computes in f32";
        assert_eq!(found(Precision::Bf16, Device::Cpu), [refused]);
        assert_eq!(found(Precision::Tf32, Device::Cpu).len(), 1);
        assert!(found(Precision::F32, Device::Cpu).is_empty());
        for device in [Device::Auto, Device::Cuda] {
            assert!(found(Precision::Bf16, device).is_empty());
        }
    }
}
