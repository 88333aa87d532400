//! The non-linearity after a hidden layer: [`function`] has the functions with their derivatives,
//! element by element; [`Activation`] runs one over a batch.

pub mod function;
mod layer;

pub use layer::Activation;
