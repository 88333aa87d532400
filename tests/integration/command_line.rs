//! The commands as a person meets them: what they print, what they write, how they exit.

use crate::sandbox::{Sandbox, TINY, read_csv};

#[test]
fn a_sweep_leaves_a_row_for_every_run_and_configuration() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0).expect_stdout("lr=0.2").expect_no_panic();
    let runs = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    assert_eq!(runs.len(), 4);
    for run in &runs {
        assert_eq!(run["status"], "finished");
        assert_eq!(run["epochs_done"], "3");
        assert_eq!(run["reason"], "");
        let accuracy: f64 = run["val_accuracy"].parse().unwrap();
        assert!((0.0..=1.0).contains(&accuracy));
        let gap: f64 = run["generalization_gap"].parse().unwrap();
        let losses: [f64; 2] = ["val_loss", "train_loss"].map(|name| run[name].parse().unwrap());
        assert!((gap - (losses[0] - losses[1])).abs() < 1e-9);
        assert!(run["peak_memory_bytes"].parse::<u64>().unwrap() > 1 << 20);
        // 64 inputs, 16 hidden, 4 classes.
        assert_eq!(run["parameters"], (64 * 16 + 16 + 16 * 4 + 4).to_string());
    }
    let board = read_csv(&sandbox.sweep_folder("tiny").join("leaderboard.csv"));
    assert_eq!(board.len(), 2);
    assert_eq!([&board[0]["rank"], &board[0]["n"], &board[0]["failed"]], ["1", "2", "0"]);
    let curves = read_csv(&sandbox.sweep_folder("tiny").join("curves.csv"));
    assert_eq!(curves.iter().filter(|row| row["metric"] == "val_loss").count(), 4 * 3);
}

#[test]
fn the_columns_bear_the_promised_names() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0);
    let header = |csv: &str| {
        let text = std::fs::read_to_string(sandbox.sweep_folder("tiny").join(csv)).unwrap();
        text.lines().next().unwrap().to_owned()
    };
    assert_eq!(
        header("runs.csv"),
        "run_id,configuration,lr,status,reason,seed,epochs_done,val_accuracy,val_loss,\
         test_accuracy,test_loss,train_loss,generalization_gap,epochs_to_target,seconds_to_target,\
         images_per_s,wall_s,peak_memory_bytes,parameters,fused_lanes,host,\
         device_name,step_compute_s,step_communication_s,step_wait_s"
    );
    let board = header("leaderboard.csv");
    assert!(
        board.starts_with(
            "rank,configuration,lr,n,failed,skipped,val_accuracy_mean,val_accuracy_std,\
             val_accuracy_ci95_low,val_accuracy_ci95_high,"
        ),
        "{board}"
    );
}

#[test]
fn a_sweep_that_is_done_says_so_and_an_edited_axis_runs_only_what_is_missing() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0);
    sandbox.sweep(&[]).expect_code(4).expect_stdout("nothing to do");
    sandbox.write("sweep.toml", &TINY.replace("lr = [0.05, 0.2]", "lr = [0.2, 0.4]"));
    sandbox.sweep(&[]).expect_code(0).expect_stderr("2 runs to do, 2 done before");
    let runs = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    assert_eq!(
        runs.iter().filter(|run| run["lr"] == "0.05").count(),
        0,
        "not in the file any more"
    );
    assert_eq!(runs.len(), 4);
    assert_eq!(sandbox.run_folders("tiny").len(), 6, "old results are kept");
}

#[test]
fn a_dry_run_writes_nothing() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&["--dry-run"]).expect_code(0).expect_stdout("4 runs");
    assert!(!sandbox.path("runs").exists());
}

#[test]
fn a_plan_as_json_names_every_run() {
    let sandbox = Sandbox::new(TINY);
    let plan = sandbox.run(&["plan", "sweep.toml", "--json"]).expect_code(0).stdout();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["runs"].as_array().unwrap().len(), 4, "{plan}");
}

#[test]
fn a_claim_that_no_configuration_is_there_for_is_told_before_a_night_is_spent_on_it() {
    let claim = "[[exclude]]\nlr = 0.05\n[[claim]]\ntext = \"small rates are worse\"\n\
                 compare = { metric = \"val_loss\", larger = { lr = 0.05 }, than = { lr = 0.2 } }\n";
    let sandbox = Sandbox::new(&format!("{TINY}{claim}"));
    let planned = sandbox.run(&["plan", "sweep.toml"]).expect_code(0);
    planned.expect_stdout("without effect").expect_stdout("no configuration is lr=0.05");
    let plan = sandbox.run(&["plan", "sweep.toml", "--json"]).expect_code(0).stdout();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["idle"][0]["table"], "claim", "{plan}");
    sandbox.sweep(&[]).expect_code(0).expect_stderr("warning: the `[[claim]]` in line");
}

