//! The transforms of Winograd's F(4x4, 3x3) (Lavin and Gray, 2016, section 4.3): linear maps along
//! one axis of a tile, applied along both, for several channels at once.
//!
//! With d a row of 6 inputs, w of 3 weights and y of 4 outputs: y = A^T ((G w) * (B^T d)). The
//! gradients are the transposes of the same maps.

use std::ops::{Add, Mul, Sub};

use crate::train::kernel::Real;

/// Channels that go through a transform together: a register of f32 in AVX2.
pub const WIDTH: usize = 8;

/// Inputs of a tile along one axis.
pub const INPUTS: usize = 6;

/// Outputs of a tile along one axis.
pub const OUTPUTS: usize = 4;

/// Numbers of neighbouring channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block<T>(pub [T; WIDTH]);

impl<T: Real> Block<T> {
    /// Zeros.
    pub const ZERO: Self = Self([T::ZERO; WIDTH]);

    /// The first numbers of a slice; zeros where it is shorter.
    #[inline(always)]
    pub fn load(numbers: &[T]) -> Self {
        if let Some(numbers) = numbers.first_chunk() {
            return Self(*numbers);
        }
        let mut block = Self::ZERO;
        block.0[..numbers.len()].copy_from_slice(numbers);
        block
    }

    /// Overwrites the first numbers of a slice, as many as it has.
    #[inline(always)]
    pub fn store(self, numbers: &mut [T]) {
        if let Some(numbers) = numbers.first_chunk_mut() {
            *numbers = self.0;
        } else {
            numbers.copy_from_slice(&self.0[..numbers.len()]);
        }
    }

    #[inline(always)]
    fn map(self, f: impl Fn(T) -> T) -> Self {
        let mut out = self;
        for x in &mut out.0 {
            *x = f(*x);
        }
        out
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        let mut out = self;
        for (x, &y) in out.0.iter_mut().zip(&other.0) {
            *x = f(*x, y);
        }
        out
    }
}

impl<T: Real> Add for Block<T> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            |x, y| x + y,
        )
    }
}

impl<T: Real> Sub for Block<T> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            |x, y| x - y,
        )
    }
}

impl<T: Real> Mul<f64> for Block<T> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, factor: f64) -> Self {
        let factor = T::of(factor);
        self.map(
            #[inline(always)]
            |x| x * factor,
        )
    }
}

/// B^T d: from inputs.
#[inline(always)]
pub fn input<T: Real>(d: [Block<T>; 6]) -> [Block<T>; 6] {
    let (even, odd) = (d[4] - d[2] * 4.0, d[3] - d[1] * 4.0);
    let (outer, inner) = (d[4] - d[2], (d[3] - d[1]) * 2.0);
    [
        d[0] * 4.0 - d[2] * 5.0 + d[4],
        even + odd,
        even - odd,
        outer + inner,
        outer - inner,
        d[1] * 4.0 - d[3] * 5.0 + d[5],
    ]
}

/// B v: to the gradient of inputs.
#[inline(always)]
pub fn input_gradient<T: Real>(v: [Block<T>; 6]) -> [Block<T>; 6] {
    let (sum, difference) = (v[1] + v[2], v[2] - v[1]);
    let (far_sum, far_difference) = (v[3] + v[4], (v[4] - v[3]) * 2.0);
    [
        v[0] * 4.0,
        difference * 4.0 + far_difference + v[5] * 4.0,
        v[0] * -5.0 - sum * 4.0 - far_sum,
        v[5] * -5.0 - difference - far_difference,
        v[0] + sum + far_sum,
        v[5],
    ]
}

/// A^T m: to outputs.
#[inline(always)]
pub fn output<T: Real>(m: [Block<T>; 6]) -> [Block<T>; 4] {
    let (sum, difference) = (m[1] + m[2], m[1] - m[2]);
    let (far_sum, far_difference) = (m[3] + m[4], m[3] - m[4]);
    [
        m[0] + sum + far_sum,
        difference + far_difference * 2.0,
        sum + far_sum * 4.0,
        difference + far_difference * 8.0 + m[5],
    ]
}

