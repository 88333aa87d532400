//! The norm of a lane's gradients, and clipping by it (Pascanu et al., 2013), as PyTorch's
//! `clip_grad_norm_` defines both.
//!
//! The gradients come in as backward left them; the norm and a factor go out. The update multiplies
//! by the factor as it reads the gradient, which saves a pass over all of them.

#[path = "norms_accelerated.rs"]
mod accelerated;

use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::kernel::parallel::{BLOCK, for_each_block};
use crate::train::kernel::simd::vectorized;
use crate::train::lane_set::LaneSet;
use crate::train::layer::Parameter;

/// Added to the norm before it divides, as PyTorch does.
const EPS: f64 = 1e-6;

/// Measures the gradients of all lanes; keeps its memory from step to step.
#[derive(Debug, Default)]
pub struct GradientNorms {
    /// Sums of squares of the blocks of one parameter.
    blocks: Vec<f64>,
    /// The norm of every lane.
    norms: Vec<f64>,
    /// On an accelerator.
    kept: accelerated::Kept,
}

impl GradientNorms {
    /// The Euclidean norm of the gradients of each of `lanes`, all its parameters together; 0 of the
    /// others. Squares are summed in
    /// f64 over fixed blocks and the blocks in order: the same bits on any number of threads.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn measure<'a, T: Real>(
        &mut self,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
        lanes: &LaneSet,
    ) -> Result<&[f64], TrainError> {
        self.norms.clear();
        self.norms.resize(lanes.group(), 0.0);
        let mut parameters = parameters.peekable();
        let first = parameters.peek().and_then(|parameter| parameter.gradient.accelerator());
        if let Some(accelerator) = first {
            self.add_squares_on(&accelerator, parameters.by_ref(), lanes)?;
        }
        for parameter in parameters {
            let gradient = parameter.gradient.read()?;
            for lane in parameter.lanes.iter().filter(|lane| lanes.contains(*lane)) {
                let numbers = gradient.lane(lane, parameter.len());
                self.blocks.clear();
                self.blocks.resize(numbers.len().div_ceil(BLOCK), 0.0);
                for_each_block(&mut self.blocks, 1, |block, sum| {
                    let start = block * BLOCK;
                    let end = (start + BLOCK).min(numbers.len());
                    sum[0] = sum_of_squares(&numbers[start..end]);
                });
                let norm = &mut self.norms[lane];
                *norm = self.blocks.iter().fold(*norm, |sum, block| sum + block);
            }
        }
        self.norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
        Ok(&self.norms)
    }

    /// The norms last measured, one for every lane.
    pub fn last(&self) -> &[f64] {
        &self.norms
    }
}

/// What clips a gradient of that norm to `limit`: 1 where it is short enough, or the limit is 0.
pub fn scale(norm: f64, limit: f64) -> f64 {
    if limit == 0.0 { 1.0 } else { (limit / (norm + EPS)).min(1.0) }
}

/// The sum of squares, in eight partial sums in f64.
fn sum_of_squares<T: Real>(numbers: &[T]) -> f64 {
    const PARTIAL: usize = 8;
    vectorized(
        #[inline(always)]
        || {
            let mut partial = [0.0; PARTIAL];
            let mut chunks = numbers.chunks_exact(PARTIAL);
            for chunk in &mut chunks {
                for (sum, &x) in partial.iter_mut().zip(chunk) {
                    *sum += x.wide() * x.wide();
                }
            }
            let whole = partial.iter().fold(0.0, |sum, x| sum + x);
            chunks.remainder().iter().fold(whole, |sum, x| sum + x.wide() * x.wide())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::parameter::{Start, StorageOrder};

    fn parameter(lanes: usize, len: usize, by: f32) -> Parameter<f32> {
        let (order, start) = (StorageOrder::Saved, Start::Constant(0.0));
        let mut p = Parameter::new("p".to_owned(), lanes, vec![len], order, start).unwrap();
        let wave = |x: &mut [f32]| {
            x.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f32 * by).sin());
        };
        p.gradient.write(wave).unwrap();
        p
    }

    #[test]
    fn norms_are_those_of_all_parameters_of_a_lane_on_any_number_of_threads() {
        let parameters = [parameter(2, 2 * BLOCK + 3, 0.7), parameter(2, 5, 0.3)];
        let expected: Vec<f64> = (0..2)
            .map(|lane| {
                let squares = parameters.iter().map(|p| {
                    let gradient = p.gradient.read().unwrap();
                    let lane = gradient.lane(lane, p.len());
                    lane.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
                });
                squares.sum::<f64>().sqrt()
            })
            .collect();
        let mut all = Vec::new();
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut norms = GradientNorms::default();
            pool.install(|| norms.measure(parameters.iter(), &LaneSet::all(2)).unwrap().to_vec());
            all.push(norms.last().to_vec());
        }
        assert!(all.iter().all(|norms| *norms == all[0]));
        for (found, expected) in all[0].iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-13, "{found} {expected}");
        }
    }

    /// `clip_grad_norm_` of torch 2.11.0: 3, 4 with 2.5 become 1.4999997 and 1.9999996.
    #[test]
    fn long_gradients_are_scaled_as_pytorch_scales_them_and_short_ones_left_alone() {
        let long = scale(5.0, 2.5);
        assert!((3.0 * long - 1.499_999_7).abs() < 1e-7 && (long - 2.5 / 5.000_001).abs() < 1e-15);
        assert_eq!([scale(1.0, 2.5), scale(5.0, 0.0), scale(0.0, 1.0)], [1.0; 3]);
        assert!(scale(f64::NAN, 1.0) <= 1.0);
    }
}
