use std::ops::Range;
use std::sync::Arc;

use super::super::Batches;
use super::{Augmented, Memory, Working};
use crate::spec::RunConfig;
use crate::spec::architecture::Architecture;
use crate::spec::augmentation::{Augmentation, Level};
use crate::spec::operation::{Operation, Side};
use crate::train::data::{DataSplits, Images};
use crate::train::device::{Accelerator, emulated};
use crate::train::kernel::Buffer;
use crate::train::model::InputOrder;
use crate::train::report::Part;
use crate::train::rng::{Purpose, Stream};

/// Every operation by itself, and lists in which one meets another in every way.
fn lists() -> Vec<Vec<Operation>> {
    let jitter = |brightness, contrast, saturation, hue| Operation::ColourJitter {
        brightness,
        contrast,
        saturation,
        hue,
    };
    let affine =
        |degrees, translate, scale, shear| Operation::Affine { degrees, translate, scale, shear };
    let crop = Operation::RandomCrop { padding: 2, size: Side::Same };
    let flip = Operation::HorizontalFlip { p: 0.5 };
    let moved = affine(30.0, [0.2, 0.1], [0.7, 1.4], [10.0, 5.0]);
    let resized = Operation::RandomResizedCrop {
        size: Side::Same,
        scale: [0.08, 1.0],
        ratio: [0.75, 4.0 / 3.0],
    };
    let cutout = Operation::Cutout { size: 4, p: 0.7 };
    let noise = Operation::PcaColourNoise { std: 2.0 };
    let rotation = Operation::Rotation { degrees: 20.0 };
    let all = jitter(0.4, 0.4, 0.4, 0.3);
    let mixup = Operation::Mixup { alpha: 0.7 };
    let alone = [
        jitter(0.5, 0.0, 0.0, 0.0),
        jitter(0.0, 0.5, 0.0, 0.0),
        jitter(0.0, 0.0, 0.5, 0.0),
        jitter(0.0, 0.0, 0.0, 0.5),
        jitter(2.0, 3.0, 4.0, 0.2),
        all.clone(),
        crop.clone(),
        flip.clone(),
        moved.clone(),
        // Without a rotation positions are not rounded.
        affine(0.0, [0.3, 0.3], [0.3, 2.5], [0.0, 0.0]),
        affine(180.0, [0.0, 0.0], [0.01, 0.3], [80.0, 80.0]),
        resized.clone(),
        cutout.clone(),
        noise.clone(),
        rotation.clone(),
    ];
    let mut lists: Vec<Vec<Operation>> = alone.map(|one| vec![one]).into();
    lists.extend([
        vec![],
        vec![
            crop.clone(),
            flip.clone(),
            crop.clone(),
            rotation.clone(),
            crop.clone(),
            flip.clone(),
        ],
        vec![crop.clone(), resized.clone(), crop.clone(), flip.clone(), cutout.clone()],
        // Geometry that follows colours rounds them, unless it is a mirror image that is not drawn.
        vec![noise.clone(), flip.clone(), noise.clone()],
        vec![all.clone(), crop.clone(), flip.clone(), moved.clone(), noise.clone()],
        vec![all.clone(), all.clone(), resized.clone(), rotation.clone(), all.clone(), mixup],
        vec![cutout, resized.clone(), all, flip, resized, rotation, crop, moved, noise],
    ]);
    lists.extend([Level::Strong, Level::AlexnetStyle].map(|level| level.operations()));
    lists
}

/// Lists that give 5 x 5 pixels, however large the images are.
fn resizing() -> Vec<Vec<Operation>> {
    let resized = |size, scale| Operation::RandomResizedCrop { size, scale, ratio: [0.3, 3.0] };
    let crop = |padding, side| Operation::RandomCrop { padding, size: Side::Pixels(side) };
    let rotation = Operation::Rotation { degrees: 45.0 };
    vec![
        vec![crop(0, 5)],
        vec![crop(4, 9), rotation.clone(), crop(0, 5)],
        vec![resized(Side::Pixels(5), [0.05, 1.0])],
        vec![resized(Side::Pixels(23), [0.5, 1.0]), rotation, resized(Side::Pixels(5), [1.0, 1.0])],
        Level::AlexnetStyle.operations().into_iter().chain([crop(1, 5)]).collect(),
    ]
}

