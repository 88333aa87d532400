use std::fs;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;

use super::decode::{Form, decode};
use super::*;
use crate::spec::dataset::Dataset;
use crate::train::data::{check_unchanged, load};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/image-folder")
}

/// Largest and mean distance to what Pillow and torchvision give, in grey levels.
fn distance(name: &str) -> (u8, f64) {
    let bytes = fs::read(fixtures().join(name)).unwrap();
    let expected = fs::read(fixtures().join(format!("{name}.expected"))).unwrap();
    let mut found = vec![0; expected.len()];
    let (colours, grey) = found.split_at_mut(3 * 24 * 24);
    decode(&bytes, Form { channels: 3, side: 24 }, colours).unwrap();
    decode(&bytes, Form { channels: 1, side: 24 }, grey).unwrap();
    let distances = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = distances.clone().map(u64::from).sum();
    (distances.max().unwrap(), sum as f64 / expected.len() as f64)
}

#[test]
fn png_files_become_what_pillow_makes_of_them() {
    for name in [
        "rgb.png",
        "small.png",
        "exact.png",
        "grey.png",
        "grey-alpha.png",
        "rgba.png",
        "palette.png",
        "one-bit.png",
    ] {
        let (largest, mean) = distance(name);
        assert_eq!(largest, 0, "{name}: {mean} on average");
    }
}

/// Two decoders may round differently, and do: T.81 leaves that open.
#[test]
fn jpeg_files_become_nearly_what_pillow_makes_of_them() {
    for name in
        ["rgb.jpg", "subsampled.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "turned.jpg"]
    {
        let (largest, mean) = distance(name);
        assert!(largest <= 3 && mean < 0.5, "{name}: {largest} at most, {mean} on average");
    }
}

/// A folder of folders with small images, and its cache.
struct Album {
    data: tempfile::TempDir,
}

impl Album {
    /// One image for each name; its colour says its place in the list.
    fn new(names: &[&str]) -> Self {
        let album = Self { data: tempfile::tempdir().unwrap() };
        for (number, name) in names.iter().enumerate() {
            album.put(name, number as u8);
        }
        album
    }

    fn root(&self) -> PathBuf {
        self.data.path().join("photos")
    }

    fn put(&self, name: &str, number: u8) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(9, 7, Rgb([number, 100, 200]))
            .save_with_format(&path, ImageFormat::Png)
            .unwrap();
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.root().join(name).parent().unwrap()).unwrap();
        fs::write(self.root().join(name), bytes).unwrap();
    }

    fn dataset(&self) -> Dataset {
        Dataset::ImageFolder {
            path: Folder::new("photos"),
            resize: 4,
            crop: 4,
            channels: 3,
            test_fraction: 0.25,
        }
    }

    fn open(&self) -> Result<ImageFolder, DataError> {
        ImageFolder::open(&Folder::new("photos"), self.data.path())
    }

    fn load(&self) -> Result<DataSplits, DataError> {
        load(&self.dataset(), 0.5, self.data.path())
    }

    fn prepare(&self) -> Result<(), DataError> {
        self.open()?.prepare(3, 4, &mut |_| {})
    }

    /// An error's text without the folder that differs from test to test.
    fn told(&self, error: DataError) -> String {
        error
            .to_string()
            .replace(&*fs::canonicalize(self.data.path()).unwrap().to_string_lossy(), "DATA")
    }
}

/// The number and the class of every image of a part.
fn numbers(images: &Images) -> Vec<(u8, u16)> {
    images.pixels.chunks(3 * 16).map(|image| image[0]).zip(images.labels.iter().copied()).collect()
}

fn in_parts() -> Album {
    Album::new(&[
        "train/b/1.png",
        "train/a/2.png",
        "train/a/1.PNG",
        "train/ς/x.png",
        "val/ς/1.png",
        "test/a/1.png",
        "test/b/deep/er/1.png",
    ])
}

#[test]
fn the_parts_of_a_folder_are_its_own() {
    let album = in_parts();
    let splits = album.load().unwrap();
    assert_eq!((splits.shape, splits.classes), ([3, 4, 4], 3));
    assert_eq!(numbers(&splits.train), [(2, 0), (1, 0), (0, 1), (3, 2)]);
    assert_eq!(numbers(&splits.val), [(4, 2)]);
    assert_eq!(numbers(&splits.test), [(5, 0), (6, 1)]);
    assert!((splits.mean[0] * 255.0 - 1.5).abs() < 1e-4 && splits.std[1] == 1.0);
    assert_eq!(album.open().unwrap().counts(0), [2, 0, 1]);
}

