//! The numbers that kernels compute with: f32 in training, f64 where a test checks gradients by
//! finite differences and needs the digits.
//!
//! Exponential and tangent are written for f32 as straight-line polynomials, so that a loop over
//! them vectorises; the C library's functions cost 5 to 30 ns each and do not.

use std::fmt::Debug;

use candle_core::{CpuStorage, WithDType};

/// Something that a [`Buffer`](super::Buffer) can hold.
pub trait Element: WithDType + Debug + Default {
    /// The numbers in a storage, or none if it holds another type.
    fn lend(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

/// A floating-point number that layers compute with.
pub trait Real: Element {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// The nearest number to `x`.
    fn of(x: f64) -> Self;

    /// The same number in f64.
    fn wide(self) -> f64;

    /// e^x. In f32 within 2 units of the last place over (-87.3, 88.3) and clamped outside of it.
    fn exp(self) -> Self;

    /// The hyperbolic tangent. In f32 within 4e-7 of the true value.
    fn tanh(self) -> Self;

    /// The square root.
    fn sqrt(self) -> Self;
}

impl Element for u32 {
    fn lend(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::U32(data) = storage { Some(data) } else { None }
    }
}

impl Element for f32 {
    fn lend(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F32(data) = storage { Some(data) } else { None }
    }
}

impl Element for f64 {
    fn lend(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F64(data) = storage { Some(data) } else { None }
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    /// x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial in r (Cephes, expf).
    #[inline(always)]
    fn exp(self) -> Self {
        // Adding it pushes the fraction out of the mantissa: the sum's low bits are the integer.
        const ROUNDER: f32 = 12_582_912.0;
        // Comparisons that let NaN through.
        let x = if self > 88.3 { 88.3 } else { self };
        let x = if x < -87.3 { -87.3 } else { x };
        let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
        let n = rounded - ROUNDER;
        let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
        let mut p = 1.987_569_1e-4;
        p = p * r + 1.398_199_9e-3;
        p = p * r + 8.333_452e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 1.666_666_5e-1;
        p = p * r + 5.0e-1;
        let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
        (p * r * r + r + 1.0) * power
    }

    /// An odd rational function of degrees 13 and 6 on [-7.9, 7.9], +-1 outside (the coefficients
    /// of Eigen's tanh).
    #[inline(always)]
    fn tanh(self) -> Self {
        let x = if self > 7.905 { 7.905 } else { self };
        let x = if x < -7.905 { -7.905 } else { x };
        let s = x * x;
        let mut p = -2.760_768_5e-16;
        p = p * s + 2.000_188e-13;
        p = p * s + -8.604_672e-11;
        p = p * s + 5.122_297e-8;
        p = p * s + 1.485_722_4e-5;
        p = p * s + 6.372_619_3e-4;
        p = p * s + 4.893_524_6e-3;
        let mut q = 1.198_258_4e-6;
        q = q * s + 1.185_347_1e-4;
        q = q * s + 2.268_434_6e-3;
        q = q * s + 4.893_525e-3;
        x * p / q
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        self.tanh()
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_two_units_of_the_last_place() {
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3;
            let expected = f64::from(x).exp();
            let found = f64::from(<f32 as Real>::exp(x));
            assert!((found / expected - 1.0).abs() < 2.4e-7, "exp({x}) = {found}, {expected}");
        }
        assert!(<f32 as Real>::exp(f32::NAN).is_nan());
        assert!(<f32 as Real>::exp(f32::NEG_INFINITY) < 1e-37);
        assert_eq!(<f32 as Real>::exp(0.0), 1.0);
    }

    #[test]
    fn the_tangent_is_right_everywhere() {
        for i in -12_000..12_000 {
            let x = i as f32 * 1e-3;
            let expected = f64::from(x).tanh();
            let found = f64::from(<f32 as Real>::tanh(x));
            assert!((found - expected).abs() < 4e-7, "tanh({x}) = {found}, {expected}");
            assert!(found.abs() <= 1.0, "tanh({x}) = {found}");
        }
        assert!(<f32 as Real>::tanh(f32::NAN).is_nan());
        assert_eq!(<f32 as Real>::tanh(0.0), 0.0);
    }
}
