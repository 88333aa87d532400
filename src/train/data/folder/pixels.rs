//! The file of decoded images: decoded once, read by every run.
//!
//! Layout, little-endian: the head (64 bytes: magic, format, channels, side, number of images),
//! the images (C, side, side) in the order of the listing, for every image and channel the sum and
//! the sum of squares of its bytes, and the BLAKE3 hash of everything before. The sums give the
//! statistics of any part without another pass over gigabytes. The file is derived: a damaged one
//! is made again.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use rayon::prelude::*;

use super::decode::{Form, decode};
use super::problem::Problems;
use super::scan::Listing;
use crate::record::{Durability, RecordError, atomic};
use crate::train::data::DataError;

const MAGIC: [u8; 16] = *b"gridlane pixels\n";

/// Raised when the layout changes, or when the same file would be decoded to other bytes.
const FORMAT: u32 = 2;

const HEAD: usize = 64;
const HASH: usize = 32;

/// So much is decoded before it is written, and read before it is handed on.
const CHUNK: usize = 32 << 20;

/// Sum and sum of squares of one channel's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moments {
    /// Sum of the bytes.
    pub sum: u64,
    /// Sum of their squares.
    pub squares: u64,
}

impl Moments {
    fn of(plane: &[u8]) -> Self {
        let mut moments = Self::default();
        // 4096 squares of a byte fit into 32 bits, and 32-bit sums vectorise.
        for chunk in plane.chunks(4096) {
            moments.sum += u64::from(chunk.iter().map(|&v| u32::from(v)).sum::<u32>());
            let square = |&v: &u8| u32::from(u16::from(v) * u16::from(v));
            moments.squares += u64::from(chunk.iter().map(square).sum::<u32>());
        }
        moments
    }
}

fn head(form: Form, images: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..16].copy_from_slice(&MAGIC);
    head[16..20].copy_from_slice(&FORMAT.to_le_bytes());
    head[20..24].copy_from_slice(&(form.channels as u32).to_le_bytes());
    head[24..28].copy_from_slice(&(form.side as u32).to_le_bytes());
    head[32..40].copy_from_slice(&(images as u64).to_le_bytes());
    head
}

fn length(form: Form, images: usize) -> u64 {
    (HEAD + images * (form.bytes() + form.channels * size_of::<Moments>()) + HASH) as u64
}

/// Is there a file of `images` images in this form? Its checksum is looked at when it is read.
pub fn is_there(path: &Path, form: Form, images: usize) -> bool {
    let mut found = [0; HEAD];
    let read = File::open(path).and_then(|mut file| {
        file.read_exact(&mut found)?;
        Ok(file.metadata()?.len())
    });
    read.is_ok_and(|bytes| bytes == length(form, images) && found == head(form, images))
}

/// Decodes every image of `listing` into the file at `path`; says after every chunk how many are
/// done. All images are tried, so that everything that is wrong is said at once.
///
/// # Errors
/// The images that cannot be decoded, or what the system refuses; there is then no new file.
pub fn write(
    path: &Path,
    listing: &Listing,
    form: Form,
    progress: &mut dyn FnMut(usize),
) -> Result<(), DataError> {
    let mut problems = Problems::default();
    let written = atomic::replace_with(path, Durability::Derived, &mut |file| {
        let mut file = Hashing { inner: file, hasher: blake3::Hasher::new() };
        problems = write_all(&mut file, listing, form, progress)?;
        if !problems.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let hash = file.hasher.finalize();
        file.inner.write_all(hash.as_bytes())
    });
    if !problems.is_empty() {
        return Err(DataError::Folder { folder: listing.root.clone(), problems });
    }
    Ok(written?)
}

fn write_all(
    out: &mut dyn Write,
    listing: &Listing,
    form: Form,
    progress: &mut dyn FnMut(usize),
) -> io::Result<Problems> {
    let files: Vec<_> = listing.parts.iter().flatten().collect();
    let mut problems = Problems::default();
    let mut moments = Vec::with_capacity(files.len() * form.channels);
    let bytes = form.bytes();
    let per_chunk = (CHUNK / bytes).clamp(1, files.len().max(1));
    let mut pixels = vec![0; per_chunk * bytes];
    out.write_all(&head(form, files.len()))?;
    for (chunk, files) in files.chunks(per_chunk).enumerate() {
        let pixels = &mut pixels[..files.len() * bytes];
        let outcomes: Vec<Result<(), String>> = pixels
            .par_chunks_exact_mut(bytes)
            .zip(files)
            .map(|(out, file)| {
                let read = std::fs::read(listing.root.join(&file.name));
                decode(&read.map_err(|error| format!("cannot be read: {error}"))?, form, out)
            })
            .collect();
        for (file, outcome) in files.iter().zip(outcomes) {
            if let Err(why) = outcome {
                problems.add(&file.name, why);
            }
        }
        let planes = pixels.par_chunks_exact(form.side * form.side);
        moments.par_extend(planes.map(Moments::of));
        // Bytes that are thrown away need no disk.
        if problems.is_empty() {
            out.write_all(pixels)?;
        }
        progress(chunk * per_chunk + files.len());
    }
    let numbers = moments.iter().flat_map(|m: &Moments| [m.sum, m.squares]);
    let numbers: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
    out.write_all(&numbers)?;
    Ok(problems)
}

/// Reads the file at `path`: hands every image to `take`, in order, and gives the moments of all
/// images and channels. `None` if the file is missing or not whole; what was taken is then worthless.
///
/// # Errors
/// What the system refuses.
pub fn read(
    path: &Path,
    form: Form,
    images: usize,
    take: &mut dyn FnMut(usize, &[u8]),
) -> Result<Option<Vec<Moments>>, DataError> {
    if !is_there(path, form, images) {
        return Ok(None);
    }
    let failed = |source| DataError::Read { path: path.to_owned(), source };
    match read_all(path, form, images, take) {
        Ok(moments) => Ok(moments),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn read_all(
    path: &Path,
    form: Form,
    images: usize,
    take: &mut dyn FnMut(usize, &[u8]),
) -> io::Result<Option<Vec<Moments>>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut hasher = blake3::Hasher::new();
    let mut head = [0; HEAD];
    file.read_exact(&mut head)?;
    hasher.update(&head);
    let mut image = vec![0; form.bytes()];
    for number in 0..images {
        file.read_exact(&mut image)?;
        hasher.update(&image);
        take(number, &image);
    }
    let mut numbers = vec![0; images * form.channels * size_of::<Moments>()];
    file.read_exact(&mut numbers)?;
    hasher.update(&numbers);
    let mut hash = [0; HASH];
    file.read_exact(&mut hash)?;
    if hasher.finalize() != hash {
        return Ok(None);
    }
    let (numbers, _) = numbers.as_chunks::<8>();
    let (pairs, _) = numbers.as_chunks::<2>();
    let moments = |pair: &[[u8; 8]; 2]| {
        let [sum, squares] = pair.map(u64::from_le_bytes);
        Moments { sum, squares }
    };
    Ok(Some(pairs.iter().map(moments).collect()))
}

/// Writes on, and hashes what it writes.
struct Hashing<'a> {
    inner: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl From<RecordError> for DataError {
    fn from(error: RecordError) -> Self {
        Self::Cache(error)
    }
}
