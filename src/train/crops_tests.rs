use std::sync::Arc;

use super::*;
use crate::spec::RunConfig;
use crate::spec::augmentation::Augmentation;
use crate::spec::model::Model;
use crate::spec::operation::{Operation, Side};
use crate::train::Trainer;
use crate::train::data::{DataSplits, Images};
use crate::train::model;

const SIDE: usize = 6;

fn data() -> Arc<DataSplits> {
    let part = |n: usize| Images {
        pixels: (0..n * 3 * SIDE * SIDE).map(|i| (i * 7919 % 251) as u8).collect(),
        labels: (0..n).map(|i| (i % 4) as u16).collect(),
    };
    Arc::new(DataSplits {
        shape: [3, SIDE, SIDE],
        classes: 4,
        mean: vec![0.4; 3],
        std: vec![0.25; 3],
        train: part(8),
        val: part(5),
        test: part(7),
    })
}

/// A lane whose network takes the middle 4 x 4 px, with weights large enough to be sure of itself.
fn lane(seed: u64, evaluation: Views) -> RunConfig {
    RunConfig {
        seed,
        evaluation,
        model: Model::Mlp { hidden: vec![16] },
        augmentation: Augmentation::of(vec![Operation::RandomCrop {
            padding: 0,
            size: Side::Pixels(4),
        }]),
        ..RunConfig::default()
    }
}

fn ten(padding: u32) -> Views {
    Views::TenCrop { padding, on: On::Both }
}

fn five(padding: u32) -> Views {
    Views::FiveCrop { padding, on: On::Both }
}

fn network(lanes: &[RunConfig], capacity: usize) -> (Network<f32>, Batches) {
    let network = model::build(lanes, [3, 4, 4], 4, capacity).unwrap();
    let batches = Batches::new(lanes, data(), network.input_order());
    (network, batches)
}

/// The views cut out by hand, the probabilities averaged in the plainest way.
fn brute_force(config: &RunConfig, part: Part) -> (f64, u64) {
    let (mut network, _) = network(std::slice::from_ref(config), 1);
    let (data, (padding, _)) = (data(), config.evaluation.several().unwrap());
    let padding = padding as i32;
    let last = SIDE as i32 + padding - 4;
    let starts = [[-padding, -padding], [-padding, last], [last, -padding], [last, last], [1, 1]];
    let mirrors = if matches!(config.evaluation, Views::TenCrop { .. }) { 2 } else { 1 };
    let images = part.of(&data);
    let (mut loss, mut right) = (0.0, 0);
    for (image, &label) in images.pixels.chunks(3 * SIDE * SIDE).zip(&images.labels) {
        let mut mean = [0.0_f64; 4];
        for (mirrored, [top, left]) in (0..mirrors).flat_map(|m| starts.map(|start| (m, start))) {
            let pixel = |channel: i32, y: i32, x: i32| {
                let (y, x) = (top + y, left + if mirrored == 1 { 3 - x } else { x });
                let inside = (0..SIDE as i32).contains(&y) && (0..SIDE as i32).contains(&x);
                let place = (channel * SIDE as i32 + y) * SIDE as i32 + x;
                let byte = if inside { image[place as usize] } else { 0 };
                (f32::from(byte) / 255.0 - 0.4) / 0.25
            };
            let order = network.input_order();
            network
                .input_mut()
                .write(|input| {
                    for (place, out) in (0..).zip(input.iter_mut().take(48)) {
                        *out = match order {
                            model::InputOrder::ChannelsFirst => {
                                pixel(place / 16, place / 4 % 4, place % 4)
                            }
                            model::InputOrder::ChannelsLast => {
                                pixel(place % 3, place / 12, place / 3 % 4)
                            }
                        };
                    }
                })
                .unwrap();
            let pass = Pass { mode: Mode::Evaluate, samples: 1, first_sample: 0 };
            network.forward(&pass).unwrap();
            let logits = network.logits().read().unwrap();
            let e: Vec<f64> = logits.lane(0, 4).iter().map(|&z| f64::from(z).exp()).collect();
            let sum: f64 = e.iter().sum();
            mean.iter_mut().zip(&e).for_each(|(mean, e)| *mean += e / sum);
        }
        let views = f64::from(mirrors * 5);
        loss -= (mean[usize::from(label)] / views).ln();
        let best = (0..4).max_by(|a, b| mean[*a].total_cmp(&mean[*b])).unwrap();
        right += u64::from(best == usize::from(label));
    }
    (loss, right)
}

