//! Plots of a sweep as SVG, for slides, papers and mail.
//!
//! In: bands of curves, layer maps, effects, claims, timings. Out: SVG texts, each readable on its own:
//! title, axes with units, a legend, colours that everybody can tell apart.

mod axis;
mod canvas;
mod forest;
mod heat_map;
mod lines;
