//! Products in TF32 and bf16: of rounded factors, on every accelerator that rounds as the tests do, and
//! within the bound of rounding errors on every one.

use super::tests::{BATCH, Batch, Seen, UNTOUCHED, run_of};
use crate::spec::precision::Precision;
use crate::train::device::emulated::rounding::{to_bf16, to_tf32};
use crate::train::device::{Accelerator, emulated};
use crate::train::kernel::Workspace;
use crate::train::layer::conv2d::{Conv2d, Convolution};
use crate::train::layer::linear::{Bias, Linear};
use crate::train::layer::patches::Window;
use crate::train::layer::{Layer, Shape};

/// Makes the same layer in any precision.
type Make<'a> = &'a dyn Fn(Precision) -> Box<dyn Layer<f32>>;

fn rounding(precision: Precision) -> fn(f32) -> f32 {
    match precision {
        Precision::F32 => |x| x,
        Precision::Tf32 => to_tf32,
        Precision::Bf16 => to_bf16,
    }
}

/// The most that rounding changes a number, relative to it. A GPU may cut TF32's factors off.
fn unit(precision: Precision) -> f32 {
    match precision {
        Precision::F32 => 0.0,
        Precision::Tf32 => 2.0_f32.powi(-10),
        Precision::Bf16 => 2.0_f32.powi(-8),
    }
}

/// Sums are made in another order than in main memory, where Winograd's filtering has errors too.
const SUMS: f32 = 1e-4;

/// Does what it computes with round as the tests do?
fn is_exact(accelerator: &Accelerator) -> bool {
    ["the emulated accelerator", "cuda:0 (fake"]
        .iter()
        .any(|name| accelerator.name().starts_with(name))
}

fn each(what: &str, [expected, found]: [&Seen; 2], near: impl Fn(&str, usize, [f32; 2]) -> bool) {
    assert_eq!(expected.len(), found.len());
    for ((name, expected), (_, found)) in expected.iter().zip(found) {
        assert_eq!(expected.len(), found.len(), "{name}");
        for (place, pair) in expected.iter().zip(found).enumerate() {
            let (&expected, &found) = pair;
            let near = near(name, place, [expected, found]);
            let holds = if expected == UNTOUCHED { found == expected } else { near };
            assert!(holds, "{what}: {name}[{place}]: {found}, expected {expected}");
        }
    }
}

/// A layer in every precision on every accelerator.
fn check(make: Make<'_>, input: Shape, batch: Batch) {
    let at = (input, batch);
    let same = |x| x;
    let in_f32 = |factors: &dyn Fn(f32) -> f32, rest: &dyn Fn(f32) -> f32| {
        run_of(make(Precision::F32), at, [factors, rest], None)
    };
    let plain = in_f32(&same, &same);
    // The sums of what products are rounded in.
    let sizes = in_f32(&f32::abs, &f32::abs);
    for accelerator in emulated::accelerators() {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let found = run_of(make(precision), at, [&same; 2], Some(&accelerator));
            // (1 + u)^2 - 1 for two factors, and u once more where a library rounds what it made.
            let bound = 3.0 * unit(precision) * (1.0 + unit(precision));
            each(
                &format!("{precision:?}, bounded"),
                [&plain, &found],
                |name, place, [expected, found]| {
                    let (_, sizes) = sizes.iter().find(|(other, _)| other == name).unwrap();
                    (found - expected).abs()
                        <= bound * sizes[place].abs() + SUMS * expected.abs().max(1.0)
                },
            );
            if !is_exact(&accelerator) {
                continue;
            }
            let mut rounded = in_f32(&rounding(precision), &same);
            // The gradient of a bias is no product.
            let bias = |name: &str| name.contains(".bias");
            for ((name, numbers), (_, plain)) in rounded.iter_mut().zip(&plain) {
                if bias(name) {
                    numbers.clone_from(plain);
                }
            }
            let apart = rounded.iter().zip(&plain).map(|((_, a), (_, b))| {
                a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max)
            });
            let apart = apart.fold(0.0_f32, f32::max);
            assert_eq!(apart > 10.0 * SUMS, precision != Precision::F32, "{precision:?}: {apart}");
            // A library writes what it makes of bf16 in bf16.
            let made = precision == Precision::Bf16 && accelerator.name().contains("cuDNN");
            let made = if made { unit(precision) } else { 0.0 };
            each(
                &format!("{precision:?}, rounded"),
                [&rounded, &found],
                |name, _, [expected, found]| {
                    let made = if bias(name) { 0.0 } else { made * expected.abs() };
                    (found - expected).abs() <= made + SUMS * expected.abs().max(1.0)
                },
            );
        }
    }
}

#[test]
fn linear_layers_multiply_factors_rounded_as_the_precision_says() {
    let some = Bias::In([true, false, true].into_iter().collect());
    for (bias, samples) in [(Bias::With, 1), (some, 5), (Bias::Without, 40)] {
        let make = |precision| -> Box<dyn Layer<f32>> {
            let layer = Linear::new(3, (1, 0), (33, 7), bias.clone()).unwrap();
            Box::new(layer.in_precision(precision))
        };
        let batch = Batch { samples: samples + 1, capacity: samples + 2, ..BATCH };
        check(&make, Shape::flat(33), batch);
    }
}

#[test]
fn convolutions_multiply_factors_rounded_as_the_precision_says() {
    let image = Shape { height: 9, width: 7, channels: 4 };
    for (size, stride, padding, dilation, groups, lanes) in [
        ([3, 3], [1, 1], [1, 1], [1, 1], 1, 3),
        ([5, 3], [2, 3], [2, 1], [1, 1], 1, 1),
        ([3, 2], [1, 2], [2, 1], [2, 2], 2, 3),
        ([2, 3], [3, 1], [1, 3], [1, 2], 4, 2),
    ] {
        let window = Window { size, stride, padding, dilation };
        let bias = Bias::In((0..lanes).map(|lane| lane != 1).collect());
        let what = Convolution { channels: 8, window, groups, bias };
        let make = |precision| -> Box<dyn Layer<f32>> {
            let memory = (&Workspace::default(), BATCH.capacity);
            let layer = Conv2d::new(lanes, (1, 0), image, what.clone(), memory).unwrap();
            Box::new(layer.in_precision(precision))
        };
        check(&make, image, Batch { lanes, ..BATCH });
    }
    // Without a bias, and with lanes that no library takes as they lie.
    for (shape, channels, lanes) in
        [(image, 8, 2), (Shape { height: 3, width: 3, channels: 1 }, 3, 3)]
    {
        let window = Window::square(2, 1, 0);
        let what = Convolution { channels, window, groups: 1, bias: Bias::Without };
        let make = |precision| -> Box<dyn Layer<f32>> {
            let memory = (&Workspace::default(), BATCH.capacity);
            let layer = Conv2d::new(lanes, (1, 0), shape, what.clone(), memory).unwrap();
            Box::new(layer.in_precision(precision))
        };
        check(&make, shape, Batch { lanes, ..BATCH });
    }
}
