//! Lists of commands that are held, recorded and done again, on the emulated accelerator.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::spec::precision::Precision;
use crate::train::device::emulated::counting::{Count, Counting, Counts};
use crate::train::device::emulated::{self};
use crate::train::device::{
    Accelerator, ConvolutionShape, DeviceError, Direction, Memory, Operand, Product, Table,
    arguments,
};

fn counted(refuses_graphs: bool) -> Option<(Accelerator, Counts)> {
    let counts = Counts::default();
    let inner = emulated::backend()?;
    let backend = Counting { inner, counts: counts.clone(), refuses_graphs };
    Some((Accelerator::new(Box::new(backend)), counts))
}

/// to = from, four numbers of one lane.
fn copy(on: &Accelerator, from: &Memory, to: &Memory) -> Result<(), DeviceError> {
    let given = arguments![from.address(), to.address(), 4_u32, 4_u32];
    on.launch_fours("copy_lanes", [4, 1], given)
}

fn numbers(memory: &Memory) -> [f32; 4] {
    let mut numbers = [0.0; 4];
    memory.download(0, &mut numbers).unwrap();
    numbers
}

const ZERO: Count = Count {
    commands: 0,
    replays: 0,
    captures: 0,
    uploads: 0,
    fetches: 0,
    allocations: 0,
    waits: 0,
};

#[test]
fn a_list_that_returns_is_recorded_and_one_launch_from_then_on() {
    let Some((on, counts)) = counted(false) else { return };
    let [a, b, c] = [(); 3].map(|()| on.zeros::<f32>(4).unwrap());
    for (turn, expected) in [
        Count { commands: 2, uploads: 1, ..ZERO },
        Count { commands: 2, uploads: 1, captures: 1, replays: 1, ..ZERO },
        Count { uploads: 1, replays: 1, ..ZERO },
        Count { uploads: 1, replays: 1, ..ZERO },
    ]
    .into_iter()
    .enumerate()
    {
        let before = counts.so_far();
        on.together(|| {
            a.upload(0, &[turn as f32; 4])?;
            copy(&on, &a, &b)?;
            copy(&on, &b, &c)
        })
        .unwrap();
        assert_eq!(counts.so_far() - before, expected, "turn {turn}");
        assert_eq!(numbers(&c), [turn as f32; 4]);
    }
    assert_eq!(on.replays(), 3);
    // Another list between them changes nothing; without graphs every command is passed on.
    on.together(|| copy(&on, &c, &a)).unwrap();
    on.use_graphs(false);
    let before = counts.so_far();
    on.together(|| copy(&on, &a, &b)).unwrap();
    assert_eq!(counts.so_far() - before, Count { commands: 1, ..ZERO });
}

#[test]
fn a_number_that_changes_with_the_step_makes_another_list() {
    let Some((on, counts)) = counted(false) else { return };
    let [a, b] = [(); 2].map(|()| on.zeros::<f32>(8).unwrap());
    for step in 0..6_u32 {
        let given = arguments![a.address(), b.address(), step, 4_u32];
        on.together(|| on.launch_fours("copy_lanes", [4, 1], given)).unwrap();
    }
    let Count { commands, captures, replays, .. } = counts.so_far();
    assert_eq!((commands, captures, replays), (6, 0, 0));
}

#[test]
fn what_a_held_command_still_needs_is_not_overwritten_and_nothing_overtakes_it() {
    let Some((on, counts)) = counted(false) else { return };
    let [a, b, c] = [(); 3].map(|()| on.zeros::<f32>(4).unwrap());
    for _ in 0..3 {
        a.upload(0, &[1.0_f32; 4]).unwrap();
        on.together(|| {
            copy(&on, &a, &b)?;
            a.upload(3, &[2.0_f32])?;
            copy(&on, &a, &c)
        })
        .unwrap();
        assert_eq!((numbers(&b), numbers(&c)), ([1.0; 4], [1.0, 1.0, 1.0, 2.0]));
        // A copy back sees what was queued before it; so does one that is not waited for.
        let seen = on.together(|| {
            copy(&on, &c, &a)?;
            let arrival = a.fetch::<f32>(0, 4)?;
            copy(&on, &b, &a)?;
            let mut seen = [[0.0_f32; 4]; 2];
            a.download(0, &mut seen[1])?;
            arrival.collect(&mut seen[0])?;
            Ok::<_, DeviceError>(seen)
        });
        assert_eq!(seen.unwrap(), [[1.0, 1.0, 1.0, 2.0], [1.0; 4]]);
    }
    assert_eq!(counts.so_far().captures, 0, "lists in pieces are not recorded");
}

