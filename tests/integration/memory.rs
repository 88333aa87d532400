//! What a plan forecasts that a run needs is what its worker takes, within 15 %.

use std::fs;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// How far the forecast may be off, relative to what was measured.
const TOLERANCE: f64 = 0.15;

/// Images that a run is given, (training, validation and test each, shape).
struct Images(u32, u32, [u32; 3]);

/// Runs one epoch of a configuration in a worker of its own; compares its peak with the forecast.
#[track_caller]
fn hold(what: &str, Images(train, others, shape): Images, settings: &str) {
    let sandbox = Sandbox::new(&format!(
        "schema = 1\nname = \"memory\"\n[base]\nepochs = 1\n\
         dataset = {{ kind = \"synthetic\", train = {train}, val = {others}, test = {others}, \
         shape = {shape:?} }}\n{settings}\n"
    ));
    let plan = sandbox.run(&["plan", "sweep.toml", "--json"]).expect_code(0).stdout();
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let forecast = plan["memory"][0]["total"].as_f64().unwrap();
    assert_eq!(plan["memory"].as_array().unwrap().len(), 1);
    sandbox.sweep(&[]).expect_code(0);
    let [run] = &sandbox.run_folders("memory")[..] else { panic!("one run") };
    let result: Value =
        serde_json::from_slice(&fs::read(run.join("result.json")).unwrap()).unwrap();
    let measured = result["peak_memory_bytes"].as_f64().unwrap();
    let mebibytes = [measured, forecast].map(|bytes| bytes / f64::from(1 << 20));
    eprintln!("{what}: measured {:.1} MiB, forecast {:.1} MiB", mebibytes[0], mebibytes[1]);
    assert!(
        (forecast / measured - 1.0).abs() <= TOLERANCE,
        "{what}: measured {measured}, forecast {forecast}: {}",
        plan["memory"][0]
    );
}

#[test]
fn an_mlp_takes_what_is_forecast_with_and_without_an_optimizers_memory() {
    hold("mlp", Images(512, 256, [1, 28, 28]), "");
    hold("mlp, Adam", Images(512, 256, [1, 28, 28]), "optimizer = \"adam\"");
    let deep = "model = { kind = \"mlp\", hidden = [2048, 2048] }\ndropout = 0.5\nbatch_size = 32";
    hold("mlp, 2048", Images(64, 600, [3, 32, 32]), deep);
}

#[test]
fn an_alexnet_takes_what_is_forecast() {
    hold("alexnet32", Images(256, 128, [3, 32, 32]), "model = \"alexnet32\"");
    let narrow = "model = \"alexnet32\"\nwidth = 0.25\nbatch_norm = true\noptimizer = \"adam\"";
    hold("alexnet32, width 0.25", Images(256, 300, [1, 28, 28]), narrow);
}

#[test]
fn declared_layers_and_measurements_take_what_is_forecast() {
    let layers = r#"
batch_size = 64
dropout = 0.3
batch_norm = true
measure = ["update_ratio", "smoothness"]
[base.model]
kind = "layers"
layers = [
  { kind = "conv2d", channels = 48, kernel = 5, stride = 2, padding = 2 }, "activation",
  "local_response_norm", { kind = "conv2d", channels = 96, kernel = 3, padding = 1, groups = 2 },
  "norm", "activation", { kind = "max_pool2d", kernel = 2 }, "flatten", "dropout",
  { kind = "linear", units = 512 }, "activation", "logits",
]
"#;
    hold("layers", Images(128, 128, [3, 32, 32]), layers);
}
