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

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::jpeg;

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
    /// Its buffers are kept from image to image.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
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
    let [width, height] = [image.width(), image.height()];
    let (pixels, kind) = match form.channels {
        1 => (grey(image), PixelType::U8),
        _ => (image.into_rgb8().into_raw(), PixelType::U8x3),
    };
    let image = Image::from_vec_u8(width, height, pixels, kind)
        .map_err(|error| format!("it cannot be resized: {error}"))?;
    let image = resized(image, form)?;
    cut_centre(&image, form, out);
    Ok(())
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

/// The shorter side becomes `form.side`.
fn resized(image: Image<'static>, form: Form) -> Result<Image<'static>, String> {
    let [width, height] = [image.width(), image.height()].map(u64::from);
    let side = form.side as u64;
    let shorter = width.min(height);
    let [to_width, to_height] = [width, height].map(|length| side * length / shorter);
    if to_width * to_height * form.channels as u64 > MOST_BYTES {
        return Err(format!(
            "{width} x {height} px is too narrow: with the shorter side at {side} px it is larger \
             than {}",
            crate::units::show_bytes(MOST_BYTES)
        ));
    }
    // Rows first, as Pillow does: the values in between are rounded to bytes, so the order shows.
    let narrowed = converted(image, to_width as u32, height as u32)?;
    converted(narrowed, to_width as u32, to_height as u32)
}

/// The image at another size; as it is, if it has that size.
fn converted(image: Image<'static>, width: u32, height: u32) -> Result<Image<'static>, String> {
    if (image.width(), image.height()) == (width, height) {
        return Ok(image);
    }
    let mut resized = Image::new(width, height, image.pixel_type());
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize(&image, &mut resized, &options))
        .map_err(|error| format!("it cannot be resized: {error}"))?;
    Ok(resized)
}

/// The square in the middle, channel by channel.
fn cut_centre(image: &Image<'_>, form: Form, out: &mut [u8]) {
    let [width, height] = [image.width() as usize, image.height() as usize];
    let start = |length: usize| ((length - form.side) as f64 / 2.0).round_ties_even() as usize;
    let [top, left] = [start(height), start(width)];
    let rows = image.buffer().chunks_exact(width * form.channels).skip(top).take(form.side);
    for (y, row) in rows.enumerate() {
        let row = &row[left * form.channels..][..form.side * form.channels];
        for (channel, plane) in out.chunks_exact_mut(form.side * form.side).enumerate() {
            let values = row[channel..].iter().step_by(form.channels);
            for (out, &value) in plane[y * form.side..][..form.side].iter_mut().zip(values) {
                *out = value;
            }
        }
    }
}
