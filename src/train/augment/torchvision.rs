//! Held against torchvision: the same pixels for the same parameters, the same distributions of
//! random parameters. `tests/reference/augment.py` makes the file.

use serde_json::Value as Json;

use super::affine::{Affine, Motion, Ranges};
use super::canvas::{Canvas, Memory};
use super::crop;
use super::jitter::{Blend, Jitter};
use super::mixup::mix;
use super::normalise::{Normalise, unit};
use super::resized_crop::Shapes;
use super::surface::Surface;
use crate::train::kernel::resize::Cut;
use crate::train::model::InputOrder;
use crate::train::rng::{Purpose, Reader, Stream};

/// Draws one parameter.
type Draw<'a> = &'a dyn Fn(&mut Reader) -> f64;

fn fixture() -> Json {
    let text = include_str!("../../../tests/fixtures/torchvision/augment.json");
    serde_json::from_str(text).unwrap()
}

fn number(json: &Json) -> f64 {
    json.as_f64().unwrap_or_else(|| panic!("{json} is no number"))
}

fn numbers<const N: usize>(json: &Json) -> [f64; N] {
    let all: Vec<f64> = json.as_array().unwrap().iter().map(number).collect();
    all.try_into().unwrap()
}

fn places<const N: usize>(json: &Json) -> [usize; N] {
    numbers(json).map(|x| x as usize)
}

/// The script's picture, (C, H, W).
fn picture(channels: usize, [height, width]: [usize; 2]) -> Vec<u8> {
    let pixel = |c: usize, y: usize, x: usize| {
        (x * 23 + y * 41 + c * 67 + x * y * (c + 3) + (x * x + 7 * y) / 5) % 256
    };
    let at = |i: usize| pixel(i / (height * width), i / width % height, i % width) as u8;
    (0..channels * height * width).map(at).collect()
}

fn bytes(hex: &Json) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// What `work` makes of a picture: numbers as they were bytes, since mean and deviation are those of
/// no normalisation.
fn made(size: [usize; 2], work: impl FnOnce(&mut Canvas<'_>)) -> (Vec<u8>, [usize; 2]) {
    let image = picture(3, size);
    let mut memory = Memory::default();
    let mut canvas = Canvas::new(&image, [3, size[0], size[1]], &mut memory);
    work(&mut canvas);
    let size = canvas.size();
    let mut out = vec![0.0; 3 * size[0] * size[1]];
    let normalise = Normalise::new(&[0.0; 3], &[1.0; 3], InputOrder::ChannelsFirst);
    canvas.finish(&normalise, &mut out);
    (out.iter().map(|x| (x * 255.0).round() as u8).collect(), size)
}

#[test]
fn geometry_gives_torchvisions_pixels() {
    let fixture = fixture();
    let cases = fixture["geometry"].as_array().unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let (size, parameters) = (places::<2>(&case["size"]), &case["parameters"]);
        let operation = case["operation"].as_str().unwrap();
        let (found, found_size) = made(size, |canvas| match operation {
            "affine" => {
                let motion = Motion {
                    // Clockwise, unlike `rotate`.
                    degrees: -number(&parameters["degrees"]),
                    shift: numbers(&parameters["shift"]).map(|x| x as i32),
                    scale: number(&parameters["scale"]),
                    shear: numbers(&parameters["shear"]),
                };
                canvas.move_by(&Affine::new(&motion, size));
            }
            "rotate" => {
                let degrees = number(&parameters["degrees"]);
                let motion = Motion { degrees, shift: [0, 0], scale: 1.0, shear: [0.0; 2] };
                canvas.move_by(&Affine::new(&motion, size));
            }
            "crop" => canvas.cut(numbers(&parameters["place"]).map(|x| x as i32), size),
            "mirror" => canvas.flip(true),
            "centre" => {
                let cut = places(&parameters["cut"]);
                canvas.cut([0, 1].map(|axis| crop::centre(size[axis], cut[axis])), cut);
            }
            "resized_crop" => {
                let [top, left, height, width] = places(&parameters["cut"]);
                let cut = Cut { top, left, size: [height, width] };
                canvas.resize(&cut, places(&parameters["to"]));
            }
            other => panic!("{other}"),
        });
        assert_eq!(found_size, places::<2>(&case["result_size"]), "{case}");
        assert_eq!(found, bytes(&case["pixels"]), "{case}");
    }
}

/// Within 1e-5 of torchvision on tensors. Of torchvision on PIL images, which rounds the grey it
/// blends with to bytes and cuts off what is behind the point of the result: within
/// 1 + |1 - factor| / 2 in 255.
#[test]
fn colours_are_torchvisions() {
    let fixture = fixture();
    let cases = fixture["colour"].as_array().unwrap();
    assert_eq!(cases.len(), 46);
    for case in cases {
        let channels = case["channels"].as_u64().unwrap() as usize;
        let mut image: Vec<f32> =
            picture(channels, places(&case["size"])).into_iter().map(unit).collect();
        let mut last = 0.0;
        for step in case["sequence"].as_array().unwrap() {
            let factor = number(&step[1]) as f32;
            let blend = match step[0].as_str().unwrap() {
                "brightness" => Blend::Brightness(factor),
                "contrast" => Blend::Contrast(factor),
                "saturation" => Blend::Saturation(factor),
                "hue" => Blend::Hue(factor),
                other => panic!("{other}"),
            };
            blend.apply(&mut image, channels);
            last = factor;
        }
        let expected = case["values"].as_array().unwrap();
        assert_eq!(image.len(), expected.len());
        for (found, expected) in image.iter().zip(expected) {
            assert!((f64::from(*found) - number(expected)).abs() < 1e-5, "{case}");
        }
        if case["pixels"].is_string() {
            let bound = 1.0 + (1.0 - last).abs() / 2.0 + 1e-3;
            for (found, expected) in image.iter().zip(bytes(&case["pixels"])) {
                let distance = (found * 255.0 - f32::from(expected)).abs();
                assert!(distance <= bound, "{distance}: {case}");
            }
        }
    }
}