/// A y: from the gradient of outputs.
#[inline(always)]
pub fn output_gradient<T: Real>(y: [Block<T>; 4]) -> [Block<T>; 6] {
    let (even, odd) = (y[0] + y[2], y[1] + y[3]);
    let (far_even, far_odd) = (y[0] + y[2] * 4.0, y[1] * 2.0 + y[3] * 8.0);
    [y[0], even + odd, even - odd, far_even + far_odd, far_even - far_odd, y[3]]
}

/// G w: from weights.
#[inline(always)]
pub fn weight<T: Real>(w: [Block<T>; 3]) -> [Block<T>; 6] {
    let (even, odd) = ((w[0] + w[2]) * (-1.0 / 6.0), w[1] * (1.0 / 6.0));
    let (far_even, far_odd) = (w[0] * (1.0 / 24.0) + w[2] * (1.0 / 6.0), w[1] * (1.0 / 12.0));
    [w[0] * 0.25, even - odd, even + odd, far_even + far_odd, far_even - far_odd, w[2]]
}

/// G^T u: to the gradient of weights.
#[inline(always)]
pub fn weight_gradient<T: Real>(u: [Block<T>; 6]) -> [Block<T>; 3] {
    let (sum, difference) = ((u[1] + u[2]) * (-1.0 / 6.0), (u[2] - u[1]) * (1.0 / 6.0));
    let (far_sum, far_difference) = (u[3] + u[4], u[3] - u[4]);
    [
        u[0] * 0.25 + sum + far_sum * (1.0 / 24.0),
        difference + far_difference * (1.0 / 12.0),
        sum + far_sum * (1.0 / 6.0) + u[5],
    ]
}

/// Applies a map of one axis to both axes of a square.
#[inline(always)]
pub fn both<T: Real, const FROM: usize, const TO: usize>(
    square: &[[Block<T>; FROM]; FROM],
    map: impl Fn([Block<T>; FROM]) -> [Block<T>; TO],
) -> [[Block<T>; TO]; TO] {
    let mut half = [[Block::ZERO; FROM]; TO];
    for column in 0..FROM {
        let mut along = [Block::ZERO; FROM];
        for (row, block) in along.iter_mut().enumerate() {
            *block = square[row][column];
        }
        for (row, block) in map(along).into_iter().enumerate() {
            half[row][column] = block;
        }
    }
    let mut out = [[Block::ZERO; TO]; TO];
    for (out, along) in out.iter_mut().zip(half) {
        *out = map(along);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrices as printed in the paper.
    const B_T: [[f64; 6]; 6] = [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ];
    const G: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    const A_T: [[f64; 6]; 4] = [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ];

    /// Applies a map to unit vectors: its matrix, (TO, FROM).
    fn matrix<const FROM: usize, const TO: usize>(
        map: impl Fn([Block<f64>; FROM]) -> [Block<f64>; TO],
    ) -> [[f64; FROM]; TO] {
        let mut matrix = [[0.0; FROM]; TO];
        for column in 0..FROM {
            let mut unit = [Block::ZERO; FROM];
            unit[column] = Block([1.0; WIDTH]);
            for (row, block) in map(unit).iter().enumerate() {
                matrix[row][column] = block.0[WIDTH - 1];
            }
        }
        matrix
    }

    fn transposed<const A: usize, const B: usize>(matrix: [[f64; A]; B]) -> [[f64; B]; A] {
        let mut out = [[0.0; B]; A];
        for (i, row) in matrix.iter().enumerate() {
            for (j, &x) in row.iter().enumerate() {
                out[j][i] = x;
            }
        }
        out
    }

    fn same<const A: usize, const B: usize>(found: [[f64; A]; B], expected: [[f64; A]; B]) {
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
    }

    #[test]
    fn the_maps_are_the_matrices_of_the_paper_and_their_transposes() {
        same(matrix(input), B_T);
        same(matrix(input_gradient), transposed(B_T));
        same(matrix(output), A_T);
        same(matrix(output_gradient), transposed(A_T));
        same(matrix(weight), G);
        same(matrix(weight_gradient), transposed(G));
    }

    #[test]
    fn a_slice_shorter_than_a_block_is_filled_with_zeros() {
        let block = Block::load(&[1.0_f64, 2.0, 3.0]);
        assert_eq!(block.0, [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let mut out = [9.0; 3];
        block.store(&mut out);
        assert_eq!(out, [1.0, 2.0, 3.0]);
    }
}
