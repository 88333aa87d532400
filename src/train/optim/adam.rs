//! Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019), as PyTorch defines them.

use super::Update;
use crate::train::kernel::Real;
use crate::train::kernel::simd::vectorized;

/// What a step has in common for all parameters.
#[derive(Debug, Clone, Copy)]
pub struct Constants {
    betas: [f64; 2],
    eps: f64,
    /// 1 - beta1^t.
    first_correction: f64,
    /// sqrt(1 - beta2^t).
    second_correction: f64,
}

impl Constants {
    /// Constants of step number `step`, from 0.
    pub fn new(betas: [f64; 2], eps: f64, step: u64) -> Self {
        let t = (step + 1) as f64;
        Self {
            betas,
            eps,
            first_correction: 1.0 - betas[0].powf(t),
            second_correction: (1.0 - betas[1].powf(t)).sqrt(),
        }
    }

    /// What `kernels/optimizer.cu` computes with, from its fourth number on.
    pub(super) fn numbers(&self, rate: f64, shrink: f64) -> [f64; 7] {
        let [beta1, beta2] = self.betas;
        [
            rate / self.first_correction,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            1.0 / self.second_correction,
            shrink,
            self.eps,
        ]
    }
}

/// Adam: the decay is added to the gradient, so it passes through the moments.
pub fn coupled<T: Real>(update: Update<'_, T>, moments: [&mut [T]; 2], constants: Constants) {
    let decay = T::of(update.factors.weight_decay);
    step(update, moments, constants, [decay, T::ONE]);
}

/// AdamW: the weights shrink by lr times decay, apart from the moments.
pub fn decoupled<T: Real>(update: Update<'_, T>, moments: [&mut [T]; 2], constants: Constants) {
    let shrink = T::of(1.0 - update.factors.rate * update.factors.weight_decay);
    step(update, moments, constants, [T::ZERO, shrink]);
}

/// g' = c g + decay w; w = shrink w; m += (1 - beta1) (g' - m); v = beta2 v + (1 - beta2) g'^2;
/// w -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps).
#[inline(always)]
fn step<T: Real>(
    update: Update<'_, T>,
    [first, second]: [&mut [T]; 2],
    constants: Constants,
    [decay, shrink]: [T; 2],
) {
    let Update { value, gradient, factors } = update;
    let clip = T::of(factors.scale);
    let new_first = T::of(1.0 - constants.betas[0]);
    let (keep_second, new_second) = (T::of(constants.betas[1]), T::of(1.0 - constants.betas[1]));
    let step_size = T::of(factors.rate / constants.first_correction);
    let second_scale = T::of(1.0 / constants.second_correction);
    let eps = T::of(constants.eps);
    vectorized(
        #[inline(always)]
        || {
            let moments = first.iter_mut().zip(second);
            for ((w, &g), (m, v)) in value.iter_mut().zip(gradient).zip(moments) {
                let g = clip * g + decay * *w;
                *m += new_first * (g - *m);
                *v = keep_second * *v + new_second * g * g;
                *w = shrink * *w - step_size * *m / (v.sqrt() * second_scale + eps);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optim::Factors;

    fn gradient(w: f64) -> f64 {
        w.powi(3) + 0.5 * w - 0.2
    }

    #[test]
    fn steps_follow_pytorchs_definition() {
        for (decoupled_decay, weight_decay) in [(false, 0.0), (false, 0.1), (true, 0.1)] {
            let (rate, betas, eps) = (0.05, [0.9, 0.999], 1e-8);
            let mut w = [1.5_f32, -0.7];
            let (mut first, mut second) = ([0.0; 2], [0.0; 2]);
            // PyTorch's pseudo code, in f64.
            let mut expected = [1.5_f64, -0.7];
            let (mut m, mut v) = ([0.0; 2], [0.0; 2]);
            for step in 0..20 {
                let g = w.map(|w| gradient(f64::from(w)) as f32);
                let factors = Factors { rate, weight_decay, scale: 1.0 };
                let update = Update { value: &mut w, gradient: &g, factors };
                let moments = [&mut first[..], &mut second[..]];
                let constants = Constants::new(betas, eps, step);
                if decoupled_decay {
                    decoupled(update, moments, constants);
                } else {
                    coupled(update, moments, constants);
                }
                let t = step as i32 + 1;
                for i in 0..2 {
                    let mut g = gradient(expected[i]);
                    if decoupled_decay {
                        expected[i] -= rate * weight_decay * expected[i];
                    } else {
                        g += weight_decay * expected[i];
                    }
                    m[i] = betas[0] * m[i] + (1.0 - betas[0]) * g;
                    v[i] = betas[1] * v[i] + (1.0 - betas[1]) * g * g;
                    let m_hat: f64 = m[i] / (1.0 - betas[0].powi(t));
                    let v_hat: f64 = v[i] / (1.0 - betas[1].powi(t));
                    expected[i] -= rate * m_hat / (v_hat.sqrt() + eps);
                }
            }
            for (found, expected) in w.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }
}
