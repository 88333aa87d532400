//! The numbers that kernels compute with: f32 in training, f64 where a test checks gradients by
//! finite differences and needs the digits.
//!
//! Exponential, tangent and error function are written for f32 as straight-line polynomials, so that a loop over
//! them vectorises; the C library's functions cost 5 to 30 ns each and do not.

use std::fmt::Debug;

use bytemuck::Pod;
use candle_core::{CpuStorage, WithDType};

/// Something that a [`Buffer`](super::Buffer) can hold.
pub trait Element: WithDType + Debug + Default + Pod {
    /// The numbers in a storage, or none if it holds another type.
    fn lend(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

/// A floating-point number that layers compute with.
pub trait Real: Element {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// What a gradient is too small to matter by: in f32 2^-100, which neither moves a weight nor counts
    /// beside the eps of an optimizer.
    const TRACE: Self;

    /// 0 instead of a number nearer to it than [`TRACE`](Self::TRACE). Products of what saturated units
    /// leave are subnormal, and arithmetic on subnormal numbers takes many times as long.
    #[inline(always)]
    fn without_trace(self) -> Self {
        if self < Self::TRACE && self > Self::ZERO - Self::TRACE { Self::ZERO } else { self }
    }

    /// The nearest number to `x`.
    fn of(x: f64) -> Self;

    /// The same number in f64.
    fn wide(self) -> f64;

    /// e^x. In f32 within 2 units of the last place over (-87.3, 88.3) and clamped outside of it.
    fn exp(self) -> Self;

    /// e^x - 1, without the cancellation near 0. In f32 within 4e-7 of itself; -1 below -87.3,
    /// clamped above 88.3.
    fn exp_m1(self) -> Self;

    /// The error function, 2 / sqrt(pi) times the integral of exp(-t^2) over 0 .. x. In f32 within
    /// 5e-7 of the true value, in f64 within 1e-15.
    fn erf(self) -> Self;

    /// The hyperbolic tangent. In f32 within 4e-7 of the true value.
    fn tanh(self) -> Self;

    /// The square root.
    fn sqrt(self) -> Self;

    /// Lends `numbers` as f32 to `work`, through `copy` where they are another kind: images are made
    /// in f32 whatever a network computes in. Numbers that are not f32's are rounded.
    fn lend_single(numbers: &mut [Self], copy: &mut Vec<f32>, work: impl FnOnce(&mut [f32]));
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
    const TRACE: Self = 7.888_609e-31;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        let (rest, power) = exponential(self);
        (rest + 1.0) * power
    }

    /// As [`exp`](Real::exp), with the 1 taken from the power of 2, where it is exact.
    #[inline(always)]
    fn exp_m1(self) -> Self {
        let (rest, power) = exponential(self);
        rest * power + (power - 1.0)
    }

    /// An odd rational function of degrees 13 and 8 on [-3.8325, 3.8325], +-1 outside, where f32
    /// has no number between (the coefficients of XLA's erf).
    #[inline(always)]
    fn erf(self) -> Self {
        let x = if self > 3.832_507 { 3.832_507 } else { self };
        let x = if x < -3.832_507 { -3.832_507 } else { x };
        let s = x * x;
        let mut p = 2.290_506_6e-4;
        p = p * s + 3.408_291e-3;
        p = p * s + 5.095_569_5e-2;
        p = p * s + 1.852_083_2e-1;
        p = p * s + std::f32::consts::FRAC_2_SQRT_PI;
        let mut q = -1.179_160_3e-7;
        q = q * s + 2.354_796_7e-5;
        q = q * s + 1.017_962_5e-3;
        q = q * s + 1.407_047e-2;
        q = q * s + 1.109_850_5e-1;
        q = q * s + 4.974_692_5e-1;
        q = q * s + 1.0;
        x * p / q
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

    fn lend_single(numbers: &mut [Self], _: &mut Vec<f32>, work: impl FnOnce(&mut [f32])) {
        work(numbers);
    }
}

/// The parts of e^x = (rest + 1) power: x = n ln 2 + r with |r| <= ln 2 / 2, power = 2^n, and rest
/// a polynomial in r (Cephes, expf).
#[inline(always)]
fn exponential(x: f32) -> (f32, f32) {
    // Adding it pushes the fraction out of the mantissa: the sum's low bits are the integer.
    const ROUNDER: f32 = 12_582_912.0;
    // Comparisons that let NaN through.
    let x = if x > 88.3 { 88.3 } else { x };
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
    (p * r * r + r, power)
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    // 2^-1000.
    const TRACE: Self = 9.332_636_185_032_189e-302;

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
    fn exp_m1(self) -> Self {
        self.exp_m1()
    }

    #[inline(always)]
    fn erf(self) -> Self {
        erf_wide(self)
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        self.tanh()
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    fn lend_single(numbers: &mut [Self], copy: &mut Vec<f32>, work: impl FnOnce(&mut [f32])) {
        copy.clear();
        copy.extend(numbers.iter().map(|&x| x as f32));
        work(copy);
        for (number, &x) in numbers.iter_mut().zip(&*copy) {
            *number = Self::from(x);
        }
    }
}

/// The error function in f64: up to 3 by a series of positive terms (Abramowitz and Stegun, 7.1.6),
/// beyond by the continued fraction of its complement (7.1.14).
fn erf_wide(x: f64) -> f64 {
    let magnitude = x.abs();
    let density = std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp();
    if magnitude > 3.0 {
        let fraction =
            (1..=60).rev().fold(magnitude, |tail, k| magnitude + 0.5 * f64::from(k) / tail);
        return (1.0 - 0.5 * density / fraction).copysign(x);
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    // A term is not larger than the sum, and grows until n exceeds x^2.
    while term.abs() > 1e-18 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    density * sum
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
    fn the_exponential_less_1_keeps_its_digits_near_0() {
        for i in -100_000..88_000 {
            // Small steps near 0, where the difference would cancel.
            for x in [i as f32 * 1e-3, i as f32 * 1e-9] {
                let expected = f64::from(x).exp_m1();
                let found = f64::from(<f32 as Real>::exp_m1(x));
                let error = (found - expected).abs();
                assert!(error <= 4e-7 * expected.abs(), "exp_m1({x}) = {found}, {expected}");
            }
        }
        assert!(<f32 as Real>::exp_m1(f32::NAN).is_nan());
        assert_eq!(<f32 as Real>::exp_m1(f32::NEG_INFINITY), -1.0);
    }

    /// Values to 18 digits, made with mpmath.
    #[test]
    fn the_error_function_has_its_known_values() {
        for (x, expected) in [
            (0.001, 0.001_128_378_790_969_236_4),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (std::f64::consts::FRAC_1_SQRT_2, 0.682_689_492_137_085_9),
            (1.0, 0.842_700_792_949_714_9),
            (1.5, 0.966_105_146_475_310_7),
            (2.0, 0.995_322_265_018_952_7),
            (2.5, 0.999_593_047_982_555),
            (2.999, 0.999_977_769_831_400_2),
            (3.001, 0.999_978_048_339_082_3),
            (3.5, 0.999_999_256_901_627_7),
            (4.5, 0.999_999_999_803_384),
            (5.9, 0.999_999_999_999_999_9),
            (40.0, 1.0),
        ] {
            for (x, expected) in [(x, expected), (-x, -expected)] {
                let found = <f64 as Real>::erf(x);
                assert!((found - expected).abs() < 1e-15, "erf({x}) = {found}, {expected}");
            }
        }
    }

    #[test]
    fn the_error_function_is_right_everywhere() {
        for i in -6_000..6_000 {
            let x = i as f32 * 1e-3;
            let expected = erf_wide(f64::from(x));
            let found = f64::from(<f32 as Real>::erf(x));
            assert!((found - expected).abs() < 5e-7, "erf({x}) = {found}, {expected}");
        }
        assert!(<f32 as Real>::erf(f32::NAN).is_nan() && <f64 as Real>::erf(f64::NAN).is_nan());
        assert_eq!(<f32 as Real>::erf(0.0), 0.0);
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
