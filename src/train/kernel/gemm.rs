//! Matrix products on slices: the one place that calls the `gemm` crate, whose interface is raw
//! pointers. Every bound is checked here, so callers cannot go wrong.
#![expect(
    unsafe_code,
    reason = "the gemm crate takes pointers; all bounds are asserted before the call"
)]

use super::Real;
use super::parallel::threads;

/// A matrix in a slice: element (i, j) is `data[i * row_stride + j * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix without gaps.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// One more than the last index that is read; `None` where it exceeds the numbers of the
    /// machine.
    fn extent(&self) -> Option<usize> {
        if self.rows == 0 || self.columns == 0 {
            return Some(0);
        }
        let last_row = (self.rows - 1).checked_mul(self.row_stride)?;
        let last_column = (self.columns - 1).checked_mul(self.column_stride)?;
        last_row.checked_add(last_column)?.checked_add(1)
    }
}

/// What a product does with the numbers that are already in its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// They are overwritten.
    Replace,
    /// The product is added to them.
    Add,
}

/// `out = lhs * rhs`, or `out += lhs * rhs`; `out` is row-major, (rows of `lhs`, columns of `rhs`),
/// without gaps. One thread. The same shapes and numbers give the same bits, and
/// [`shared_product`] gives them too.
///
/// # Panics
/// When the shapes do not fit each other or the slices.
pub fn product<T: Real>(out: &mut [T], lhs: Matrix<'_, T>, rhs: Matrix<'_, T>, output: Output) {
    multiply(out, (lhs, rhs), output, gemm::Parallelism::None);
}

/// [`product`], shared among the threads of the current pool: they divide rows and columns, never a
/// sum.
///
/// # Panics
/// As [`product`] does.
pub fn shared_product<T: Real>(
    out: &mut [T],
    lhs: Matrix<'_, T>,
    rhs: Matrix<'_, T>,
    output: Output,
) {
    let parallelism = match threads() {
        1 => gemm::Parallelism::None,
        threads => gemm::Parallelism::Rayon(threads),
    };
    multiply(out, (lhs, rhs), output, parallelism);
}

fn multiply<T: Real>(
    out: &mut [T],
    (lhs, rhs): (Matrix<'_, T>, Matrix<'_, T>),
    output: Output,
    parallelism: gemm::Parallelism,
) {
    let (m, n, k) = (lhs.rows, rhs.columns, lhs.columns);
    assert_eq!(k, rhs.rows, "invariant: the inner extents of a matrix product are equal");
    assert_eq!(Some(out.len()), m.checked_mul(n), "invariant: the output is (m, n)");
    assert!(
        lhs.extent().is_some_and(|extent| extent <= lhs.data.len()),
        "invariant: lhs in bounds"
    );
    assert!(
        rhs.extent().is_some_and(|extent| extent <= rhs.data.len()),
        "invariant: rhs in bounds"
    );
    let add = output == Output::Add;
    if out.is_empty() {
        return;
    }
    if k == 0 {
        if !add {
            out.fill(T::ZERO);
        }
        return;
    }
    // SAFETY: `out` has exactly m * n elements, row-major; the largest index that the strides of
    // `lhs` and `rhs` reach lies inside their slices (asserted above); strides of slices fit isize;
    // the exclusive borrow of `out` keeps it apart from both inputs; T is f32 or f64 (`Real` has no
    // other implementor), which gemm knows.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, factor: f64) -> Vec<f64> {
        (0..n).map(|i| ((i as f64) * factor).sin()).collect()
    }

    #[test]
    fn products_equal_their_definition_in_every_transposition() {
        let (m, n, k) = (7, 5, 11);
        let (a, b) = (numbers(m * k, 0.7), numbers(k * n, 1.3));
        for (lhs_transposed, rhs_transposed) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let lhs = if lhs_transposed {
                Matrix::new(&a, k, m).transposed()
            } else {
                Matrix::new(&a, m, k)
            };
            let rhs = if rhs_transposed {
                Matrix::new(&b, n, k).transposed()
            } else {
                Matrix::new(&b, k, n)
            };
            let mut out = vec![1.0; m * n];
            product(&mut out, lhs, rhs, Output::Add);
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k)
                        .map(|p| {
                            let left = if lhs_transposed { a[p * m + i] } else { a[i * k + p] };
                            let right = if rhs_transposed { b[j * k + p] } else { b[p * n + j] };
                            left * right
                        })
                        .sum();
                    assert!((out[i * n + j] - 1.0 - sum).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn replacing_ignores_what_was_there() {
        let mut out = vec![f32::NAN; 4];
        let one = [1.0_f32, 2.0, 3.0, 4.0];
        product(&mut out, Matrix::new(&one, 2, 2), Matrix::new(&one, 2, 2), Output::Replace);
        assert_eq!(out, [7.0, 10.0, 15.0, 22.0]);
    }

    #[test]
    #[should_panic(expected = "rhs in bounds")]
    fn a_matrix_longer_than_its_slice_is_refused() {
        let mut out = [0.0_f32; 4];
        let short = [0.0; 3];
        product(&mut out, Matrix::new(&[0.0; 4], 2, 2), Matrix::new(&short, 2, 2), Output::Replace);
    }
}
