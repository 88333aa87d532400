//! Batch normalisation (Ioffe and Szegedy, 2015), with PyTorch's conventions. Over vectors and over
//! images it is the same: channels are last in memory, so either is a matrix of rows.
//!
//! `sums` goes through a batch once for all that is summed over it, `together` joins what ranks have
//! of one batch; [`BatchNorm`] does the rest.

mod layer;
mod sums;
mod together;

pub use layer::BatchNorm;
