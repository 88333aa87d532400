use super::*;
use crate::spec::augmentation::Level;
use crate::spec::dataset::Dataset;
use crate::spec::operation::Side;
use crate::train::data::load;

/// Every level, every operation by itself, and lists in which geometry follows colour.
fn all() -> Vec<Augmentation> {
    let jitter =
        Operation::ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.3 };
    let crop = Operation::RandomCrop { padding: 2, size: Side::Same };
    let affine = Operation::Affine {
        degrees: 30.0,
        translate: [0.2, 0.1],
        scale: [0.7, 1.4],
        shear: [10.0, 5.0],
    };
    let resized = Operation::RandomResizedCrop {
        size: Side::Same,
        scale: [0.08, 1.0],
        ratio: [0.75, 4.0 / 3.0],
    };
    let cutout = Operation::Cutout { size: 4, p: 1.0 };
    let flip = Operation::HorizontalFlip { p: 0.5 };
    let noise = Operation::PcaColourNoise { std: 0.1 };
    let rotation = Operation::Rotation { degrees: 20.0 };
    let mut lists: Vec<Vec<Operation>> =
        [&jitter, &crop, &affine, &resized, &cutout, &noise, &rotation]
            .map(|one| vec![one.clone()])
            .into();
    lists.push(vec![jitter.clone(), crop.clone(), flip.clone(), affine.clone(), noise.clone()]);
    lists.push(vec![cutout, resized.clone(), jitter, flip, resized, rotation, crop, affine, noise]);
    let levels = [Level::None, Level::Basic, Level::Strong, Level::AlexnetStyle];
    lists.into_iter().map(Augmentation::of).chain(levels.map(Augmentation::Level)).collect()
}

fn data(shape: [u32; 3]) -> DataSplits {
    let dataset =
        Dataset::Synthetic { train: 64, val: 1, test: 1, shape: shape.to_vec(), classes: 4 };
    load(&dataset, 0.1, "".as_ref()).unwrap()
}

fn pipeline(augmentation: &Augmentation, data: &DataSplits) -> Pipeline {
    Pipeline::new(augmentation, data, InputOrder::ChannelsFirst)
}

fn image(data: &DataSplits, sample: usize) -> &[u8] {
    let size = data.shape.iter().product::<usize>();
    &data.train.pixels[sample * size..(sample + 1) * size]
}

fn filled(pipeline: &Pipeline, data: &DataSplits, epoch: u32, sample: usize) -> Vec<f32> {
    let mut out = vec![0.0; pipeline.output.iter().product()];
    pipeline.fill(9, epoch, sample, image(data, sample), &mut out);
    out
}

#[test]
fn no_augmentation_only_normalises() {
    let data = data([3, 10, 8]);
    let mut plain = vec![0.0; 240];
    for augmentation in all() {
        let pipeline = pipeline(&augmentation, &data);
        pipeline.fill_plain(image(&data, 3), View::CENTRE, &mut plain);
        let differing = (0..16).filter(|&sample| {
            let mut plain = vec![0.0; 240];
            pipeline.fill_plain(image(&data, sample), View::CENTRE, &mut plain);
            filled(&pipeline, &data, 1, sample) != plain
        });
        let none = augmentation == Augmentation::NONE;
        assert_eq!(differing.count() == 0, none, "{augmentation:?}");
    }
    for (index, value) in plain.iter().enumerate() {
        let channel = index / 80;
        let unit = f32::from(image(&data, 3)[index]) / 255.0;
        assert_eq!(*value, (unit - data.mean[channel]) / data.std[channel]);
    }
}

#[test]
fn the_order_of_calls_and_the_thread_do_not_matter() {
    for shape in [[1, 28, 28], [3, 12, 9]] {
        let data = data(shape);
        for augmentation in all() {
            let pipeline = pipeline(&augmentation, &data);
            let forward: Vec<_> = (0..64).map(|s| filled(&pipeline, &data, 2, s)).collect();
            let mut backward: Vec<_> = std::thread::scope(|scope| {
                let work =
                    scope.spawn(|| (0..64).rev().map(|s| filled(&pipeline, &data, 2, s)).collect());
                work.join().unwrap()
            });
            backward.reverse();
            assert_eq!(forward, backward);
        }
    }
}

#[test]
fn epochs_samples_and_seeds_differ() {
    let data = data([3, 16, 16]);
    for augmentation in all().iter().filter(|a| **a != Augmentation::NONE) {
        let pipeline = pipeline(augmentation, &data);
        let drawn = |seed, epoch, first| -> Vec<Vec<f32>> {
            let samples = first..first + 12;
            let one = |sample| {
                let mut out = vec![0.0; 768];
                pipeline.fill(seed, epoch, sample, image(&data, 0), &mut out);
                out
            };
            samples.map(one).collect()
        };
        let base = drawn(1, 2, 3);
        assert_eq!(base, drawn(1, 2, 3));
        for other in [drawn(2, 2, 3), drawn(1, 3, 3), drawn(1, 2, 15)] {
            assert_ne!(base, other, "{augmentation:?}");
        }
    }
}

