//! Stochastic gradient descent, as PyTorch defines it: weight decay is added to the gradient, and
//! the rate multiplies the momentum, not what flows into it.

use super::Update;
use crate::train::kernel::Real;
use crate::train::kernel::simd::vectorized;

/// w -= lr (c g + decay w), with c what clipping scales the gradient by.
pub fn plain<T: Real>(update: Update<'_, T>) {
    let Update { value, gradient, factors } = update;
    let (rate, decay) = (T::of(factors.rate), T::of(factors.weight_decay));
    let clip = T::of(factors.scale);
    vectorized(
        #[inline(always)]
        || {
            for (w, &g) in value.iter_mut().zip(gradient) {
                *w -= rate * (clip * g + decay * *w);
            }
        },
    );
}

/// g' = c g + decay w; v = momentum v + g'; w -= lr v, or with Nesterov's look ahead
/// w -= lr (g' + momentum v). The velocity starts at 0, so its first value is g'.
pub fn with_momentum<T: Real>(
    update: Update<'_, T>,
    velocity: &mut [T],
    momentum: f64,
    nesterov: bool,
) {
    let Update { value, gradient, factors } = update;
    let (rate, decay) = (T::of(factors.rate), T::of(factors.weight_decay));
    let clip = T::of(factors.scale);
    let momentum = T::of(momentum);
    // w -= lr (a g' + b v)
    let (a, b) = if nesterov { (T::ONE, momentum) } else { (T::ZERO, T::ONE) };
    vectorized(
        #[inline(always)]
        || {
            for ((w, &g), v) in value.iter_mut().zip(gradient).zip(velocity) {
                let g = clip * g + decay * *w;
                *v = momentum * *v + g;
                *w -= rate * (a * g + b * *v);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optim::Factors;

    /// Gradient of a crooked bowl.
    fn gradient(w: f64) -> f64 {
        w.powi(3) + 0.5 * w - 0.2
    }

    #[test]
    fn steps_follow_pytorchs_definition() {
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let (rate, weight_decay) = (0.1, 0.01);
            let mut w = [1.5_f32, -0.7];
            let mut velocity = [0.0; 2];
            // PyTorch's pseudo code, in f64: the buffer is the gradient itself at first.
            let mut expected = [1.5_f64, -0.7];
            let mut buffer: [Option<f64>; 2] = [None; 2];
            for _ in 0..20 {
                let g = w.map(|w| gradient(f64::from(w)) as f32);
                let factors = Factors { rate, weight_decay, scale: 1.0 };
                let update = Update { value: &mut w, gradient: &g, factors };
                if momentum == 0.0 {
                    plain(update);
                } else {
                    with_momentum(update, &mut velocity, momentum, nesterov);
                }
                for (w, buffer) in expected.iter_mut().zip(&mut buffer) {
                    let g = gradient(*w) + weight_decay * *w;
                    let direction = if momentum == 0.0 {
                        g
                    } else {
                        let b = buffer.map_or(g, |b| momentum * b + g);
                        *buffer = Some(b);
                        if nesterov { g + momentum * b } else { b }
                    };
                    *w -= rate * direction;
                }
            }
            for (found, expected) in w.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }
}