#[test]
fn parts_that_are_not_there_are_cut_from_the_training_images_and_are_always_the_same() {
    let names: Vec<String> = (0..40).map(|n| format!("{}/{n:02}.png", n % 2)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let album = Album::new(&names);
    let splits = album.load().unwrap();
    assert_eq!([splits.train.len(), splits.val.len(), splits.test.len()], [15, 15, 10]);
    let mut all = [&splits.train, &splits.val, &splits.test].map(numbers).concat();
    assert!(all.iter().all(|(number, label)| u16::from(number % 2) == *label));
    all.sort_unstable();
    assert_eq!(all.len(), 40);
    all.dedup();
    assert_eq!(all.len(), 40);
    assert_eq!(album.load().unwrap(), splits);
    // What is tested on has no part in the statistics.
    let trained = numbers(&splits.train).into_iter().chain(numbers(&splits.val));
    let mean = trained.map(|(number, _)| f32::from(number)).sum::<f32>() / 30.0;
    assert!((splits.mean[0] * 255.0 - mean).abs() < 1e-4);
}

#[test]
fn everything_that_is_wrong_with_a_folder_is_said_at_once() {
    let album = in_parts();
    album.put("val/dog/1.png", 0);
    album.put("train/stray.png", 0);
    album.put("holiday/1.png", 0);
    album.write("train/a/film.mp4", b"");
    album.write("train/a/notes.txt", b"");
    album.write("train/a/.DS_Store", b"");
    album.write("README", b"");
    fs::create_dir_all(album.root().join("train/empty")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", album.root().join("train/a/out.png")).unwrap();
    std::os::unix::fs::symlink("nowhere", album.root().join("train/a/broken.png")).unwrap();
    std::os::unix::fs::symlink("..", album.root().join("train/a/circle")).unwrap();
    std::os::unix::fs::symlink("1.PNG", album.root().join("train/a/inside.png")).unwrap();
    insta::assert_snapshot!(album.told(album.open().unwrap_err()).replace("; ", "\n"), @r#"
    image folder DATA/photos has 9 problems: "README": neither a JPEG nor a PNG file, nor of a kind that is passed over
    "holiday": expected train, val and test only
    "train/stray.png": an image outside of the class folders
    "train/a/broken.png": a broken link: No such file or directory (os error 2)
    "train/a/out.png": a link out of the folder, to /etc/hostname
    "train/a/circle": a link to something that is not a file
    "train/a/film.mp4": neither a JPEG nor a PNG file, nor of a kind that is passed over
    "train/empty": a class without an image
    "val/dog": a class that train/ does not have
    "#);
}

#[test]
fn a_folder_that_is_not_laid_out_as_one_is_refused() {
    let report: Vec<String> = [
        Album::new(&["only/1.png"]),
        Album::new(&["1.png"]),
        Album::new(&["val/a/1.png", "val/b/1.png", "other/1.png"]),
        Album { data: tempfile::tempdir().unwrap() },
    ]
    .iter()
    .map(|album| album.told(album.open().unwrap_err()))
    .collect();
    insta::assert_snapshot!(report.join("\n"), @r#"
    image folder DATA/photos has 1 problem: ".": expected at least 2 classes, found 1
    image folder DATA/photos has 2 problems: "1.png": an image outside of the class folders; ".": expected a folder for each class, found none
    image folder DATA/photos has 1 problem: "val": expected folders of classes in train/ and, where they exist, val/ and test/, or folders of classes alone
    there is no image folder DATA/photos: No such file or directory (os error 2); its path counts from the folder of the data sets (--data), unless it begins with /
    "#);
}

#[test]
fn every_image_that_cannot_be_decoded_is_named_and_no_cache_is_left() {
    let album = in_parts();
    let jpeg = fs::read(fixtures().join("rgb.jpg")).unwrap();
    let png = fs::read(fixtures().join("rgb.png")).unwrap();
    album.write("train/a/cut.jpg", &jpeg[..jpeg.len() - 9]);
    album.write("train/a/cut.png", &png[..png.len() / 2]);
    album.write("train/a/empty.png", b"");
    album.write("train/a/text.jpg", b"no image");
    album.write("train/a/gif.png", b"GIF89a\x01\0\x01\0\0\0\0;");
    // A PNG of a few bytes that claims to be 60,000 x 60,000 pixels.
    let mut bomb = png;
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let crc = crc32(&bomb[12..29]).to_be_bytes();
    bomb[29..33].copy_from_slice(&crc);
    album.write("train/b/bomb.png", &bomb);
    insta::assert_snapshot!(album.told(album.prepare().unwrap_err()).replace("; ", "\n"), @r#"
    image folder DATA/photos has 6 problems: "train/a/cut.jpg": the file is truncated: it has no end-of-image marker
    "train/a/cut.png": unexpected end of file
    "train/a/empty.png": the file is empty
    "train/a/gif.png": expected a JPEG or PNG image, found gif
    "train/a/text.jpg": expected a JPEG or PNG image, found something else
    "train/b/bomb.png": it is larger than 512.0 MiB decoded
    "#);
    let left = fs::read_dir(album.open().unwrap().place.decoded()).unwrap();
    let left: Vec<_> = left.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn what_can_be_in_an_image_is_in_the_fingerprint() {
    let album = in_parts();
    let print = || album.open().unwrap().facts().fingerprint;
    let before = print();
    assert_eq!(print(), before);
    // The same size, at the same time of content: still another image.
    let path = album.root().join("train/a/2.png");
    let (old, time) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    let mut new = old.clone();
    *new.last_mut().unwrap() ^= 1;
    fs::write(&path, &new).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let edited = print();
    fs::write(&path, &old).unwrap();
    assert_eq!(print(), before);
    fs::rename(&path, album.root().join("train/a/3.png")).unwrap();
    let renamed = print();
    fs::rename(album.root().join("train/a/3.png"), album.root().join("train/b/2.png")).unwrap();
    let moved = print();
    let prints = std::collections::BTreeSet::from([before.clone(), edited, renamed, moved.clone()]);
    assert_eq!(prints.len(), 4);

    let error = check_unchanged(&album.dataset(), album.data.path(), &before).unwrap_err();
    assert!(error.to_string().contains("has changed since the run was planned"), "{error}");
    check_unchanged(&album.dataset(), album.data.path(), &moved).unwrap();
}

#[test]
fn settled_files_are_hashed_once() {
    let album = in_parts();
    let folder = album.open().unwrap();
    let index = folder.place.index();
    // Files just made are not trusted yet.
    assert!(!index.exists());
    let stamp = folder.listing.parts[0][0].stamp;
    let known = serde_json::json!({
        "format": 1, "files": { "train/a/1.PNG": { "stamp": stamp, "hash": "ab" } },
    });
    fs::create_dir_all(folder.place.folder()).unwrap();
    fs::write(&index, known.to_string()).unwrap();
    assert_ne!(album.open().unwrap().fingerprint, folder.fingerprint);
    fs::write(&index, "{ damaged").unwrap();
    assert_eq!(album.open().unwrap().fingerprint, folder.fingerprint);
}

#[test]
fn images_are_decoded_once_and_a_damaged_cache_is_made_again() {
    let album = in_parts();
    let expected = album.load().unwrap();
    let cache = album.open().unwrap().cache(3, 4);
    let whole = fs::read(&cache).unwrap();
    let marked = fs::metadata(&cache).unwrap().modified().unwrap();
    assert_eq!(album.load().unwrap(), expected);
    assert_eq!(fs::metadata(&cache).unwrap().modified().unwrap(), marked);
    for at in [0, 17, 70, whole.len() - 40, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        fs::write(&cache, &damaged).unwrap();
        assert_eq!(album.load().unwrap(), expected, "{at}");
        assert_eq!(fs::read(&cache).unwrap(), whole);
    }
    fs::write(&cache, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(album.load().unwrap(), expected);

    // What the folder held before is removed.
    album.put("train/a/new.png", 9);
    album.prepare().unwrap();
    assert!(!cache.exists() && album.open().unwrap().cache(3, 4).exists());
}

#[test]
fn of_several_that_want_the_same_one_decodes() {
    let album = in_parts();
    let decoded = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut count = |_| {
                    decoded.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                };
                album.open().unwrap().prepare(3, 4, &mut count).unwrap();
            });
        }
    });
    assert_eq!(decoded.into_inner(), 1);
}

#[test]
fn a_strip_that_would_be_resized_to_gigabytes_is_refused() {
    let mut file = Vec::new();
    let strip = image::GrayImage::new(60_000, 1);
    strip.write_to(&mut std::io::Cursor::new(&mut file), ImageFormat::Png).unwrap();
    let form = Form { channels: 3, side: 256 };
    let error = decode(&file, form, &mut vec![0; form.bytes()]).unwrap_err();
    assert!(error.starts_with("60000 x 1 px is too narrow"), "{error}");
}

fn any_fixture() -> impl Strategy<Value = Vec<u8>> {
    let names = fs::read_dir(fixtures()).unwrap().map(|file| file.unwrap().path());
    let mut names: Vec<_> = names.filter(|path| path.extension().unwrap() != "expected").collect();
    names.sort();
    proptest::sample::select(names).prop_map(|path| fs::read(path).unwrap())
}

proptest! {
    /// An error or an image, never a panic: `decode` says which of its errors was a panic.
    #[test]
    fn no_damage_makes_the_decoder_fail(
        mut bytes in any_fixture(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        for (at, bits) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let form = Form { channels: 3, side: 24 };
        if let Err(why) = decode(&bytes, form, &mut vec![0; form.bytes()]) {
            prop_assert!(!why.contains("the decoder failed"), "{why}");
        }
    }

    /// What is cut off is noticed, whatever the kind of the file.
    #[test]
    fn a_truncated_file_is_an_error(bytes in any_fixture(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len() - 2);
        let form = Form { channels: 1, side: 24 };
        // A PNG file is whole without its last, empty chunk of twelve bytes.
        let is_png = bytes.starts_with(b"\x89PNG");
        prop_assume!(!is_png || cut < bytes.len() - 16);
        prop_assert!(decode(&bytes[..cut], form, &mut vec![0; form.bytes()]).is_err());
    }
}
