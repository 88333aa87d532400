//! Every layer on an accelerator against itself in main memory: outputs, gradients of inputs and
//! parameters, running statistics, and what is beyond the samples in use, which must stay as it was.

use proptest::prelude::*;

use super::rows::{Parts, bias_gradient};
use crate::spec::activation::Activation as Name;
use crate::spec::batch_norm::Normalisation;
use crate::train::device::{Accelerator, Table, emulated};
use crate::train::kernel::{Buffer, Workspace};
use crate::train::lane_set::LaneSet;
use crate::train::layer::activation::Activation;
use crate::train::layer::avg_pool2d::AvgPool2d;
use crate::train::layer::batch_norm::BatchNorm;
use crate::train::layer::conv2d::{Conv2d, Convolution};
use crate::train::layer::dropout::{Dropout, DropoutLane};
use crate::train::layer::flatten::Flatten;
use crate::train::layer::gradient_check::fill;
use crate::train::layer::linear::{Bias, Linear};
use crate::train::layer::local_response_norm::{LocalResponseNorm, Response};
use crate::train::layer::max_pool2d::MaxPool2d;
use crate::train::layer::parameter::{Start, StorageOrder};
use crate::train::layer::patches::Window;
use crate::train::layer::pool_windows::Pool;
use crate::train::layer::{Flow, Layer, Mode, Parameter, Pass, Shape};

/// What stands where nothing may be written.
pub(super) const UNTOUCHED: f32 = 77.0;

/// How many lanes, samples in use, and samples that there is room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    pub(super) lanes: usize,
    pub(super) samples: usize,
    pub(super) capacity: usize,
    /// Numbers for which gradients have room beyond the layer's own, as in a network with larger
    /// layers: where they are no multiple of four, lanes begin where four numbers are not read at once.
    pub(super) room: usize,
}

pub(super) const BATCH: Batch = Batch { lanes: 3, samples: 5, capacity: 7, room: 4 };

/// How near the two results must be, relative to the larger of 1 and the number; 0 asks for the same
/// bits.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    outputs: f32,
    gradients: f32,
}

const EXACT: Tolerance = Tolerance { outputs: 0.0, gradients: 0.0 };

/// Numbers in (-2, 2) with some zeros of both signs and ties, as layers meet them.
fn number(i: usize) -> f32 {
    match i % 11 {
        3 => 0.0,
        5 => -0.0,
        7 => 0.5,
        _ => ((i as f64 * 12.9898 + 0.5).sin() * 43_758.547 % 2.0) as f32,
    }
}

/// A buffer of `lanes` with room for `len` numbers, on the accelerator if there is one.
fn buffer(
    [lanes, len]: [usize; 2],
    fill: impl Fn(usize) -> f32,
    on: Option<&Accelerator>,
) -> Buffer<f32> {
    let mut buffer = Buffer::zeros(lanes, &[len]).unwrap();
    buffer.write(|x| x.iter_mut().enumerate().for_each(|(i, x)| *x = fill(i))).unwrap();
    if let Some(accelerator) = on {
        buffer.move_to(accelerator).unwrap();
    }
    buffer
}

/// Everything that can be seen of a layer, by its name.
pub(super) type Seen = Vec<(String, Vec<f32>)>;

/// Everything that can be seen of a layer after a step, an evaluation and another step.
fn run(layer: Box<dyn Layer<f32>>, input: Shape, batch: Batch, on: Option<&Accelerator>) -> Seen {
    run_of(layer, (input, batch), [&|x| x; 2], on)
}

