//! Sums over the rows of a matrix, for each column: all of a pass in one reading of the memory.
//!
//! Neighbouring columns are summed together in registers, blocks of rows in the layer's own
//! precision, the blocks in f64. Threads share the columns, so the order of additions is always the
//! same.

use crate::train::kernel::Real;
use crate::train::kernel::parallel::for_each_block;
use crate::train::kernel::simd::vectorized;

/// Rows that are summed in the layer's own precision before they are added up in f64.
const ROWS: usize = 64;

/// Columns that one thread takes at a time.
const COLUMNS: usize = 32;

/// Mean and spread of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// Sum of the squared distances from it.
    pub squares: f64,
}

/// What the gradients of a column are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GradientSums {
    /// Sum of dy.
    pub plain: f64,
    /// Sum of (x - mean) dy.
    pub weighted: f64,
}

/// Something summed over all rows of neighbouring columns. Implementations mark the method
/// `#[inline(always)]`.
trait Columns: Sync {
    /// What is known of a column in the end.
    type Sum: Send;

    /// Sums W columns from `first` on.
    fn sum<const W: usize>(&self, first: usize, out: &mut [Self::Sum]);
}

/// Sums every column, as many together as fit.
fn sum_columns<C: Columns>(columns: &C, out: &mut [C::Sum]) {
    for_each_block(out, COLUMNS, |start, out| {
        vectorized(
            #[inline(always)]
            || {
                let mut done = 0;
                while done < out.len() {
                    let (first, rest) = (start + done, &mut out[done..]);
                    done += match rest.len() {
                        32.. => {
                            columns.sum::<32>(first, rest);
                            32
                        }
                        16.. => {
                            columns.sum::<16>(first, rest);
                            16
                        }
                        8.. => {
                            columns.sum::<8>(first, rest);
                            8
                        }
                        _ => {
                            columns.sum::<1>(first, rest);
                            1
                        }
                    };
                }
            },
        );
    });
}

/// A matrix by rows.
struct MomentColumns<'a, T> {
    x: &'a [T],
    columns: usize,
}

impl<T: Real> MomentColumns<'_, T> {
    /// Means of W columns over the first block.
    #[inline(always)]
    fn first_mean<const W: usize>(&self, first: usize) -> [f64; W] {
        let rows = ROWS.min(self.x.len() / self.columns);
        let mut mean = [0.0; W];
        for row in self.x.chunks_exact(self.columns).take(rows) {
            for (mean, x) in mean.iter_mut().zip(&row[first..first + W]) {
                *mean += x.wide();
            }
        }
        mean.map(|sum| sum / rows as f64)
    }
}

impl<T: Real> Columns for MomentColumns<'_, T> {
    type Sum = Moments;

    /// Sums distances and squared distances from the mean of the blocks before (the first block's
    /// own at first) and joins each block to these (Chan, Golub and LeVeque, 1979). With M the
    /// total, n rows in a block and a centre off by d, n d^2 <= 2 M, since at least n rows came
    /// before: the relative error stays that of summing one block, however large the mean is beside
    /// the deviation, and whatever outliers there are.
    #[inline(always)]
    fn sum<const W: usize>(&self, first: usize, out: &mut [Moments]) {
        let mut mean = self.first_mean::<W>(first);
        let mut total = [0.0; W];
        let mut before = 0.0;
        for block in self.x.chunks(ROWS * self.columns) {
            let centre: [T; W] = std::array::from_fn(|i| T::of(mean[i]));
            let (mut sum, mut squares) = ([T::ZERO; W], [T::ZERO; W]);
            for row in block.chunks_exact(self.columns) {
                let row = &row[first..first + W];
                for i in 0..W {
                    let distance = row[i] - centre[i];
                    sum[i] += distance;
                    squares[i] += distance * distance;
                }
            }
            let rows = (block.len() / self.columns) as f64;
            let share = rows / (before + rows);
            for i in 0..W {
                let off = sum[i].wide() / rows;
                // From the blocks' mean to this block's.
                let step = centre[i].wide() + off - mean[i];
                total[i] += squares[i].wide() - sum[i].wide() * off + step * step * before * share;
                mean[i] += step * share;
            }
            before += rows;
        }
        for (out, (mean, squares)) in out.iter_mut().zip(mean.into_iter().zip(total)) {
            // Rounding may leave a constant column a little below 0.
            *out = Moments { mean, squares: if squares < 0.0 { 0.0 } else { squares } };
        }
    }
}

