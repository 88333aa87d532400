//! Batch normalisation (Ioffe and Szegedy, 2015), with PyTorch's conventions. Over vectors and over
//! images it is the same: channels are last in memory, so either is a matrix of rows.
//!
//! `sums` goes through a batch once for all that is summed over it; [`BatchNorm`] does the rest.

mod layer;
mod sums;

pub use layer::BatchNorm;
