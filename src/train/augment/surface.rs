//! What operations do to an image once everything about them is drawn.
//!
//! Two take it: a [`Canvas`](super::canvas::Canvas) does it to pixels in main memory, a
//! [`Program`](super::program::Program) writes it down for kernels. The draws are made before either,
//! so both see the same ones.

use super::affine::Affine;
use super::cutout::Square;
use super::jitter::{Blend, Jitter};
use crate::train::kernel::resize::Cut;

/// An image that operations change.
pub trait Surface {
    /// Height and width.
    fn size(&self) -> [usize; 2];

    /// Cuts out `size` at `place` (row, column), with black where that is outside.
    fn cut(&mut self, place: [i32; 2], size: [usize; 2]);

    /// Exchanges left and right, if it `happens`.
    fn flip(&mut self, happens: bool);

    /// Resamples to the nearest pixel.
    fn move_by(&mut self, affine: &Affine);

    /// Resizes a cut to `size`.
    fn resize(&mut self, cut: &Cut, size: [usize; 2]);

    /// Changes the colours one way after the other, as `jitter` has drawn them.
    fn jitter(&mut self, jitter: &Jitter, blends: [Blend; 4]);

    /// Adds to red, green and blue.
    fn add(&mut self, shift: [f32; 3]);

    /// Fills a square, if there is one, with one value a channel.
    fn fill(&mut self, square: Option<Square>, values: &[f32]);
}
