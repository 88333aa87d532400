//! From the bytes of an image file to the bytes that are trained on: decoded, turned upright,
//! converted to grey or to red, green and blue, resized, cut to a square, planes apart.
//!
//! The resizing is torchvision's `Resize` and `CenterCrop` on Pillow images: bilinear with
//! antialiasing, the shorter side to `side`, the longer one in proportion and rounded down. Where
//! this differs from `ImageFolder` with Pillow is listed in `docs/design/data.md`. No byte of the
//! file is trusted.

use std::cell::RefCell;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::jpeg;
use crate::train::kernel::resize::{Cut, Resizer};

/// What an image may take once decoded, and once resized: 178 million pixels of three bytes, where
/// Pillow refuses too. A file of a few kilobytes can claim to be four billion pixels.
const MOST_BYTES: u64 = 512 << 20;

/// How images are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Height and width.
    pub side: usize,
}

impl Form {
    /// Bytes of one image.
    pub fn bytes(self) -> usize {
        self.channels * self.side * self.side
    }
}

thread_local! {
    /// Kept from image to image.
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// What an image needs while it is worked on.
#[derive(Default)]
struct Memory {
    /// (C, H, W) as decoded.
    planes: Vec<u8>,
    /// (C, H, W) with the shorter side as asked for.
    resized: Vec<u8>,
    resizer: Resizer,
}

/// Decodes `file` into `out`, shape (C, side, side).
///
/// # Errors
/// Why the bytes are no image that can be trained on: lowercase, no full stop.
pub fn decode(file: &[u8], form: Form, out: &mut [u8]) -> Result<(), String> {
    // The decoders promise not to panic. Should one do so after all, it is one bad file among
    // thousands, and is to be named as such.
    catch_unwind(AssertUnwindSafe(|| decoded(file, form, out)))
        .unwrap_or_else(|_| Err("the decoder failed on it".to_owned()))
}

fn decoded(file: &[u8], form: Form, out: &mut [u8]) -> Result<(), String> {
    let image = upright(file)?;
    let [height, width] = [image.height(), image.width()].map(|length| length as usize);
    let pixels = match form.channels {
        1 => grey(image),
        _ => image.into_rgb8().into_raw(),
    };
    MEMORY.with_borrow_mut(|Memory { planes, resized, resizer }| {
        split_planes(&pixels, form.channels, planes);
        let size = size_for([height, width], form)?;
        resized.resize(form.channels * size[0] * size[1], 0);
        let source = [height, width];
        resizer.resize((planes, source), &Cut::whole(source), (resized, size));
        cut_centre(resized, size, form, out);
        Ok(())
    })
}

/// The decoded image as it is to be looked at.
fn upright(file: &[u8]) -> Result<DynamicImage, String> {
    let broken = |error: image::ImageError| match error {
        image::ImageError::Limits(_) => too_large(),
        error => one_line(&error.to_string()),
    };
    let reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| one_line(&error.to_string()))?;
    match reader.format() {
        Some(ImageFormat::Jpeg) => jpeg::check_whole(file)?,
        Some(ImageFormat::Png) => {}
        Some(other) => {
            let name = other.to_mime_type().trim_start_matches("image/");
            return Err(format!("expected a JPEG or PNG image, found {name}"));
        }
        None if file.is_empty() => return Err("the file is empty".to_owned()),
        None => return Err("expected a JPEG or PNG image, found something else".to_owned()),
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    if decoder.total_bytes() > MOST_BYTES {
        return Err(too_large());
    }
    decoder.set_limits(limits).map_err(broken)?;
    // What is wrong with the metadata is not wrong with the pixels.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    if image.width() == 0 || image.height() == 0 {
        return Err("it has no pixels".to_owned());
    }
    Ok(image)
}

fn too_large() -> String {
    format!("it is larger than {} decoded", crate::units::show_bytes(MOST_BYTES))
}

/// Some decoders say what is wrong in several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One byte a pixel; colours by the weights of ITU-R 601 in Pillow's integers.
fn grey(image: DynamicImage) -> Vec<u8> {
    if image.color().has_color() {
        let luma = |p: &[u8]| {
            let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
            ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
        };
        return image.into_rgb8().as_raw().chunks_exact(3).map(luma).collect();
    }
    image.into_luma8().into_raw()
}

/// Pixel by pixel to channel by channel.
fn split_planes(pixels: &[u8], channels: usize, planes: &mut Vec<u8>) {
    planes.resize(pixels.len(), 0);
    let plane = pixels.len() / channels;
    for (channel, plane) in planes.chunks_exact_mut(plane).enumerate() {
        for (out, pixel) in plane.iter_mut().zip(pixels.chunks_exact(channels)) {
            *out = pixel[channel];
        }
    }
}

/// Height and width once the shorter side is `form.side`.
fn size_for(source: [usize; 2], form: Form) -> Result<[usize; 2], String> {
    let [height, width] = source.map(|length| length as u64);
    let side = form.side as u64;
    let shorter = width.min(height);
    let size = [height, width].map(|length| side * length / shorter);
    if size[0] * size[1] * form.channels as u64 > MOST_BYTES {
        return Err(format!(
            "{width} x {height} px is too narrow: with the shorter side at {side} px it is larger \
             than {}",
            crate::units::show_bytes(MOST_BYTES)
        ));
    }
    Ok(size.map(|length| length as usize))
}

/// The square in the middle.
fn cut_centre(image: &[u8], [height, width]: [usize; 2], form: Form, out: &mut [u8]) {
    let start = |length: usize| ((length - form.side) as f64 / 2.0).round_ties_even() as usize;
    let [top, left] = [start(height), start(width)];
    let planes = image.chunks_exact(height * width);
    for (plane, out) in planes.zip(out.chunks_exact_mut(form.side * form.side)) {
        let rows = plane.chunks_exact(width).skip(top);
        for (row, out) in rows.zip(out.chunks_exact_mut(form.side)) {
            out.copy_from_slice(&row[left..left + form.side]);
        }
    }
}
