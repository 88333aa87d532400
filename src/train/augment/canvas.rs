//! One image at work: bytes seen through a window as long as it is only moved, numbers in [0, 1] as
//! soon as its colours change.
//!
//! Cuts and mirror images cost nothing until a pixel is needed. An operation that moves pixels after
//! colours have changed first rounds them to bytes, as Pillow has them after every operation.

use super::affine::{Affine, gather};
use super::colour_noise;
use super::cutout::{self, Square};
use super::jitter::{Blend, Jitter};
use super::normalise::{Normalise, unit};
use super::surface::Surface;
use super::window::Window;
use crate::train::kernel::resize::{Cut, Resizer};
use crate::train::kernel::simd::vectorized;

/// The memory that an image needs, kept from image to image.
#[derive(Debug, Default)]
pub struct Memory {
    /// The image once it is not the given one any more.
    bytes: Vec<u8>,
    /// What the next operation writes.
    spare: Vec<u8>,
    numbers: Vec<f32>,
    indices: Vec<u32>,
    packed: Vec<u32>,
    resizer: Resizer,
}

/// Where the image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In the data set.
    Given,
    /// In `bytes`.
    Bytes,
    /// In `numbers`, whole.
    Numbers,
}

/// An image at work.
#[derive(Debug)]
pub struct Canvas<'a> {
    given: &'a [u8],
    memory: &'a mut Memory,
    channels: usize,
    form: Form,
    /// Height and width of the bytes behind the window.
    behind: [usize; 2],
    window: Window,
}

impl<'a> Canvas<'a> {
    /// The image `given` of `shape` (C, H, W).
    pub fn new(given: &'a [u8], shape: [usize; 3], memory: &'a mut Memory) -> Self {
        let [channels, height, width] = shape;
        let behind = [height, width];
        let window = Window::whole(behind);
        Self { given, memory, channels, form: Form::Given, behind, window }
    }

    /// Writes the normalised image.
    pub fn finish(mut self, normalise: &Normalise, out: &mut [f32]) {
        if self.form == Form::Numbers {
            return normalise.values(&self.memory.numbers, out);
        }
        self.settle();
        let given = self.form == Form::Given;
        normalise.bytes(if given { self.given } else { &self.memory.bytes }, out);
    }

    /// The image as numbers in [0, 1], shape (C, H, W), to be changed.
    fn numbers(&mut self) -> &mut [f32] {
        if self.form != Form::Numbers {
            self.settle();
            let Memory { bytes, numbers, .. } = &mut *self.memory;
            let from = if self.form == Form::Given { self.given } else { bytes.as_slice() };
            numbers.resize(from.len(), 0.0);
            vectorized(
                #[inline(always)]
                || {
                    for (number, &byte) in numbers.iter_mut().zip(from) {
                        *number = unit(byte);
                    }
                },
            );
            self.form = Form::Numbers;
        }
        &mut self.memory.numbers
    }

    /// Numbers are rounded to bytes.
    fn back_to_bytes(&mut self) {
        if self.form != Form::Numbers {
            return;
        }
        let Memory { bytes, numbers, .. } = &mut *self.memory;
        bytes.resize(numbers.len(), 0);
        for (byte, number) in bytes.iter_mut().zip(numbers.iter()) {
            *byte = (number * 255.0 + 0.5) as u8;
        }
        self.form = Form::Bytes;
        self.behind = self.window.size();
    }

    /// The window becomes the whole image.
    fn settle(&mut self) {
        self.back_to_bytes();
        if self.window.is_whole(self.behind) {
            return;
        }
        let Memory { bytes, spare, .. } = &mut *self.memory;
        let from = if self.form == Form::Given { self.given } else { bytes.as_slice() };
        let [height, width] = self.window.size();
        spare.resize(self.channels * height * width, 0);
        self.window.copy(from, self.behind, spare);
        self.keep_spare();
    }

    /// What was written to `spare`, of the window's size, is the image.
    fn keep_spare(&mut self) {
        std::mem::swap(&mut self.memory.bytes, &mut self.memory.spare);
        self.form = Form::Bytes;
        self.behind = self.window.size();
        self.window = Window::whole(self.behind);
    }
}

impl Surface for Canvas<'_> {
    fn size(&self) -> [usize; 2] {
        self.window.size()
    }

    fn cut(&mut self, place: [i32; 2], size: [usize; 2]) {
        self.back_to_bytes();
        self.window = self.window.cut(place, size);
    }

    fn flip(&mut self, happens: bool) {
        if happens {
            self.back_to_bytes();
            self.window = self.window.mirror();
        }
    }

    fn move_by(&mut self, affine: &Affine) {
        self.back_to_bytes();
        let [height, width] = self.window.size();
        let plane = height * width;
        let Memory { bytes, spare, indices, packed, .. } = &mut *self.memory;
        let from = if self.form == Form::Given { self.given } else { bytes.as_slice() };
        indices.resize(plane, 0);
        spare.resize(self.channels * plane, 0);
        affine.indices(&self.window, self.behind, indices);
        gather(from, self.behind[0] * self.behind[1], indices, spare, packed);
        self.keep_spare();
    }

    fn resize(&mut self, cut: &Cut, size: [usize; 2]) {
        self.settle();
        let Memory { bytes, spare, resizer, .. } = &mut *self.memory;
        let from = if self.form == Form::Given { self.given } else { bytes.as_slice() };
        spare.resize(self.channels * size[0] * size[1], 0);
        resizer.resize((from, self.behind), cut, (spare, size));
        self.window = Window::whole(size);
        self.keep_spare();
    }

    fn jitter(&mut self, _: &Jitter, blends: [Blend; 4]) {
        let channels = self.channels;
        let image = self.numbers();
        for blend in blends {
            blend.apply(image, channels);
        }
    }

    fn add(&mut self, shift: [f32; 3]) {
        colour_noise::add(self.numbers(), shift);
    }

    fn fill(&mut self, square: Option<Square>, values: &[f32]) {
        if let Some(square) = square {
            let size = self.size();
            cutout::fill(self.numbers(), size, square, values);
        }
    }
}
