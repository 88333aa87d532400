//! For tests: numbers rounded to few bits, by arithmetic in f64 and not by the kernels' way with bits.

/// The nearest number with `bits` bits after the point, ties to the even one; f32's exponent.
fn nearest(number: f32, bits: i32) -> f32 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let wide = f64::from(number);
    // The smallest exponent is that of numbers without a leading 1.
    let exponent = (wide.abs().log2().floor() as i32).max(-126);
    let step = 2.0_f64.powi(exponent - bits);
    ((wide / step).round_ties_even() * step) as f32
}

/// As bf16 has it.
pub fn to_bf16(number: f32) -> f32 {
    nearest(number, 7)
}

/// As TF32 has it.
pub fn to_tf32(number: f32) -> f32 {
    nearest(number, 10)
}

/// The bits of the number in bf16.
pub fn bf16_bits(number: f32) -> u16 {
    (to_bf16(number).to_bits() >> 16) as u16
}