#[test]
fn values_stay_within_those_of_black_and_white() {
    for shape in [[1, 20, 20], [3, 20, 20], [2, 5, 7]] {
        let data = data(shape);
        for augmentation in all() {
            let pipeline = pipeline(&augmentation, &data);
            let size = data.shape.iter().product::<usize>();
            let (mut black, mut white) = (vec![0.0; size], vec![0.0; size]);
            pipeline.fill_plain(&vec![0; size], View::CENTRE, &mut black);
            pipeline.fill_plain(&vec![255; size], View::CENTRE, &mut white);
            for sample in 0..64 {
                let out = filled(&pipeline, &data, 0, sample);
                let inside = out.iter().zip(&black).zip(&white);
                assert!({ inside }.all(|((v, low), high)| low <= v && v <= high));
            }
        }
    }
}

#[test]
fn channels_last_is_the_same_image() {
    let data = data([3, 9, 11]);
    for augmentation in all() {
        let first = pipeline(&augmentation, &data);
        let last = Pipeline::new(&augmentation, &data, InputOrder::ChannelsLast);
        for sample in 0..8 {
            let (a, b) = (filled(&first, &data, 3, sample), filled(&last, &data, 3, sample));
            assert!((0..297).all(|at| a[at] == b[at % 99 * 3 + at / 99]), "{augmentation:?}");
        }
    }
}

#[test]
fn the_basic_level_gives_the_image_or_its_mirror() {
    let data = data([1, 6, 5]);
    let pipeline = pipeline(&Augmentation::Level(Level::Basic), &data);
    let mut mirrored = 0;
    for sample in 0..64 {
        let [mut plain, mut mirror] = [false, true].map(|mirrored| {
            let mut out = vec![0.0; 30];
            let view = View { place: Place::Centre, mirrored };
            pipeline.fill_plain(image(&data, sample), view, &mut out);
            out
        });
        let out = filled(&pipeline, &data, 4, sample);
        assert!(out == plain || out == mirror);
        mirrored += usize::from(out == mirror);
        plain.chunks_exact_mut(5).for_each(<[f32]>::reverse);
        mirror.chunks_exact_mut(5).for_each(<[f32]>::reverse);
        assert!(out == plain || out == mirror);
    }
    assert!((16..48).contains(&mirrored), "{mirrored}");
}

#[test]
fn a_crop_of_another_size_changes_the_networks_input() {
    let data = data([1, 6, 8]);
    let side = |side, padding| {
        Augmentation::of(vec![Operation::RandomCrop { padding, size: Side::Pixels(side) }])
    };
    let small = pipeline(&side(4, 0), &data);
    assert_eq!(small.output_shape(), [1, 4, 4]);
    let plain = pipeline(&Augmentation::NONE, &data);
    let mut whole = vec![0.0; 48];
    plain.fill_plain(image(&data, 0), View::CENTRE, &mut whole);
    let places = [
        (Place::Centre, [1, 2]),
        (Place::TopLeft, [0, 0]),
        (Place::TopRight, [0, 4]),
        (Place::BottomLeft, [2, 0]),
        (Place::BottomRight, [2, 4]),
    ];
    for (place, [top, left]) in places {
        let mut part = vec![0.0; 16];
        small.fill_plain(image(&data, 0), View { place, mirrored: false }, &mut part);
        let expected = (0..16).map(|at| whole[(top + at / 4) * 8 + left + at % 4]);
        assert!(part.iter().copied().eq(expected), "{place:?}");
    }
    let large = pipeline(&side(10, 2), &data);
    let mut part = vec![0.0; 100];
    large.fill_plain(image(&data, 0), View::CENTRE, &mut part);
    assert_eq!(part[2 * 10 + 1..2 * 10 + 9], whole[..8]);
    assert_eq!(filled(&large, &data, 0, 0).len(), 100);
}

/// Launches and their tables are made once for a list, whatever is drawn for an image.
#[test]
fn the_segments_of_a_list_are_the_same_for_all_images() {
    for shape in [[1, 10, 8], [3, 10, 8]] {
        let data = data(shape);
        for augmentation in all() {
            let pipeline = pipeline(&augmentation, &data);
            let [mut first, mut other] = [0, 1].map(|_| Program::default());
            pipeline.note(1, 1, 0, &mut first);
            for sample in 0..64 {
                pipeline.note(9, 2, sample, &mut other);
                assert_eq!(first.segments().len(), other.segments().len());
                for (a, b) in first.segments().iter().zip(other.segments()) {
                    assert_eq!([a.from(), a.size(), a.mapped()], [b.from(), b.size(), b.mapped()]);
                    assert_eq!((a.changes(), a.sums()), (b.changes(), b.sums()));
                    assert_eq!(a.resized(), b.resized());
                }
                assert_eq!(first.segments().last().unwrap().size(), [10, 8]);
            }
        }
    }
}

/// What a level costs: a launch a segment, and two more for each mean.
#[test]
fn levels_are_few_segments() {
    let data = data([3, 10, 8]);
    let mut program = Program::default();
    let counts = [Level::None, Level::Basic, Level::Strong, Level::AlexnetStyle].map(|level| {
        pipeline(&Augmentation::Level(level), &data).note(1, 1, 1, &mut program);
        let sums = program.segments().iter().filter(|segment| segment.sums()).count();
        [program.segments().len(), sums]
    });
    assert_eq!(counts, [[1, 0], [1, 0], [2, 1], [2, 1]]);
}
