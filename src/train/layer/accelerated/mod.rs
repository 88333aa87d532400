//! What layers do on an accelerator. Each layer's part is a file here and a module of that layer,
//! whose own numbers it needs; this module is what they share.

pub mod rows;
#[cfg(test)]
mod tests;
