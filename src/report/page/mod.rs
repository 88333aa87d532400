//! `report.html`: one page that shows a sweep, verdicts first, without a network or a file beside it.
//!
//! In: the tables of a sweep and a few facts. Out: a [`Document`](document::Document), and the page
//! that shows it.

mod assemble;
mod assets;
pub mod document;
mod html;
pub(super) mod labels;
#[cfg(test)]
pub(super) mod sample;
pub(super) mod sentences;
mod table;
#[cfg(test)]
mod tests;

pub use assemble::{Facts, Inputs, failed_rows};
pub use html::{html, json};