/// The same with all factors of products changed (inputs, gradients of outputs, weights), and all else
/// that is learnt.
pub(super) fn run_of(
    mut layer: Box<dyn Layer<f32>>,
    (input, batch): (Shape, Batch),
    [changed, rest]: [&dyn Fn(f32) -> f32; 2],
    on: Option<&Accelerator>,
) -> Seen {
    fill(&mut *layer);
    for parameter in layer.parameters_mut() {
        let change = if matches!(parameter.start, Start::Weight { .. }) { changed } else { rest };
        parameter.value.write(|x| x.iter_mut().for_each(|x| *x = change(*x))).unwrap();
    }
    if let Some(accelerator) = on {
        layer.move_to(accelerator).unwrap();
    }
    let Batch { lanes, samples, capacity, room } = batch;
    let (inputs, outputs) = (input.units(), layer.output_shape().units());
    let room = [lanes, capacity * inputs.max(outputs) + room];
    let untouched = |_| UNTOUCHED;
    let mut seen = Vec::new();
    for (turn, mode) in
        [Mode::Train { step: 3 }, Mode::Evaluate, Mode::Train { step: 4 }].into_iter().enumerate()
    {
        let x = buffer([lanes, capacity * inputs], |i| changed(number(i + 100 * turn)), on);
        let mut y = buffer([lanes, capacity * outputs], untouched, on);
        let pass = Pass { mode, samples: samples - turn / 2, first_sample: 3 };
        layer.forward(&x, &mut y, &pass).unwrap();
        seen.push((format!("output {turn}"), y.read().unwrap().to_vec()));
        if mode == Mode::Evaluate {
            continue;
        }
        let dy = buffer(room, |i| changed(number(i + 17)), on);
        let mut dx = buffer(room, untouched, on);
        let mut ready = Vec::new();
        for input_gradient in [None, Some(&mut dx)] {
            let flow = Flow { input: &x, output: &y, gradient: &dy, input_gradient };
            // What is kept of a forward may be used up by one backward.
            layer
                .forward(&x, &mut buffer([lanes, capacity * outputs], untouched, on), &pass)
                .unwrap();
            ready.clear();
            let mut note = |parameter: &mut Parameter<f32>| {
                ready.push(parameter.name.clone());
                Ok(())
            };
            layer.backward(flow, &pass, &mut note).unwrap();
        }
        seen.push((format!("input gradient {turn}"), dx.read().unwrap().to_vec()));
        for parameter in layer.parameters() {
            assert!(ready.contains(&parameter.name));
            let name = format!("gradient of {} {turn}", parameter.name);
            seen.push((name, parameter.gradient.read().unwrap().to_vec()));
        }
        for state in layer.states() {
            seen.push((format!("{} {turn}", state.name), state.value.read().unwrap().to_vec()));
        }
    }
    seen
}

/// Compares a layer on the accelerator with the same in main memory.
fn check(make: impl Fn() -> Box<dyn Layer<f32>>, input: Shape, batch: Batch, tolerance: Tolerance) {
    let expected = run(make(), input, batch, None);
    for accelerator in emulated::accelerators() {
        let found = run(make(), input, batch, Some(&accelerator));
        compare(&expected, &found, tolerance);
    }
}

/// Compares what was seen in main memory with what was seen on an accelerator.
fn compare(expected: &[(String, Vec<f32>)], found: &[(String, Vec<f32>)], tolerance: Tolerance) {
    assert_eq!(expected.len(), found.len());
    for ((name, expected), (_, found)) in expected.iter().zip(found) {
        let output = name.starts_with("output");
        let tolerance = if output { tolerance.outputs } else { tolerance.gradients };
        assert_eq!(expected.len(), found.len(), "{name}");
        for (place, (&expected, &found)) in expected.iter().zip(found).enumerate() {
            let near = (expected - found).abs() <= tolerance * expected.abs().max(1.0);
            let same = expected.to_bits() == found.to_bits();
            assert!(
                same || tolerance > 0.0 && near,
                "{name}[{place}]: {found}, in main memory {expected}"
            );
        }
    }
}

const IMAGE: Shape = Shape { height: 6, width: 5, channels: 4 };

#[test]
fn activations_have_the_same_bits() {
    let names = [
        Name::Relu,
        Name::LeakyRelu { negative_slope: 0.3 },
        Name::Elu { alpha: 1.7 },
        Name::Gelu { approximate: false },
        Name::Gelu { approximate: true },
        Name::Silu,
        Name::Sigmoid,
        Name::Tanh,
        Name::Identity,
    ];
    for (at, name) in names.iter().enumerate() {
        // Other functions in the other lanes.
        let functions =
            vec![names[(at + 4) % 9].clone(), name.clone(), names[(at + 1) % 9].clone()];
        let make =
            || -> Box<dyn Layer<f32>> { Box::new(Activation::new(functions.clone(), IMAGE)) };
        check(make, IMAGE, BATCH, EXACT);
        check(make, IMAGE, Batch { room: 3, ..BATCH }, EXACT);
    }
}

#[test]
fn flattening_has_the_same_bits() {
    check(|| Box::new(Flatten::new(IMAGE)), IMAGE, BATCH, EXACT);
}

#[test]
fn dropout_draws_the_same_numbers() {
    let lane = |seed, probability| DropoutLane { seed, probability };
    // One seed beyond 32 bits, and a lane that drops nothing.
    let lanes = [lane(3, 0.3), lane((1 << 40) + 5, 0.75), lane(4, 0.0)];
    let shape = Shape::flat(71);
    let make = || -> Box<dyn Layer<f32>> {
        Box::new(Dropout::new(&lanes, BATCH.capacity, shape, 2).unwrap())
    };
    check(make, shape, BATCH, EXACT);
}