#[test]
fn what_would_cost_more_than_it_may_is_refused_before_anything_starts() {
    let sandbox = Sandbox::new(TINY);
    for budget in ["budget.wall=1ms", "budget.disk=10kB"] {
        let refused = sandbox.sweep(&[budget]).expect_code(2).expect_stderr("[budget] allows");
        refused.expect_stderr("on the command line").expect_no_panic();
        let planned = sandbox.run(&["plan", "sweep.toml", budget]).expect_code(0);
        planned.expect_stderr("`gridlane sweep` refuses it").expect_stdout("disk: about");
    }
    let both = sandbox.sweep(&["budget.wall=1ms", "budget.disk=10kB"]).expect_code(2);
    both.expect_stderr("and [budget] allows 1ms").expect_stderr("on disk, and [budget] allows");
    let one = ["plan", "sweep.toml", "lr=0.05", "seeds=1", "-j", "9"];
    let one = sandbox.run(&one).expect_code(0).stdout();
    assert!(!one.contains("at once"), "one run is never several at once: {one}");
    assert!(!sandbox.path("runs").exists());
    sandbox.sweep(&["budget.wall=1h", "budget.disk=1GB"]).expect_code(0);
    // What is done costs nothing more.
    sandbox.sweep(&["budget.wall=1ms", "budget.disk=1B"]).expect_code(4);
}

#[test]
fn the_disk_forecast_is_what_the_runs_leave() {
    let sandbox = Sandbox::new(TINY);
    let wide = ["model=mlp", "repeats.seeds=1", "optimizer=sgd,adam"];
    let arguments = [&["plan", "sweep.toml", "--json"], &wide[..]].concat();
    let plan = sandbox.run(&arguments).expect_code(0).stdout();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let forecast = plan["forecast"]["disk_bytes"].as_u64().unwrap();
    sandbox.sweep(&wide).expect_code(0);
    let mut left = 0;
    for run in sandbox.run_folders("tiny") {
        for file in std::fs::read_dir(run.join("checkpoint")).unwrap() {
            left += file.unwrap().metadata().unwrap().len();
        }
    }
    // Two more checkpoints while runs go on, of the larger kind, and the rest of the record.
    assert!(left < forecast && forecast < 2 * left, "{left} {forecast}");
}

#[test]
fn the_doctor_says_what_there_is_and_what_is_in_the_way() {
    let sandbox = Sandbox::new(TINY);
    let doctor = |arguments: &[&str]| sandbox.run(&[&["doctor"], arguments].concat());
    let healthy = doctor(&[]).expect_code(0).expect_no_panic().expect_stdout("locks hold");
    healthy.expect_stdout("nothing is in the way").expect_stdout("leased: none");
    let left = std::fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("doctor")));
    for option in ["--runs", "--data"] {
        for file in ["sweep.toml", "sweep.toml/below"] {
            let bad = doctor(&[option, file]).expect_code(1).expect_no_panic();
            bad.expect_stdout("sweep.toml is no folder: name one with --");
            let refused = sandbox.run(&["sweep", "sweep.toml", option, file]).expect_code(2);
            refused.expect_stderr("is no folder");
        }
    }
    doctor(&["--data", "nowhere"]).expect_code(0).expect_stdout("there is no folder");
    let bad = doctor(&["--runs", "/proc/1/runs"]).expect_code(1).expect_no_panic();
    bad.expect_stdout("problem  record").expect_stdout("1 problem");
}

#[test]
fn an_override_makes_an_axis() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&["epochs=1", "repeats.seeds=1", "batch_size=8,16"]).expect_code(0);
    let board = read_csv(&sandbox.sweep_folder("tiny").join("leaderboard.csv"));
    assert_eq!(board.len(), 4);
    assert!(board.iter().all(|row| row.contains_key("batch_size")), "{board:?}");
}

#[test]
fn csvs_are_made_anew_from_the_run_folders() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0);
    let folder = sandbox.sweep_folder("tiny");
    let csvs = ["runs.csv", "leaderboard.csv", "curves.csv"].map(|csv| folder.join(csv));
    let before = csvs.clone().map(|csv| std::fs::read_to_string(csv).unwrap());
    for csv in &csvs {
        std::fs::remove_file(csv).unwrap();
    }
    sandbox.run(&["leaderboard", "tiny"]).expect_code(0).expect_stdout("lr=0.2");
    assert_eq!(before, csvs.map(|csv| std::fs::read_to_string(csv).unwrap()));
}

