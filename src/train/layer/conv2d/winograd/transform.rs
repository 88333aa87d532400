//! The transforms of Winograd's F(4x4, 3x3) (Lavin and Gray, 2016, section 4.3) and F(2x2, 5x5):
//! linear maps along one axis of a tile, applied along both, for several channels at once.
//!
//! With d a row of 6 inputs, w of 3 weights and y of 4 outputs, or of 5 and 2:
//! y = A^T ((G w) * (B^T d)). The gradients are the transposes of the same maps. Both interpolate at
//! the points 0, 1, -1, 2, -2 and infinity, so B is the same; row i of G is the powers of point i
//! divided by the product of its distances to the others, and row i of A its powers.

use std::ops::{Add, Mul, Sub};

use crate::train::kernel::Real;

/// Channels that go through a transform together: a register of f32 in AVX2.
pub const WIDTH: usize = 8;

/// Inputs of a tile along one axis.
pub const INPUTS: usize = 6;

/// Numbers of neighbouring channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block<T>(pub [T; WIDTH]);

impl<T: Real> Block<T> {
    /// Zeros.
    pub const ZERO: Self = Self([T::ZERO; WIDTH]);

    /// The first numbers of a slice.
    #[inline(always)]
    pub fn load(numbers: &[T]) -> Self {
        Self(*numbers.first_chunk().expect("invariant: channels come in whole blocks"))
    }