#[test]
fn pools_have_the_same_bits() {
    let pool = |size: [usize; 2], stride: [usize; 2], padding: [usize; 2], ceil_mode| Pool {
        size,
        stride,
        padding,
        ceil_mode,
    };
    let odd = Shape { channels: 3, ..IMAGE };
    for pool in [
        pool([2, 2], [2, 2], [0, 0], false),
        pool([3, 2], [2, 1], [1, 1], true),
        pool([3, 3], [1, 2], [0, 1], true),
        pool([1, 2], [3, 3], [0, 0], false),
        pool([6, 5], [1, 1], [0, 0], false),
    ] {
        let max = || -> Box<dyn Layer<f32>> {
            Box::new(MaxPool2d::new(BATCH.lanes, BATCH.capacity, IMAGE, pool).unwrap())
        };
        check(max, IMAGE, BATCH, EXACT);
        check(max, IMAGE, Batch { room: 1, ..BATCH }, EXACT);
        let max = || -> Box<dyn Layer<f32>> {
            Box::new(MaxPool2d::new(BATCH.lanes, BATCH.capacity, odd, pool).unwrap())
        };
        check(max, odd, BATCH, EXACT);
        for padding_counts in [true, false] {
            let avg = || -> Box<dyn Layer<f32>> {
                Box::new(AvgPool2d::new(IMAGE, pool, padding_counts).unwrap())
            };
            check(avg, IMAGE, BATCH, EXACT);
        }
    }
    for size in [[1, 1], [4, 3], [9, 5]] {
        check(|| Box::new(AvgPool2d::adaptive(IMAGE, size)), IMAGE, BATCH, EXACT);
    }
}

#[test]
fn local_response_norm_has_the_same_bits() {
    let shape = Shape { height: 2, width: 3, channels: 7 };
    for (size, beta) in [(5, 0.75), (4, 0.75), (1, 0.75), (20, 0.75), (3, 0.6)] {
        let response = Response { size, alpha: 0.9, beta, k: 1.1 };
        let make = || -> Box<dyn Layer<f32>> {
            let layer = LocalResponseNorm::new(BATCH.lanes, BATCH.capacity, shape, response);
            Box::new(layer.unwrap())
        };
        check(make, shape, BATCH, EXACT);
    }
}

/// Sums over a few hundred rows at most: on the CPU in f32, here in f64.
const SUMS: Tolerance = Tolerance { outputs: 2e-6, gradients: 2e-5 };

#[test]
fn batch_norm_agrees_in_every_lane_also_in_one_without_it() {
    let lanes = vec![
        Some(Normalisation { momentum: 0.1, eps: 1e-5 }),
        None,
        Some(Normalisation { momentum: 0.5, eps: 0.3 }),
    ];
    // Enough rows for several parts, and a single row, which has no unbiased variance.
    let large = Shape { height: 9, width: 11, channels: 3 };
    for (shape, samples) in [(IMAGE, 5), (large, 60), (Shape::flat(6), 2)] {
        for living in [vec![true; 3], vec![false, true, true]] {
            let make = || -> Box<dyn Layer<f32>> {
                let mut layer = BatchNorm::new(lanes.clone(), 1, shape).unwrap();
                layer.keep_alive(&living.iter().copied().collect::<LaneSet>());
                Box::new(layer)
            };
            for room in [4, 2] {
                let batch = Batch { samples, capacity: samples + 2, room, ..BATCH };
                check(make, shape, batch, SUMS);
            }
        }
    }
}

#[test]
fn linear_layers_agree_with_a_bias_in_all_some_or_no_lanes() {
    let some: LaneSet = [true, false, true].into_iter().collect();
    for bias in [Bias::With, Bias::Without, Bias::In(some)] {
        for (samples, units, room) in [(1, 7, 4), (5, 7, 4), (300, 7, 4), (90, 8, 4), (90, 8, 1)] {
            let make = || -> Box<dyn Layer<f32>> {
                Box::new(Linear::new(3, (1, 0), (33, units), bias.clone()).unwrap())
            };
            let batch = Batch { samples: samples + 1, capacity: samples + 2, room, ..BATCH };
            check(make, Shape::flat(33), batch, Tolerance { outputs: 1e-5, gradients: 1e-5 });
        }
    }
}