#[test]
fn memory_that_is_given_back_outlives_the_commands_that_use_it() {
    let Some((on, _)) = counted(false) else { return };
    let to = on.zeros::<f32>(4).unwrap();
    for turn in 0..3 {
        // The sanitizer would end the machine at a kernel that reads freed memory.
        on.together(|| {
            let from = on.hold(&[turn as f32; 4])?;
            copy(&on, &from, &to)
        })
        .unwrap();
        assert_eq!(numbers(&to), [turn as f32; 4]);
        on.together(|| {
            let mut table = Table::default();
            table.refill(|table| table.extend([turn as f32; 4]));
            let small = table.place(&on)?;
            let given = arguments![small, to.address(), 4_u32, 4_u32];
            on.launch_fours("copy_lanes", [4, 1], given)?;
            table.refill(|table| table.extend([9.0; 400]));
            table.place(&on).map(drop)
        })
        .unwrap();
        assert_eq!(numbers(&to), [turn as f32; 4]);
    }
}

#[test]
fn work_that_fails_is_forgotten_and_work_inside_other_work_belongs_to_it() {
    let Some((on, counts)) = counted(false) else { return };
    let [a, b] = [(); 2].map(|()| on.hold(&[1.0_f32; 4]).unwrap());
    a.upload(0, &[2.0_f32; 4]).unwrap();
    let failed: Result<(), DeviceError> = on.together(|| {
        copy(&on, &a, &b)?;
        Err(DeviceError::TooLarge { what: "a list", found: 1, limit: 0 })
    });
    assert!(failed.is_err());
    assert_eq!(numbers(&b), [1.0; 4]);
    for _ in 0..2 {
        on.together(|| {
            copy(&on, &a, &b)?;
            on.together(|| copy(&on, &b, &a))
        })
        .unwrap();
    }
    assert_eq!((counts.so_far().captures, counts.so_far().replays), (1, 1));
    assert_eq!(numbers(&b), [2.0; 4]);
}

#[test]
fn where_recording_is_refused_commands_are_passed_on() {
    let Some((on, counts)) = counted(true) else { return };
    let [a, b] = [(); 2].map(|()| on.hold(&[1.0_f32; 4]).unwrap());
    for turn in 0..4 {
        a.upload(0, &[turn as f32; 4]).unwrap();
        on.together(|| copy(&on, &a, &b)).unwrap();
        assert_eq!(numbers(&b), [turn as f32; 4]);
    }
    let Count { commands, captures, replays, .. } = counts.so_far();
    assert_eq!((commands, captures, replays), (4, 0, 0));
}

#[test]
fn a_table_that_is_filled_with_what_it_holds_is_not_copied() {
    let Some((on, counts)) = counted(false) else { return };
    let mut table = Table::default();
    for (numbers, uploads) in [([1.0_f32, 0.0], 1), ([1.0, 0.0], 1), ([1.0, -0.0], 2)] {
        table.refill(|table| table.extend(numbers));
        table.place(&on).unwrap();
        assert_eq!(counts.so_far().uploads, uploads);
    }
}

/// A rank waits for whatever is under way, and is not taken for hung meanwhile: starting a library may
/// take longer than patience does. One for which a call were under way for ever would never be.
#[test]
fn every_call_of_the_backend_is_said_to_be_under_way_until_it_returns() {
    let Some((on, counts)) = counted(false) else { return };
    counts.expect_calls(on.calls());
    let under_way = || on.calls().load(Ordering::Relaxed);
    let [a, b] = [(); 2].map(|()| on.hold(&[1.0_f32; 4]).unwrap());
    for _ in 0..3 {
        on.together(|| copy(&on, &a, &b)).unwrap();
    }
    on.together(|| {
        copy(&on, &a, &b)?;
        let arrival = b.fetch::<f32>(0, 4)?;
        assert_eq!(under_way(), 0, "a copy that is on its way is no call");
        arrival.collect(&mut [0.0; 4])
    })
    .unwrap();
    on.multiply(&Product {
        size: [2, 2, 1],
        left: Operand::new(a.address(), 1, 2),
        right: Operand::new(b.address(), 2, 2),
        out: Operand::new(on.scratch(16).unwrap(), 2, 4),
        adds: false,
        batch: 1,
        precision: Precision::F32,
    })
    .unwrap();
    assert_eq!(numbers(&b), [1.0; 4]);
    let size = [1, 1, 1];
    let shape = ConvolutionShape {
        samples: 1,
        input: size,
        output: size,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
        precision: Precision::F32,
        is_aligned: true,
    };
    // Convolutions of a library, of which there is none here, are queued as launches are.
    assert_eq!(on.algorithm(&shape, Direction::Forward).unwrap(), None);
    let mut gathered = on.meet(&on.meeting().unwrap(), [0, 1]).unwrap();
    gathered.sum(&[(a.address(), 4)]).unwrap();
    gathered.join().unwrap();
    gathered.times(true).unwrap();
    on.synchronize().unwrap();
    assert_eq!(under_way(), 0);
    drop((a, b, gathered));
    let [said, unsaid] = counts.said_and_unsaid();
    assert_eq!(unsaid, BTreeSet::new());
    let expected = [
        ["algorithm", "allocate", "begin_capture", "collect", "download", "end_capture"],
        ["fetch", "join", "launch", "meet", "meeting", "multiply"],
        ["release", "replay", "sum", "synchronize", "times", "upload"],
    ];
    assert_eq!(said, expected.into_iter().flatten().collect());
}
