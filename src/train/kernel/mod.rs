//! What layers and images are worked on with on a CPU: numbers, buffers, matrix products,
//! vectorised loops, resampling.

pub mod buffer;
pub mod gemm;
pub mod parallel;
pub mod real;
pub mod resize;
pub mod simd;
pub mod workspace;

pub use buffer::{Buffer, Reading};
pub use real::Real;
pub use workspace::Workspace;