/// Over many rows, of whole fours of columns and of others, in lanes that begin at multiples of 16 bytes
/// and elsewhere: the sums of main memory in f64, rounded once.
#[test]
fn gradients_of_biases_are_sums_of_all_rows() {
    const LANES: usize = 2;
    for accelerator in emulated::accelerators() {
        for (rows, columns, room) in
            [(0, 4, 4), (7, 8, 4), (520, 8, 0), (9000, 12, 4), (9000, 12, 3), (3000, 5, 1)]
        {
            let len = rows * columns + room;
            let wave = |i: usize| (i as f32 * 0.37).sin() + 0.2;
            let gradient = buffer([LANES, len], wave, Some(&accelerator));
            let (order, start) = (StorageOrder::Saved, Start::Constant(0.0));
            let lanes: LaneSet = [true; LANES].into_iter().collect();
            let mut bias =
                Parameter::new("b".to_owned(), lanes, vec![columns], order, start).unwrap();
            bias.value.move_to(&accelerator).unwrap();
            bias.gradient.move_to(&accelerator).unwrap();
            let mut present = Table::default();
            bias_gradient(&accelerator, &mut bias, (&gradient, rows), &mut present).unwrap();
            let found = bias.gradient.read().unwrap();
            for (place, &found) in found.iter().enumerate() {
                let (lane, column) = (place / columns, place % columns);
                let at = |row: usize| f64::from(wave(lane * len + row * columns + column));
                let expected: f64 = (0..rows).map(at).sum();
                let error = (f64::from(found) - expected).abs();
                assert!(error <= 1.2e-7 * expected.abs(), "{rows} {columns} {room}: {place}");
            }
        }
    }
}

pub(super) fn convolution(input: Shape, window: Window, groups: usize, lanes: usize) {
    let bias = Bias::In((0..lanes).map(|lane| lane != 1).collect());
    let what = Convolution { channels: 8, window, groups, bias };
    let make = || -> Box<dyn Layer<f32>> {
        let memory = (&Workspace::default(), BATCH.capacity);
        Box::new(Conv2d::new(lanes, (1, 0), input, what.clone(), memory).unwrap())
    };
    // Winograd's minimal filtering, in main memory, has errors of its own.
    let tolerance = Tolerance { outputs: 3e-5, gradients: 1e-4 };
    check(make, input, Batch { lanes, ..BATCH }, tolerance);
}

#[test]
fn convolutions_of_every_geometry_agree() {
    let image = Shape { height: 9, width: 7, channels: 4 };
    for (size, stride, padding, dilation, groups) in [
        ([3, 3], [1, 1], [1, 1], [1, 1], 1),
        ([1, 1], [1, 1], [0, 0], [1, 1], 1),
        ([5, 3], [2, 3], [2, 1], [1, 1], 1),
        ([3, 2], [1, 2], [2, 1], [2, 2], 2),
        ([2, 3], [3, 1], [1, 3], [1, 2], 4),
    ] {
        for lanes in [1, 3] {
            convolution(image, Window { size, stride, padding, dilation }, groups, lanes);
        }
    }
    let deep = Shape { height: 6, width: 6, channels: 16 };
    convolution(deep, Window::square(3, 1, 1), 1, 2);
    // Lanes that do not begin where a library wants them to.
    let odd = Shape { height: 3, width: 3, channels: 1 };
    convolution(odd, Window::square(2, 1, 0), 1, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn convolutions_of_drawn_geometries_agree(
        (height, width) in (1..9_usize, 1..9_usize),
        (size, stride) in ([1..4_usize, 1..4], [1..4_usize, 1..4]),
        (padding, dilation) in ([0..3_usize, 0..3], [1..3_usize, 1..3]),
        groups in proptest::sample::select(vec![1_usize, 2, 4]),
    ) {
        let input = Shape { height, width, channels: 4 };
        let window = Window { size, stride, padding, dilation };
        let fits = [0, 1].iter().all(|&axis| padding[axis] < window.span(axis));
        prop_assume!(fits && window.output(input).is_some());
        convolution(input, window, groups, 2);
    }
}

#[test]
fn parts_cover_all_rows_once_and_few_sums_are_left_to_one_thread() {
    for columns in [1, 4, 10, 64, 512, 4096, 1 << 20] {
        for rows in (1..2000).chain([774_400, 1 << 20, (1 << 20) + 1]) {
            let parts = Parts::of(rows, columns);
            assert!(parts.count <= 4096 && parts.count * parts.rows >= rows);
            assert!((parts.count - 1) * parts.rows < rows);
            assert!(parts.rows >= 8 && (1..=64).contains(&parts.joined()), "{rows} {columns}");
        }
    }
}
