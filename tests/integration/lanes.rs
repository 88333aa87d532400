//! Runs trained together as lanes leave what they leave alone.

use crate::sandbox::{Sandbox, TINY, read_csv};

/// Runs that may be lanes of one network, with and without batch normalisation, of two rules; some of
/// them diverge in their first epoch, some are stopped after their second of three.
const MIXED: &str = r#"
schema = 1
name = "mixed"

[base]
dataset = { kind = "synthetic", train = 64, val = 32, test = 32, shape = [1, 8, 8], classes = 4 }
model = { kind = "mlp", hidden = [16] }
batch_size = 16
epochs = 3
measure = ["gradient_norm", "update_ratio"]

[grid]
batch_norm = [false, true]
optimizer = ["sgd", "adam"]
lr = [0.05, 1e30, 0.01]
early_stopping = ["none", { kind = "validation", patience = 1, min_delta = 0.5 }]
"#;

#[test]
fn a_sweep_comes_to_the_same_results_whatever_runs_are_trained_together() {
    for (name, file) in [("tiny", TINY), ("mixed", MIXED)] {
        let alone = Sandbox::new(file);
        alone.sweep(&[]).expect_code(0);
        for lanes in ["2", "3", "64"] {
            let together = Sandbox::new(file);
            together.sweep(&["--lanes", lanes]).expect_code(0).expect_no_panic();
            assert!(together.results(name) == alone.results(name), "{name} with --lanes {lanes}");
        }
    }
}

#[test]
fn how_many_were_trained_together_is_a_column() {
    let fused = |lanes: &str| -> Vec<String> {
        let sandbox = Sandbox::new(TINY);
        sandbox.sweep(&["--lanes", lanes]).expect_code(0);
        let rows = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
        rows.into_iter().map(|mut row| row.remove("fused_lanes").unwrap()).collect()
    };
    assert_eq!(fused("3"), ["3", "3", "3", "1"]);
    assert_eq!(fused("auto"), ["1"; 4]);
    assert_eq!(fused("off"), ["1"; 4]);
}

#[test]
fn a_bad_number_of_lanes_is_refused_with_the_legal_ones() {
    let sandbox = Sandbox::new(TINY);
    for bad in ["0", "65", "many"] {
        let ran = sandbox.sweep(&["--lanes", bad]).expect_code(2);
        ran.expect_stderr("expected `auto`, `off` or a number from 1 to 64");
    }
}