#[test]
fn normalisation_gives_torchvisions_bits() {
    let fixture = &fixture()["normalised"];
    let constants = |name: &str| numbers::<3>(&fixture[name]).map(|x| x as f32);
    let normalise =
        Normalise::new(&constants("mean"), &constants("std"), InputOrder::ChannelsFirst);
    let image: Vec<u8> = (0..3).flat_map(|_| 0..=255).collect();
    let mut out = vec![0.0; image.len()];
    normalise.bytes(&image, &mut out);
    let expected: Vec<u32> =
        fixture["bits"].as_array().unwrap().iter().map(|bits| number(bits) as u32).collect();
    assert_eq!(out.iter().map(|x| x.to_bits()).collect::<Vec<u32>>(), expected);
}

#[test]
fn two_images_are_mixed_as_by_torchvision() {
    let fixture = &fixture()["mixed"];
    let narrow = |name: &str| numbers::<6>(&fixture[name]).map(|x| x as f32);
    let mut images = narrow("images");
    let (first, second) = images.split_at_mut(3);
    let share = number(&fixture["share"]) as f32;
    mix(first, second, [share; 2]);
    let close = images.iter().zip(narrow("mixed")).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close, "{images:?}");
}

/// Both samples' distribution functions nowhere differ by more than one pair of samples in a million
/// would (Kolmogorov and Smirnov).
#[test]
fn parameters_are_drawn_as_torchvision_draws_them() {
    let fixture = &fixture()["random"];
    let theirs = number(&fixture["draws"]);
    let ranges =
        Ranges { degrees: 15.0, translate: [0.1, 0.2], scale: [0.8, 1.3], shear: [10.0, 5.0] };
    let shapes = Shapes { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] };
    let jitter = Jitter { brightness: 0.3, contrast: 0.4, saturation: 1.5, hue: 0.1 };
    let motion = |draws: &mut Reader| ranges.draw(draws, [40, 60]);
    let blend = |draws: &mut Reader, kind: usize| {
        let found = jitter.draw(draws).into_iter().enumerate().find_map(|(place, blend)| {
            match (kind, blend) {
                (0, Blend::Brightness(x)) | (1, Blend::Contrast(x)) => Some(x),
                (2, Blend::Saturation(x)) | (3, Blend::Hue(x)) => Some(x),
                (4, Blend::Hue(_)) => Some(place as f32),
                _ => None,
            }
        });
        f64::from(found.unwrap())
    };
    let cut = |draws: &mut Reader| shapes.draw(draws, [40, 60]);
    // Counted from the corner of the padded image, as there.
    let crop =
        |draws: &mut Reader| crop::draw(draws, [40, 60], 4, [36, 36]).map(|x| f64::from(x + 4));
    let draw: [(&str, Draw<'_>); 17] = [
        ("resized_crop.top", &|draws| cut(draws).top as f64),
        ("resized_crop.left", &|draws| cut(draws).left as f64),
        ("resized_crop.height", &|draws| cut(draws).size[0] as f64),
        ("resized_crop.width", &|draws| cut(draws).size[1] as f64),
        ("affine.degrees", &|draws| motion(draws).degrees),
        ("affine.right", &|draws| motion(draws).shift[0].into()),
        ("affine.down", &|draws| motion(draws).shift[1].into()),
        ("affine.scale", &|draws| motion(draws).scale),
        ("affine.shear_x", &|draws| motion(draws).shear[0]),
        ("affine.shear_y", &|draws| motion(draws).shear[1]),
        ("jitter.brightness", &|draws| blend(draws, 0)),
        ("jitter.contrast", &|draws| blend(draws, 1)),
        ("jitter.saturation", &|draws| blend(draws, 2)),
        ("jitter.hue", &|draws| blend(draws, 3)),
        ("jitter.place_of_hue", &|draws| blend(draws, 4)),
        ("crop.top", &|draws| crop(draws)[0]),
        ("crop.left", &|draws| crop(draws)[1]),
    ];
    assert_eq!(fixture["distributions"].as_object().unwrap().len(), draw.len());
    for (name, draw) in draw {
        let ours: Vec<f64> = (0..20_000)
            .map(|sample| draw(&mut Stream::new(11, Purpose::Augment, 1, sample).reader()))
            .collect();
        let n = ours.len() as f64;
        let limit = 2.69 * ((n + theirs) / (n * theirs)).sqrt();
        for point in fixture["distributions"][name].as_array().unwrap() {
            let [x, expected] = numbers(point);
            let found = ours.iter().filter(|&&drawn| drawn <= x).count() as f64 / n;
            assert!((found - expected).abs() < limit, "{name} at {x}: {found}, not {expected}");
        }
    }
}
