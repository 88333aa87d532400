//! What layers are made of on a CPU: numbers, buffers, matrix products and vectorised loops.

pub mod buffer;
pub mod gemm;
pub mod parallel;
pub mod real;
pub mod simd;

pub use buffer::Buffer;
pub use real::Real;
