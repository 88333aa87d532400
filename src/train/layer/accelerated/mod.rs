//! What layers do on an accelerator. Each layer's part is a file here and a module of that layer,
//! whose own numbers it needs; this module is what they share.

#[cfg(test)]
mod precision_tests;
pub mod rounded;
pub mod rows;
#[cfg(test)]
mod tests;