/// Noise with many pixels that are black, white or grey.
fn data(shape: [usize; 3]) -> Arc<DataSplits> {
    let units: usize = shape.iter().product();
    let part = |n: usize, number| {
        let mut draws = Stream::new(6, Purpose::Init, number, 0).reader();
        let pixel = |_| match draws.below(4) {
            0 => 0,
            1 => 255,
            _ => draws.below(256) as u8,
        };
        Images { pixels: (0..n * units).map(pixel).collect(), labels: (0..n as u16).collect() }
    };
    Arc::new(DataSplits {
        shape,
        classes: 40,
        mean: (0..shape[0]).map(|c| 0.3 + 0.1 * c as f32).collect(),
        std: (0..shape[0]).map(|c| 0.2 + 0.1 * c as f32).collect(),
        train: part(13, 1),
        val: part(6, 2),
        test: part(5, 3),
    })
}

fn lanes(base: &RunConfig, lists: &[Vec<Operation>]) -> Vec<RunConfig> {
    let lane = |(seed, list): (u64, &Vec<Operation>)| RunConfig {
        seed: seed % 5,
        augmentation: Augmentation::of(list.clone()),
        ..base.clone()
    };
    (0..).zip(lists).map(lane).collect()
}

/// Room of a batch, which the last of an epoch does not fill.
const ROOM: usize = 8;

/// Places of the batches, and the parts of them that are filled; both kernels' orders see every one.
fn parts() -> [(Range<usize>, Range<usize>); 5] {
    [(0..8, 0..8), (8..13, 8..13), (0..8, 0..8), (8..13, 10..13), (0..8, 4..6)]
}

/// Batches of `lanes`, and their input, on an accelerator or not.
struct Filled {
    batches: Batches,
    input: Buffer<f32>,
    units: usize,
}

impl Filled {
    fn new(
        lanes: &[RunConfig],
        data: &Arc<DataSplits>,
        order: InputOrder,
        on: Option<&Accelerator>,
    ) -> Self {
        let mut batches = Batches::new(lanes, Arc::clone(data), order);
        let units: usize = batches.image_shape().iter().product();
        let mut input = Buffer::<f32>::zeros(lanes.len(), &[ROOM, units]).unwrap();
        if let Some(accelerator) = on {
            input.move_to(accelerator).unwrap();
            batches.move_to(accelerator).unwrap();
        }
        Self { batches, input, units }
    }

    /// Bits of the images of every lane, classes, mixtures.
    fn seen(&self, images: usize) -> Vec<(Vec<u32>, Vec<u16>, String)> {
        let numbers = self.input.read().unwrap();
        let lane = |lane: usize| {
            let own = numbers.lane(lane, images * self.units).iter().map(|x| x.to_bits()).collect();
            let labels = self.batches.labels()[lane * images..][..images].to_vec();
            (own, labels, format!("{:?}", self.batches.mixed()))
        };
        (0..self.input.lanes()).map(lane).collect()
    }
}

/// The device makes the images of a group to the bit, whole batches and parts, again and again.
fn compare(accelerator: &Accelerator, lists: &[Vec<Operation>], shape: [usize; 3]) {
    compare_with(&RunConfig::default(), accelerator, lists, shape);
}

fn compare_with(
    base: &RunConfig,
    accelerator: &Accelerator,
    lists: &[Vec<Operation>],
    shape: [usize; 3],
) {
    let (lanes, data) = (lanes(base, lists), data(shape));
    for order in [InputOrder::ChannelsFirst, InputOrder::ChannelsLast] {
        let mut here = Filled::new(&lanes, &data, order, None);
        let mut there = Filled::new(&lanes, &data, order, Some(accelerator));
        let mut peak = None;
        for epoch in 1..=2 {
            // One launch more in every epoch, so that every kernel runs in both orders of its threads.
            there.batches.fill_evaluation(&mut there.input, Part::Validation, 0..6).unwrap();
            for (batch, part) in parts() {
                here.batches.fill_training(&mut here.input, epoch, &batch, part.clone()).unwrap();
                there.batches.draw_orders(epoch);
                let Filled { batches, input, .. } = &mut there;
                assert!(batches.show_training(input, epoch, &batch, &part).unwrap(), "{part:?}");
                let [expected, found] = [&here, &there].map(|filled| filled.seen(part.len()));
                for (lane, (expected, found)) in expected.iter().zip(&found).enumerate() {
                    let what = || format!("{:?} {shape:?} {order:?} {part:?}", lists[lane]);
                    assert!(expected == found, "{}", what());
                }
                let held = *peak.get_or_insert_with(|| accelerator.peak_bytes());
                assert_eq!(accelerator.peak_bytes(), held, "memory is taken once");
            }
        }
    }
}

#[test]
fn every_list_alone_has_the_bits_of_the_cpu() {
    for accelerator in emulated::accelerators() {
        for list in lists() {
            for shape in [[3, 9, 8], [1, 7, 11]] {
                compare(&accelerator, std::slice::from_ref(&list), shape);
            }
        }
    }
}