    /// Overwrites the first numbers of a slice.
    #[inline(always)]
    pub fn store(self, numbers: &mut [T]) {
        *numbers.first_chunk_mut().expect("invariant: channels come in whole blocks") = self.0;
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

/// The maps of F(OUTPUTS x OUTPUTS, TAPS x TAPS) that depend on these, along one axis.
pub trait Filtering<const OUTPUTS: usize, const TAPS: usize> {
    /// A^T m: to outputs.
    fn output<T: Real>(m: [Block<T>; INPUTS]) -> [Block<T>; OUTPUTS];

    /// A y: from the gradient of outputs.
    fn output_gradient<T: Real>(y: [Block<T>; OUTPUTS]) -> [Block<T>; INPUTS];

    /// G w: from weights.
    fn weight<T: Real>(w: [Block<T>; TAPS]) -> [Block<T>; INPUTS];

    /// G^T u: to the gradient of weights.
    fn weight_gradient<T: Real>(u: [Block<T>; INPUTS]) -> [Block<T>; TAPS];
}

/// The maps.
#[derive(Debug, Clone, Copy)]
pub struct Maps;

impl Filtering<4, 3> for Maps {
    #[inline(always)]
    fn output<T: Real>(m: [Block<T>; 6]) -> [Block<T>; 4] {
        let (sum, difference) = (m[1] + m[2], m[1] - m[2]);
        let (far_sum, far_difference) = (m[3] + m[4], m[3] - m[4]);
        [
            m[0] + sum + far_sum,
            difference + far_difference * 2.0,
            sum + far_sum * 4.0,
            difference + far_difference * 8.0 + m[5],
        ]
    }

    #[inline(always)]
    fn output_gradient<T: Real>(y: [Block<T>; 4]) -> [Block<T>; 6] {
        let (even, odd) = (y[0] + y[2], y[1] + y[3]);
        let (far_even, far_odd) = (y[0] + y[2] * 4.0, y[1] * 2.0 + y[3] * 8.0);
        [y[0], even + odd, even - odd, far_even + far_odd, far_even - far_odd, y[3]]
    }

    #[inline(always)]
    fn weight<T: Real>(w: [Block<T>; 3]) -> [Block<T>; 6] {
        let (even, odd) = ((w[0] + w[2]) * (-1.0 / 6.0), w[1] * (1.0 / 6.0));
        let (far_even, far_odd) = (w[0] * (1.0 / 24.0) + w[2] * (1.0 / 6.0), w[1] * (1.0 / 12.0));
        [w[0] * 0.25, even - odd, even + odd, far_even + far_odd, far_even - far_odd, w[2]]
    }

    #[inline(always)]
    fn weight_gradient<T: Real>(u: [Block<T>; 6]) -> [Block<T>; 3] {
        let (sum, difference) = ((u[1] + u[2]) * (-1.0 / 6.0), (u[2] - u[1]) * (1.0 / 6.0));
        let (far_sum, far_difference) = (u[3] + u[4], u[3] - u[4]);
        [
            u[0] * 0.25 + sum + far_sum * (1.0 / 24.0),
            difference + far_difference * (1.0 / 12.0),
            sum + far_sum * (1.0 / 6.0) + u[5],
        ]
    }
}

impl Filtering<2, 5> for Maps {
    #[inline(always)]
    fn output<T: Real>(m: [Block<T>; 6]) -> [Block<T>; 2] {
        [m[0] + (m[1] + m[2]) + (m[3] + m[4]), (m[1] - m[2]) + (m[3] - m[4]) * 2.0 + m[5]]
    }

    #[inline(always)]
    fn output_gradient<T: Real>(y: [Block<T>; 2]) -> [Block<T>; 6] {
        let far = y[1] * 2.0;
        [y[0], y[0] + y[1], y[0] - y[1], y[0] + far, y[0] - far, y[1]]
    }

    #[inline(always)]
    fn weight<T: Real>(w: [Block<T>; 5]) -> [Block<T>; 6] {
        let (even, odd) = ((w[0] + w[2] + w[4]) * (-1.0 / 6.0), (w[1] + w[3]) * (1.0 / 6.0));
        let far_even = w[0] * (1.0 / 24.0) + w[2] * (1.0 / 6.0) + w[4] * (2.0 / 3.0);
        let far_odd = w[1] * (1.0 / 12.0) + w[3] * (1.0 / 3.0);
        [w[0] * 0.25, even - odd, even + odd, far_even + far_odd, far_even - far_odd, w[4]]
    }

    #[inline(always)]
    fn weight_gradient<T: Real>(u: [Block<T>; 6]) -> [Block<T>; 5] {
        let (sum, difference) = ((u[1] + u[2]) * (-1.0 / 6.0), (u[2] - u[1]) * (1.0 / 6.0));
        let (far_sum, far_difference) = (u[3] + u[4], u[3] - u[4]);
        [
            u[0] * 0.25 + sum + far_sum * (1.0 / 24.0),
            difference + far_difference * (1.0 / 12.0),
            sum + far_sum * (1.0 / 6.0),
            difference + far_difference * (1.0 / 3.0),
            sum + far_sum * (2.0 / 3.0) + u[5],
        ]
    }
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
        same(matrix(<Maps as Filtering<4, 3>>::output), A_T);
        same(matrix(<Maps as Filtering<4, 3>>::output_gradient), transposed(A_T));
        same(matrix(<Maps as Filtering<4, 3>>::weight), G);
        same(matrix(<Maps as Filtering<4, 3>>::weight_gradient), transposed(G));
    }

    /// Row i: the powers of point i, over `divisor(i)`; at infinity only the highest counts.
    fn powers<const N: usize>(divisor: impl Fn(usize) -> f64) -> [[f64; N]; 6] {
        const POINTS: [f64; 5] = [0.0, 1.0, -1.0, 2.0, -2.0];
        std::array::from_fn(|i| {
            std::array::from_fn(|power| match POINTS.get(i) {
                Some(point) => point.powi(power as i32) / divisor(i),
                None => f64::from(u8::from(power + 1 == N)),
            })
        })
    }

    #[test]
    fn all_maps_are_powers_of_the_points() {
        let divisor = |i: usize| [4.0, -6.0, -6.0, 24.0, 24.0][i];
        same(powers::<3>(divisor), G);
        same(transposed(powers::<4>(|_| 1.0)), A_T);
        let (a, g) = (powers::<2>(|_| 1.0), powers::<5>(divisor));
        same(matrix(<Maps as Filtering<2, 5>>::output), transposed(a));
        same(matrix(<Maps as Filtering<2, 5>>::output_gradient), a);
        same(matrix(<Maps as Filtering<2, 5>>::weight), g);
        same(matrix(<Maps as Filtering<2, 5>>::weight_gradient), transposed(g));
    }
}
