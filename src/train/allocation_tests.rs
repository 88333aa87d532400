//! A steady step allocates nothing: not in the batch, the augmentation, the layers, the loss, the
//! clipping or the update. Two libraries do on their own account: candle 64 bytes for the check of
//! strides before every write, gemm the panels that it packs.

use super::*;
use crate::spec::augmentation::{Augmentation, Level};
use crate::spec::model::Model;
use crate::spec::optimizer::Optimizer as Rule;
use crate::train::allocation_count::allocators_during;

/// Who allocates in some steps of the second epoch, on one thread: handing work to others is rayon's
/// business.
fn in_steps(config: &RunConfig, shape: [usize; 3]) -> Vec<String> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| on_this_thread(config, shape))
}

fn on_this_thread(config: &RunConfig, shape: [usize; 3]) -> Vec<String> {
    let config = RunConfig { epochs: 2, batch_size: 16, ..config.clone() };
    let mut trainer = Trainer::new(&[config], data(96, shape)).unwrap();
    let mut go = |stop_at: u64| {
        let end = trainer.train_epoch(&mut |report| match report.step + 1 < stop_at {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        });
        end.unwrap();
    };
    go(7);
    go(8);
    allocators_during(|| go(11))
}

/// A function that has a name of its own in every build: one that is inlined into the test, and that into
/// the harness, has none.
#[inline(never)]
fn allocate() {
    drop(std::hint::black_box(vec![0_u8; 99]));
}

#[test]
fn who_allocates_is_named() {
    let found = allocators_during(allocate);
    assert_eq!(found.len(), 1);
    let here =
        |who: &String| who.contains("allocation_tests") || who.contains("tests::allocations");
    assert!(found.iter().all(here), "{found:?}");
    assert!(allocators_during(|| ()).is_empty());
}

#[test]
fn a_steady_step_allocates_nothing() {
    let adam = Rule::Adamw { beta1: 0.9, beta2: 0.99, eps: 1e-8 };
    let options = RunConfig {
        clip_norm: 1.0,
        label_smoothing: 0.1,
        weight_decay: 0.01,
        dropout: 0.3,
        ..mlp()
    };
    let strong = Augmentation::Level(Level::AlexnetStyle);
    let paper = RunConfig { model: Model::AlexnetPaper, width: 0.03, ..options.clone() };
    let cases = [
        ("mlp", mlp(), [1, 8, 8]),
        ("mlp with options", RunConfig { optimizer: adam, ..options }, [1, 8, 8]),
        ("alexnet32", RunConfig { augmentation: strong, ..alexnet32() }, [3, 32, 32]),
        ("alexnet_paper", paper, [3, 67, 67]),
    ];
    for (name, config, shape) in cases {
        let mut ours = in_steps(&config, shape);
        assert!(!ours.is_empty(), "{name}: candle at least is noticed");
        let libraries = ["candle_core", "candle-core", "gemm_", "gemm-"];
        ours.retain(|who| !libraries.iter().any(|library| who.contains(library)));
        assert!(ours.is_empty(), "{name}: {ours:#?}");
    }
}