#[test]
fn a_mistake_in_the_sweep_file_is_shown_where_it_is() {
    let sandbox = Sandbox::new(&TINY.replace("batch_size", "batchsize"));
    let stderr = sandbox.sweep(&[]).expect_code(2).expect_no_panic().stderr();
    assert!(stderr.contains("sweep.toml:10:1"), "{stderr}");
    assert!(stderr.contains("did you mean `batch_size`"), "{stderr}");
    assert_eq!(stderr.matches("there is no key").count(), 1, "said once: {stderr}");
    sandbox.run(&["sweep", "missing.toml"]).expect_code(2).expect_stderr("missing.toml");
    sandbox.run(&["swep"]).expect_code(2);
    sandbox.run(&["leaderboard", "never-run"]).expect_code(2).expect_stderr("never-run");
}

#[test]
fn a_missing_data_set_is_refused_before_anything_starts() {
    let sandbox = Sandbox::new(TINY);
    sandbox
        .sweep(&["dataset=synthetic,mnist"])
        .expect_code(2)
        .expect_stderr("gridlane data fetch mnist");
    assert!(!sandbox.path("runs").exists());
}

#[test]
fn a_divergence_is_a_result_and_not_a_failure() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&["lr=0.05,1e30"]).expect_code(0);
    let runs = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    let diverged: Vec<_> = runs.iter().filter(|run| run["status"] == "diverged").collect();
    assert_eq!(diverged.len(), 2, "{runs:?}");
    assert!(diverged[0]["reason"].contains("first non-finite "));
    assert_eq!(diverged[0]["test_accuracy"], "");
    sandbox.sweep(&["lr=0.05,1e30"]).expect_code(4);
    let board = read_csv(&sandbox.sweep_folder("tiny").join("leaderboard.csv"));
    assert_eq!([&board[1]["n"], &board[1]["failed"]], ["0", "2"], "{board:?}");
}

#[test]
fn embedded_data_needs_no_file_and_plain_output_has_no_escapes() {
    let sandbox = Sandbox::new(TINY);
    let ran =
        sandbox.sweep(&["dataset=mnist-10k", "epochs=1", "seeds=1", "lr=0.005"]).expect_code(0);
    assert!(!ran.stderr().contains('\u{1b}') && !ran.stdout().contains('\u{1b}'));
    let runs = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    let accuracy: f64 = runs[0]["test_accuracy"].parse().unwrap();
    assert!(accuracy > 0.6, "real digits are learnt: {accuracy}");
}

#[test]
fn the_schema_is_json_and_completions_are_a_script() {
    let sandbox = Sandbox::new(TINY);
    let schema = sandbox.run(&["schema"]).expect_code(0).stdout();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(schema["properties"]["grid"].is_object());
    sandbox.run(&["completions", "bash"]).expect_code(0).expect_stdout("gridlane");
}

#[test]
fn there_is_a_manual_page_for_the_program_and_for_each_command() {
    let sandbox = Sandbox::new(TINY);
    sandbox.run(&["man"]).expect_code(0).expect_stdout(".TH gridlane 1");
    sandbox.run(&["man", "-o", "share/man1"]).expect_code(0);
    let page = |name: &str| std::fs::read_to_string(sandbox.path(&format!("share/man1/{name}")));
    assert!(page("gridlane.1").unwrap().contains("gridlane\\-sweep(1)"));
    assert!(page("gridlane-sweep.1").unwrap().contains("KEY=VALUE"));
    assert!(page("gridlane-slurm-status.1").is_ok(), "of commands of commands too");
    assert!(page("gridlane-worker.1").is_err(), "not of those that are for the program itself");
    std::fs::write(sandbox.path("file"), "").unwrap();
    sandbox
        .run(&["man", "-o", "file"])
        .expect_code(1)
        .expect_stderr("write manual pages into file");
}

