//! `report.html` and `plots/`: there after a sweep, made anew from the record, rid of what is out of date.

use std::fs;

use crate::sandbox::{Sandbox, TINY};

/// The document inside a page.
fn document(sandbox: &Sandbox, sweep: &str) -> serde_json::Value {
    let page = fs::read_to_string(sandbox.sweep_folder(sweep).join("report.html")).unwrap();
    let (_, rest) = page.split_once("id=\"document\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// Names of the plots, sorted.
fn plots(sandbox: &Sandbox, sweep: &str) -> Vec<String> {
    let files = fs::read_dir(sandbox.sweep_folder(sweep).join("plots")).into_iter().flatten();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const CURVES: [&str; 4] =
    ["curves_lr.svg", "curves_train_loss.svg", "curves_val_accuracy.svg", "curves_val_loss.svg"];

#[test]
fn a_sweep_leaves_a_report_that_the_record_alone_gives_again() {
    let claim = r#"
[[claim]]
text = "a larger rate learns more </script>"
compare = { metric = "val_accuracy", larger = { lr = 0.2 }, than = { lr = 0.05 } }
"#;
    let sandbox = Sandbox::new(&format!("# Which rate?\n{TINY}{claim}"));
    sandbox.sweep(&[]).expect_code(0).expect_stdout("report.html").expect_no_panic();
    let mut first = document(&sandbox, "tiny");
    assert_eq!(first["counts"]["finished"], 4);
    assert_eq!(first["sweep"]["header"], "Which rate?");
    assert_eq!(first["claims"][0]["text"], "a larger rate learns more </script>");
    assert_eq!(first["curves"][0]["series"][0]["x"], serde_json::json!([1, 2, 3]));
    assert_eq!(first["curves"][0]["series"][0]["n"], serde_json::json!([2, 2, 2]));
    assert_eq!(first["provenance"]["seeds"], serde_json::json!([0, 1]));
    let drawn = [&["claims.svg"], &CURVES[..], &["effects.svg"]].concat();
    assert_eq!(plots(&sandbox, "tiny"), drawn);

    let folder = sandbox.sweep_folder("tiny");
    fs::remove_file(folder.join("report.html")).unwrap();
    fs::write(folder.join("plots/of_yesterday.svg"), "<svg/>").unwrap();
    sandbox.run(&["leaderboard", "tiny"]).expect_code(0).expect_stdout("report.html");
    let mut again = document(&sandbox, "tiny");
    for document in [&mut first, &mut again] {
        document["provenance"]["written"] = serde_json::Value::Null;
    }
    assert_eq!(first, again);
    assert_eq!(plots(&sandbox, "tiny"), drawn, "the one of yesterday is gone");
}

#[test]
fn failures_are_told_with_the_end_of_their_log_and_measurements_by_layer() {
    let sandbox = Sandbox::new(TINY);
    let arguments = ["measure=[gradient_norm]", "lr=0.05,1e30", "epochs=2"];
    sandbox.sweep(&arguments).expect_code(0).expect_no_panic();
    let document = document(&sandbox, "tiny");
    assert_eq!(document["failures"].as_array().unwrap().len(), 2);
    assert_eq!(document["failures"][0]["status"], "diverged");
    assert_eq!(document["failures"][0]["configuration"], 1);
    let layers = &document["layers"][0];
    assert_eq!(layers["measurement"], "gradient_norm_mean");
    assert_eq!(layers["layers"], serde_json::json!(["linear1", "linear2", "network"]));
    assert_eq!(layers["epochs"], serde_json::json!([1, 2]));
    assert!(plots(&sandbox, "tiny").contains(&"gradient_norm.svg".to_owned()));
}

#[test]
fn timed_steps_have_their_tables_and_no_curve() {
    let timed = TINY
        .replace("epochs = 3", "mode = { kind = \"throughput\", steps = 4, warm_up = 1 }")
        .replace("lr = [0.05, 0.2]", "batch_size = [16, 32]")
        .replace("batch_size = 16\n", "")
        .replace("name = \"val_accuracy\"\ntarget = 0.5", "name = \"images_per_s\"");
    let sandbox = Sandbox::new(&timed);
    sandbox.sweep(&[]).expect_code(0).expect_no_panic();
    let document = document(&sandbox, "tiny");
    assert_eq!(document["throughput"]["rows"].as_array().unwrap().len(), 2);
    assert!(document["scaling"].is_null());
    assert_eq!(document["curves"], serde_json::json!([]));
    assert_eq!(plots(&sandbox, "tiny"), ["effects.svg", "throughput.svg"]);
}
