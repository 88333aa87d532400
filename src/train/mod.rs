//! The training engine, and the only folder that knows candle.

pub mod augment;
pub mod data;
pub mod rng;
