//! NVIDIA GPUs, through CUDA's driver and cuBLAS, both loaded when a run asks for a GPU.
//!
//! One stream for an accelerator: all of its work is done in the order in which it is queued, so
//! nothing is tracked between operations and memory is given back by the stream itself. Sums over the
//! GPUs of several ranks have another, through NCCL, which is loaded when ranks meet. Products are in
//! the precision that each asks for; convolutions are cuDNN's where it is there. Used by one thread at
//! a time; the locks are for the type system.

mod cudnn;
mod cudnn_call;
mod cudnn_choice;
mod event;
mod host;
mod library;
mod nccl;
mod open;
mod products;
mod stream;

pub use library::survey;
pub use open::open;
