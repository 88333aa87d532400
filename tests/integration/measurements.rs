//! What `measure` asks for is in `layers.csv` and `steps.csv`, whatever happened on the way, and
//! nothing of it stays behind when it is asked for no more.

use std::fs;

use crate::sandbox::{Sandbox, TINY, read_csv};

/// The tiny sweep with every measurement that is no time.
fn measuring() -> String {
    let asked = r#"
epochs = 3
measure = [
  { kind = "gradient_norm", every_steps = 2 }, "activation", "update_ratio", "drift", "smoothness",
  "memory",
]
"#;
    TINY.replace("epochs = 3", asked) + "\n[run]\ncurves = \"step\"\n"
}

/// The tables of a sweep, as bytes.
fn tables(sandbox: &Sandbox) -> [Vec<u8>; 2] {
    ["layers.csv", "steps.csv"]
        .map(|name| fs::read(sandbox.sweep_folder("tiny").join(name)).unwrap())
}

#[test]
fn tables_of_layers_and_steps_are_whole() {
    let sandbox = Sandbox::new(&measuring());
    sandbox.sweep(&[]).expect_code(0);
    let folder = sandbox.sweep_folder("tiny");
    // Two rates, two seeds, three epochs of four steps.
    let steps = read_csv(&folder.join("steps.csv"));
    assert_eq!(steps.len(), 2 * 2 * 3 * 4);
    let measured = steps.iter().filter(|row| !row["gradient_norm"].is_empty()).count();
    assert_eq!(measured, steps.len() / 2);
    let layers = read_csv(&folder.join("layers.csv"));
    let of = |measurement: &str, layer: &str| {
        let rows = layers.iter();
        rows.filter(|row| row["measurement"] == measurement && row["layer"] == layer).count()
    };
    let runs = 2 * 2;
    assert_eq!(of("gradient_norm", "network"), runs * 3 * 2);
    assert_eq!(of("gradient_norm_max", "linear1"), runs * 3);
    assert_eq!(of("activation_dead", "relu1"), runs * 3);
    assert_eq!(of("update_ratio", "linear2"), runs * 3);
    assert_eq!(of("drift_mean", "linear2"), runs * 2);
    assert_eq!(of("smoothness_beta", "network"), runs * 3);
    assert_eq!(of("memory_weights_bytes", "network"), runs);
    let weights = layers.iter().find(|row| row["measurement"] == "memory_weights_bytes").unwrap();
    assert_eq!(weights["value"], ((65 * 16 + 17 * 4) * 4).to_string());

    // Asked for no more, other runs are planned and the tables go.
    let stale = sandbox.run(&["plan", "sweep.toml", "~measure"]).expect_code(0);
    assert!(stale.stdout().contains("measure"), "{}", stale.stdout());
    sandbox.sweep(&["~measure", "run.curves=epoch"]).expect_code(0);
    assert!(!folder.join("layers.csv").exists() && !folder.join("steps.csv").exists());
}

#[test]
fn a_killed_worker_measures_what_an_undisturbed_one_does() {
    let undisturbed = Sandbox::new(&measuring());
    undisturbed.sweep(&[]).expect_code(0);
    let expected = tables(&undisturbed);
    // Far enough for a checkpoint and what comes after it.
    let mut killed = 0;
    for place in [5, 12, 16, 20, 25] {
        let sandbox = Sandbox::new(&(measuring() + "retries = { count = 0, delay = \"0s\" }\n"));
        if sandbox.sweep_crashing_at(&format!("worker:{place}"), &[]).code() != Some(0) {
            killed += 1;
            sandbox.sweep(&[]).expect_code(0);
        }
        assert!(tables(&sandbox) == expected, "killed at {place}");
    }
    assert!(killed >= 3, "only {killed} kills: the test does not test");
}