#[test]
fn a_benchmark_of_a_step_prints_the_figures_that_scripts_read() {
    let sandbox = Sandbox::new(TINY);
    let bench = ["bench", "step", "batch_size=4", "--steps", "3", "--json"];
    let figures = sandbox.run(&bench).expect_code(0).stdout();
    let figures: serde_json::Value = serde_json::from_str(&figures).unwrap();
    let median = figures["step_ms_median"].as_f64().unwrap();
    let images = figures["images_per_s"].as_f64().unwrap();
    assert!((images * median / 4000.0 - 1.0).abs() < 1e-9 && median > 0.0);
    assert_eq!(figures["parameters"], 567_434);
    assert!(figures["profile"].is_null());
    let bench = [&bench[..], &["--profile"]].concat();
    let figures = sandbox.run(&bench).expect_code(0).stdout();
    let profile = serde_json::from_str::<serde_json::Value>(&figures).unwrap()["profile"].clone();
    assert!(profile["phases_s"]["backward"].as_f64().unwrap() > 0.0, "{profile}");
    assert_eq!(profile["layers_s"][0][0], "linear1");
    // Six times the multiply-adds of four images, but for the first layer's input gradient.
    let layers = [784 * 512, 512 * 256, 256 * 128, 128 * 10];
    let adds = 3 * layers.iter().sum::<u64>() - layers[0];
    assert_eq!(profile["step_flops"].as_f64().unwrap(), (2 * 4 * adds) as f64);
    assert!(profile["core_peak_flops"].as_f64().unwrap() > 0.0);
    sandbox.run(&["bench", "step", "lr=0.1,0.2"]).expect_code(2).expect_stderr("several values");
    sandbox.run(&["bench", "step", "modle=mlp"]).expect_code(2).expect_stderr("did you mean");
    let bench = ["bench", "step", "batch_size=4", "--steps=3", "run.threads=2"];
    sandbox.run(&bench).expect_code(0).expect_stdout("device    cpu, 2 threads");
    sandbox.run(&["bench", "step", "devices=2"]).expect_code(2).expect_stderr("times one device");
    if !cfg!(feature = "cuda") {
        // Never the time of a core for that of a GPU.
        for bench in [&["bench", "step"][..], &["bench", "augment", "augmentation=strong"]] {
            let ran = sandbox.run(&[bench, &["device=cuda", "precision=bf16"]].concat());
            assert_ne!(ran.code(), Some(0), "{}", ran.stdout());
            assert!(!ran.stderr().contains("take precision"), "{}", ran.stderr());
        }
    }
}

#[test]
fn a_benchmark_of_augmentation_prints_the_figures_that_scripts_read() {
    let sandbox = Sandbox::new(TINY);
    let settings = ["dataset={kind=synthetic,shape=[3,40,40]}", "augmentation=alexnet_style"];
    let bench = [&["bench", "augment"], &settings[..], &["--images=300", "--rounds=2"]].concat();
    let text = sandbox.run(&bench).expect_code(0).stdout();
    assert!(text.contains("3 x 40 x 40 to 3 x 40 x 40"), "{text}");
    let figures = sandbox.run(&[&bench[..], &["--json"]].concat()).expect_code(0).stdout();
    let figures: serde_json::Value = serde_json::from_str(&figures).unwrap();
    assert_eq!((&figures["images"], &figures["rounds"]), (&384.into(), &2.into()), "{figures}");
    assert!(figures["images_per_s"].as_f64().unwrap() > 0.0, "{figures}");
    sandbox.run(&["bench", "augment", "augmentation=strongg"]).expect_code(2);
}

#[test]
fn help_is_as_documented() {
    let sandbox = Sandbox::new(TINY);
    for command in ["sweep", "plan", "model", "leaderboard", "compare", "export", "data", "doctor"]
    {
        let help = sandbox.run(&[command, "--help"]).expect_code(0).stdout();
        insta::assert_snapshot!(format!("help_{command}"), help);
    }
    insta::assert_snapshot!("help", sandbox.run(&["--help"]).expect_code(0).stdout());
}

/// The same weights under another name are the same run; others are refused by their tensors.
#[test]
fn weights_of_a_file_are_kept_in_the_record_and_known_by_their_contents() {
    let sweep = r#"
schema = 1
name = "from"

[base]
model = "alexnet32"
width = 0.125
batch_size = 64
epochs = 1
dataset = { kind = "synthetic", train = 64, val = 16, test = 16 }
init = { from = "w.safetensors" }
"#;
    let sandbox = Sandbox::new(sweep);
    let reference = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    std::fs::copy(reference.join("parity.safetensors"), sandbox.path("w.safetensors")).unwrap();
    sandbox.sweep(&[]).expect_code(0);
    let kept = std::fs::read_dir(sandbox.sweep_folder("from").join("weights")).unwrap().count();
    assert_eq!(kept, 2, "the file and the index");
    std::fs::rename(sandbox.path("w.safetensors"), sandbox.path("v.safetensors")).unwrap();
    sandbox.run(&["leaderboard", "from"]).expect_code(0).expect_stdout("base");
    sandbox.sweep(&[]).expect_code(2);
    sandbox.write("sweep.toml", &sweep.replace("w.safetensors", "v.safetensors"));
    sandbox.sweep(&[]).expect_code(4).expect_stdout("nothing to do");
    sandbox.sweep(&["width=0.25"]).expect_code(2);
}
