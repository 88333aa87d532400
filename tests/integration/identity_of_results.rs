//! The same sweep gives the same bits, however it is executed and however it is written.

use crate::sandbox::{Sandbox, TINY};

#[test]
fn results_do_not_depend_on_how_many_run_at_a_time() {
    let two = Sandbox::new(TINY);
    two.sweep(&[]).expect_code(0);
    let one = Sandbox::new(TINY);
    one.run(&["sweep", "sweep.toml", "-j", "1"]).expect_code(0);
    assert!(two.results("tiny") == one.results("tiny"));
}

#[test]
fn a_file_written_otherwise_is_the_same_sweep() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0);
    let otherwise = TINY
        .replace("[base]", "[base]\n# the default, written out\nweight_decay = 0\n")
        .replace("epochs = 3", "epochs = 3.0")
        .replace("lr = [0.05, 0.2]", "lr = { range = [0.05, 0.3, 0.15] }")
        .replace("momentum = 0.9 }", "nesterov = false, momentum = 0.9 }");
    sandbox.write("sweep.toml", &otherwise);
    sandbox.sweep(&[]).expect_code(4);
    sandbox.write("sweep.toml", &TINY.replace("lr = [0.05, 0.2]", "lr = [0.2, 0.05]"));
    sandbox.sweep(&[]).expect_code(4);
}

#[test]
fn placement_is_not_identity() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0);
    let placed = format!("{TINY}\n[run]\ntimeout = \"1h\"\nretries = {{ count = 5 }}\n");
    sandbox.write("sweep.toml", &placed);
    sandbox.sweep(&[]).expect_code(4);
}

#[test]
fn the_seed_decides_and_nothing_else_of_the_machine() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&["seeds=1,2"]).expect_code(0);
    let weights: Vec<Vec<u8>> = sandbox
        .results("tiny")
        .into_iter()
        .filter(|(name, _)| name.ends_with(".safetensors"))
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(weights.len(), 4);
    for (i, left) in weights.iter().enumerate() {
        assert!(weights[i + 1..].iter().all(|right| left != right), "two runs are the same");
    }
}