/// Mean and spread of every column of `x`, (rows, columns), with `out` as long as a row; at least
/// one row.
pub fn moments<T: Real>(x: &[T], out: &mut [Moments]) {
    sum_columns(&MomentColumns { x, columns: out.len() }, out);
}

/// Two matrices by rows and what is taken from the first.
struct GradientColumns<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    mean: &'a [T],
}

impl<T: Real> Columns for GradientColumns<'_, T> {
    type Sum = GradientSums;

    #[inline(always)]
    fn sum<const W: usize>(&self, first: usize, out: &mut [GradientSums]) {
        let columns = self.mean.len();
        let mean: [T; W] = std::array::from_fn(|i| self.mean[first + i]);
        let mut totals = [GradientSums::default(); W];
        let blocks = self.x.chunks(ROWS * columns).zip(self.dy.chunks(ROWS * columns));
        for (x, dy) in blocks {
            let (mut plain, mut weighted) = ([T::ZERO; W], [T::ZERO; W]);
            for (x, dy) in x.chunks_exact(columns).zip(dy.chunks_exact(columns)) {
                let (x, dy) = (&x[first..first + W], &dy[first..first + W]);
                for i in 0..W {
                    plain[i] += dy[i];
                    weighted[i] += (x[i] - mean[i]) * dy[i];
                }
            }
            for (total, (plain, weighted)) in totals.iter_mut().zip(plain.iter().zip(weighted)) {
                total.plain += plain.wide();
                total.weighted += weighted.wide();
            }
        }
        out[..W].copy_from_slice(&totals);
    }
}

/// The sums of every column of `x` and `dy`, (rows, columns), with `mean` and `out` as long as a
/// row.
pub fn gradient_sums<T: Real>(x: &[T], dy: &[T], mean: &[T], out: &mut [GradientSums]) {
    sum_columns(&GradientColumns { x, dy, mean }, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two passes of the definition, in f64.
    fn expected(x: &[f32], columns: usize, column: usize) -> Moments {
        let values: Vec<f64> =
            x.iter().skip(column).step_by(columns).map(|&x| f64::from(x)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Moments { mean, squares: values.iter().map(|x| (x - mean).powi(2)).sum() }
    }

    fn check(columns: usize, rows: usize, value: impl Fn(usize) -> f64) {
        let x: Vec<f32> = (0..rows * columns).map(|i| value(i) as f32).collect();
        let mut found = vec![Moments::default(); columns];
        moments(&x, &mut found);
        for (column, found) in found.iter().enumerate() {
            let expected = expected(&x, columns, column);
            let deviation = (expected.squares / rows as f64).sqrt();
            assert!(
                (found.mean - expected.mean).abs() <= 1e-5 * deviation,
                "{found:?} {expected:?}"
            );
            let error = (found.squares - expected.squares).abs();
            assert!(error <= 1e-5 * expected.squares, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn moments_are_those_of_the_definition_for_any_number_of_columns_and_rows() {
        for columns in [1, 7, 8, 16, 31, 32, 33, 61, 96] {
            for rows in [1, 2, 63, 64, 65, 300] {
                check(columns, rows, |i| (i as f64 * 0.73).sin());
            }
        }
    }

    #[test]
    fn a_mean_far_from_0_an_outlier_and_a_drift_cost_no_digits() {
        check(9, 500, |i| 1000.0 + (i as f64 * 0.73).sin());
        check(8, 640, |i| if i < 8 { 1e6 } else { (i as f64 * 0.73).sin() });
        check(16, 640, |i| (i as f64) * 0.5);
    }

    #[test]
    fn a_constant_has_no_spread_and_nan_is_not_lost() {
        let mut found = [Moments::default(); 3];
        moments(&[0.1_f32; 300], &mut found);
        assert!(found.iter().all(|m| m.squares == 0.0 && m.mean == f64::from(0.1_f32)));
        moments(&[1.0, f32::NAN, 2.0], &mut found);
        assert!(found[1].mean.is_nan() && found[1].squares.is_nan() && !found[2].mean.is_nan());
    }

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        let x: Vec<f32> = (0..70 * 100).map(|i| (i as f32 * 0.37).sin()).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut m, mut g) = (vec![Moments::default(); 70], vec![Default::default(); 70]);
                moments(&x, &mut m);
                gradient_sums(&x, &x, &x[..70], &mut g);
                (m, g)
            })
        };
        assert_eq!(run(1), run(3));
    }
}