#[test]
fn the_average_is_that_of_views_cut_out_by_hand_in_every_lane_and_for_every_capacity() {
    let lanes = [
        lane(1, ten(0)),
        lane(2, Views::SingleCrop),
        lane(3, five(0)),
        lane(4, five(3)),
        lane(5, ten(2)),
    ];
    // Views of one image straddle batches for all but the last capacity.
    for capacity in [1, 3, 7, 16, 100] {
        let (mut network, mut batches) = network(&lanes, capacity);
        let data = data();
        for part in [Part::Validation, Part::Test] {
            let views: Vec<_> =
                lanes.iter().map(|lane| LaneViews::of(&lane.evaluation, part)).collect();
            let labels = &part.of(&data).labels;
            let found =
                evaluate(&mut network, &mut batches, part, &views, (labels, 0..labels.len()))
                    .unwrap();
            for (lane, found) in
                lanes.iter().zip(found).filter(|(lane, _)| lane.evaluation != Views::SingleCrop)
            {
                let (loss, right) = brute_force(lane, part);
                assert!((found.sum - loss).abs() < 1e-4, "{capacity}: {} {loss}", found.sum);
                assert_eq!(found.right, right);
            }
        }
    }
}

#[test]
fn a_lane_beside_others_is_what_it_is_alone() {
    let lanes = [lane(1, ten(1)), lane(2, Views::SingleCrop), lane(3, five(0))];
    let mut together = Trainer::new(&lanes, data()).unwrap();
    let together = together.evaluate(Part::Test).unwrap();
    for (config, together) in lanes.iter().zip(together) {
        let mut alone = Trainer::new(std::slice::from_ref(config), data()).unwrap();
        let alone = alone.evaluate(Part::Test).unwrap()[0];
        assert_eq!(alone, together);
    }
}

#[test]
fn validation_is_measured_by_one_view_unless_asked_for() {
    let test_only = Views::TenCrop { padding: 0, on: On::Test };
    let evaluate = |evaluation: Views, part| {
        let mut trainer = Trainer::new(&[lane(1, evaluation)], data()).unwrap();
        trainer.evaluate(part).unwrap()[0].unwrap()
    };
    let single = |part| evaluate(Views::SingleCrop, part);
    assert_eq!(evaluate(test_only.clone(), Part::Validation), single(Part::Validation));
    assert_ne!(evaluate(test_only.clone(), Part::Test), single(Part::Test));
    assert_eq!(evaluate(test_only, Part::Test), evaluate(ten(0), Part::Test));
    assert_ne!(evaluate(ten(0), Part::Validation), single(Part::Validation));
}

/// An image that is its own mirror, with corners like its middle, has ten equal views.
#[test]
fn ten_views_of_an_even_image_are_one() {
    let mut even = (*data()).clone();
    for part in [&mut even.train, &mut even.val, &mut even.test] {
        for (image, pixels) in part.pixels.to_mut().chunks_mut(3 * SIDE * SIDE).enumerate() {
            pixels.fill(30 * image as u8);
        }
    }
    let even = Arc::new(even);
    let [single, ten] = [Views::SingleCrop, ten(0)].map(|evaluation| {
        let mut trainer = Trainer::new(&[lane(1, evaluation)], Arc::clone(&even)).unwrap();
        trainer.evaluate(Part::Test).unwrap()[0].unwrap()
    });
    assert!((single.loss - ten.loss).abs() < 1e-6);
    assert_eq!(single.accuracy, ten.accuracy);
}

#[test]
fn a_class_that_is_ruled_out_in_every_view_has_a_large_loss_but_no_infinite_one() {
    let mut average = Average::new(2);
    for _ in 0..10 {
        average.add(&[1e4, 0.0], 1, 10);
    }
    assert!((average.total.sum - 1e4).abs() < 1e-6, "{}", average.total.sum);
    for _ in 0..5 {
        average.add(&[f32::NAN, 0.0], 0, 5);
    }
    assert!(average.total.sum.is_nan());
}