#[test]
fn lanes_with_different_lists_have_the_bits_of_the_cpu() {
    for accelerator in emulated::accelerators() {
        for shape in [[1, 12, 9], [3, 11, 13], [2, 5, 6], [4, 16, 16]] {
            compare(&accelerator, &lists(), shape);
        }
    }
}

/// Lists that nobody thought of: up to seven of the operations above, in any order.
#[test]
fn lists_put_together_at_random_have_the_bits_of_the_cpu() {
    let pool: Vec<Operation> =
        lists().into_iter().filter(|list| list.len() == 1).flatten().collect();
    let mut draws = Stream::new(11, Purpose::Init, 0, 0).reader();
    let mut below = |n: usize| draws.below(n as u32) as usize;
    let mut list = || (0..=below(7)).map(|_| pool[below(pool.len())].clone()).collect();
    for accelerator in emulated::accelerators() {
        for shape in [[3, 8, 11], [1, 13, 6], [3, 10, 10]] {
            let lists: Vec<Vec<Operation>> = (0..10).map(|_| list()).collect();
            compare(&accelerator, &lists, shape);
        }
    }
}

#[test]
fn images_become_smaller_and_larger_as_on_the_cpu() {
    for accelerator in emulated::accelerators() {
        for shape in [[1, 17, 12], [3, 40, 33], [3, 5, 7]] {
            compare(&accelerator, &resizing(), shape);
        }
    }
}

/// Positions far outside would come back into the image if they were counted in 32 bits.
#[test]
fn far_positions_are_counted_in_64_bits() {
    let moved = |degrees| Operation::Affine {
        degrees,
        translate: [0.0, 0.0],
        scale: [0.01, 0.011],
        shear: [0.0, 0.0],
    };
    for accelerator in emulated::accelerators() {
        compare(&accelerator, &[vec![moved(1e-6)], vec![moved(0.0)]], [1, 1, 4096]);
    }
}

/// A folder's images are stored larger than the network takes them: the middle is cut out last.
#[test]
fn the_middle_of_larger_images_has_the_bits_of_the_cpu() {
    let dataset = serde_json::json!({ "kind": "image-folder", "resize": 20, "crop": 13 });
    let base = RunConfig::from_canonical(&serde_json::json!({ "dataset": dataset })).unwrap();
    for accelerator in emulated::accelerators() {
        compare_with(&base, &accelerator, &lists(), [3, 20, 20]);
        compare_with(&base, &accelerator, &lists()[..1], [1, 20, 20]);
    }
}

/// What lies on the device for a batch is what is forecast.
#[test]
fn the_memory_of_a_batch_is_what_the_plan_counts_with() {
    let Some(accelerator) = emulated::accelerator() else { return };
    let dataset = serde_json::json!({
        "kind": "synthetic", "train": 8, "val": 8, "test": 8, "shape": [3, 11, 13],
    });
    for list in lists() {
        let base = serde_json::json!({ "dataset": dataset, "batch_size": ROOM });
        let base = RunConfig::from_canonical(&base).unwrap();
        let lanes = lanes(&base, &[list]);
        let forecast = Architecture::of(&lanes[0]).unwrap().augmented_bytes(&lanes[0]);
        let batches = Batches::new(&lanes, data([3, 11, 13]), InputOrder::ChannelsFirst);
        let augmented = Augmented::new(&batches.lanes);
        let Working { images, sums, means, taps, .. } =
            augmented.working(&accelerator, 1, ROOM).unwrap();
        let held = images.iter().chain([&sums, &means, &taps]).map(Memory::bytes).sum::<usize>();
        assert_eq!(held as u64, forecast, "{:?}", lanes[0].augmentation);
    }
}

#[test]
fn a_part_that_parts_a_mixed_pair_is_left_to_the_cpu() {
    let Some(accelerator) = emulated::accelerator() else { return };
    let mixup = Operation::Mixup { alpha: 1.0 };
    for (list, expected) in [(vec![mixup], false), (Level::Strong.operations(), true)] {
        let lanes = lanes(&RunConfig::default(), &[list]);
        let data = data([3, 4, 4]);
        let order = InputOrder::ChannelsFirst;
        let mut there = Filled::new(&lanes, &data, order, Some(&accelerator));
        let mut here = Filled::new(&lanes, &data, order, None);
        there.batches.draw_orders(1);
        for part in [1..4, 0..3, 3..8] {
            let Filled { batches, input, .. } = &mut there;
            let shown = batches.show_training(input, 1, &(0..8), &part).unwrap();
            assert_eq!(shown, expected, "{part:?}");
            for filled in [&mut here, &mut there] {
                let Filled { batches, input, .. } = filled;
                batches.fill_training(input, 1, &(0..8), part.clone()).unwrap();
            }
            assert!(here.seen(part.len()) == there.seen(part.len()));
        }
    }
}
