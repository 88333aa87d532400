//! Tables in other formats, sweeps beside each other, and files for other programs.

use std::fs;
use std::path::Path;

use crate::sandbox::{Sandbox, TINY, read_csv};

/// A sandbox with the tiny sweep, executed.
fn executed() -> Sandbox {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0);
    sandbox
}

#[test]
fn a_leaderboard_is_sorted_filtered_and_written_in_every_format() {
    let sandbox = executed();
    let board = |arguments: &[&str]| {
        sandbox.run(&[&["leaderboard", "tiny"], arguments].concat()).expect_code(0).stdout()
    };
    let whole = fs::read_to_string(sandbox.sweep_folder("tiny").join("leaderboard.csv")).unwrap();
    assert_eq!(board(&["--format", "csv"]), whole, "the CSV is the CSV");
    let csv = board(&["--format", "csv", "--sort", "-lr", "--columns", "lr,n,val_accuracy"]);
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("lr,n,val_accuracy_mean"));
    assert!(lines.next().unwrap().starts_with("0.2,2,"), "{csv}");
    assert!(lines.next().unwrap().starts_with("0.05,2,"), "{csv}");
    let json = board(&["--format", "json", "--where", "lr<0.1"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!((&json[0]["lr"], &json[0]["n"]), (&0.05.into(), &2.into()));
    let ranks: Vec<_> = read_csv(&sandbox.sweep_folder("tiny").join("leaderboard.csv"))
        .into_iter()
        .filter(|row| row["lr"] == "0.05")
        .map(|row| row["rank"].parse::<u64>().unwrap())
        .collect();
    assert_eq!(json[0]["rank"].as_u64(), Some(ranks[0]), "the rank among all");
    let markdown = board(&["--format", "markdown", "--columns", "configuration,lr"]);
    assert!(markdown.starts_with("| configuration | "), "{markdown}");
    let text = board(&["--where", "lr=0.05"]);
    assert!(text.starts_with("1 of 2 configurations by val_accuracy"), "{text}");
    assert!(!text.contains("lr=0.2"), "{text}");
    let text = board(&["--columns", "lr,rank"]);
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn a_file_is_written_as_its_name_ends() {
    let sandbox = executed();
    for (file, begins) in
        [("b.csv", "rank,"), ("b.md", "| "), ("b.json", "[\n{"), ("b.xlsx", "PK"), ("b.txt", "2 ")]
    {
        sandbox.run(&["leaderboard", "tiny", "-o", file]).expect_code(0).expect_stderr(file);
        let bytes = fs::read(sandbox.path(file)).unwrap();
        assert!(bytes.starts_with(begins.as_bytes()), "{file}");
    }
    let arguments = ["leaderboard", "tiny", "-o", "b.dat"];
    sandbox.run(&arguments).expect_code(2).expect_stderr("in which format");
    let arguments = ["leaderboard", "tiny", "-o", "absent/b.csv"];
    sandbox.run(&arguments).expect_code(1).expect_stderr("absent/b.csv");
    let printed =
        |arguments: &[&str]| sandbox.run(&[&["leaderboard", "tiny"], arguments].concat()).0.stdout;
    assert_eq!(printed(&["--format", "csv", "-o", "-"]), printed(&["--format", "csv"]));
    assert_eq!(printed(&["-o", "-"]), printed(&[]));
    assert!(printed(&["--format", "xlsx", "-o", "-"]).starts_with(b"PK"), "into a pipe");
    assert!(!sandbox.path("-").exists());
    let arguments = ["leaderboard", "tiny", "--format", "xlsx"];
    sandbox.run(&arguments).expect_code(2).expect_stderr("-o FILE.xlsx");
}

#[test]
fn what_does_not_exist_is_named_with_what_does() {
    let sandbox = executed();
    for (option, value, part) in [
        ("--sort", "val_acuracy_mean", "did you mean `val_accuracy_mean`?"),
        ("--columns", "ranc", "did you mean `rank`?"),
        ("--where", "lrr=0.1", "did you mean `lr`?"),
        ("--where", "lr=0.3", "`lr` takes: 0.05, 0.2"),
        ("--where", "lr>1", "no value of `lr` lies there"),
        ("--format", "exel", "possible values"),
    ] {
        let ran = sandbox.run(&["leaderboard", "tiny", option, value]).expect_code(2);
        ran.expect_no_panic().expect_stderr(part);
    }
    sandbox.run(&["compare", "tiny"]).expect_code(2);
    sandbox.run(&["compare", "tiny", "tinny"]).expect_code(2).expect_stderr("there are: tiny");
    let arguments = ["compare", "tiny", "tiny", "--metric", "acuracy"];
    sandbox.run(&arguments).expect_code(2).expect_stderr("there is no metric `acuracy`");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(path, target).map(drop).unwrap() }
    }
}

#[test]
fn sweeps_are_compared_configuration_by_configuration() {
    let sandbox = executed();
    copy(&sandbox.sweep_folder("tiny"), &sandbox.sweep_folder("before"));
    let ran = sandbox.run(&["compare", "before", "tiny"]).expect_code(0);
    ran.expect_stdout("2 in both: 0 better, 0 worse, 2 tied, 0 undecided");

    let wide = TINY.replace("hidden = [16]", "hidden = [48]").replace("\"tiny\"", "\"wide\"");
    sandbox.write("sweep.toml", &wide.replace("lr = [0.05, 0.2]", "lr = [0.2, 0.4]"));
    sandbox.sweep(&[]).expect_code(0);
    let text = sandbox.run(&["compare", "tiny", "runs/wide"]).expect_code(0).stdout();
    for part in [
        "wide beside tiny by val_accuracy, more is better",
        "model: mlp(hidden=[16]) in tiny, mlp(hidden=[48]) in wide",
        "paired t, 2 seeds",
        "only in tiny: lr=0.05",
        "only in wide: lr=0.4",
        "1 in both",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let arguments = ["compare", "tiny", "wide", "before", "--metric", "test_loss", "-o", "c.csv"];
    sandbox.run(&arguments).expect_code(0);
    let rows = read_csv(&sandbox.path("c.csv"));
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row["sweep_b"].as_str(), row["lr"].as_str(), row["pairs"].as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("wide", "0.05", ""),
            ("wide", "0.2", "2"),
            ("wide", "0.4", ""),
            ("before", "0.05", "2"),
            ("before", "0.2", "2"),
        ]
    );
    let row = &rows[1];
    let number = |column: &str| row[column].parse::<f64>().unwrap();
    let difference = number("mean_b") - number("mean_a");
    assert!((number("difference_mean") - difference).abs() < 1e-12);
    assert_eq!((row["metric"].as_str(), row["test"].as_str()), ("test_loss", "paired t"));
}

#[test]
fn sweeps_of_another_engine_are_refused_unless_forced() {
    let sandbox = executed();
    copy(&sandbox.sweep_folder("tiny"), &sandbox.sweep_folder("old"));
    for run in sandbox.run_folders("old") {
        let file = run.join("run.json");
        let mut record: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        record["engine"] = 1.into();
        fs::write(file, record.to_string()).unwrap();
    }
    let reason = "the numbers of old and tiny do not mean the same: engine numerics: 1 against";
    let refused = sandbox.run(&["compare", "old", "tiny"]).expect_code(2);
    refused.expect_stderr(reason).expect_stderr("--force");
    let text = sandbox.run(&["compare", "old", "tiny", "--force"]).expect_code(0).stdout();
    assert!(text.contains("tied (incomparable)"), "{text}");
    assert!(text.contains("incomparable (engine numerics: 1 against"), "{text}");
}

/// All seeds of one configuration fail, one seed of another, and names are of any script.
#[test]
fn failures_are_empty_cells_in_every_format() {
    let sweep = TINY
        .replace("lr = [0.05, 0.2]", "lr = [0.05, 1e30]")
        .replace("name = \"tiny\"", "name = \"odd\"");
    let sandbox = Sandbox::new(&sweep);
    sandbox.sweep(&[]);
    for format in ["table", "csv", "markdown", "json"] {
        let ran = sandbox.run(&["leaderboard", "odd", "--format", format]).expect_code(0);
        let text = ran.expect_no_panic().stdout();
        assert!(!text.contains("NaN") && !text.contains("inf,"), "{format}:\n{text}");
        let ran = sandbox.run(&["compare", "odd", "odd", "--format", format]).expect_code(0);
        let text = ran.expect_no_panic().stdout();
        assert!(!text.contains("NaN") && !text.contains("inf,"), "{format}:\n{text}");
    }
    sandbox.run(&["leaderboard", "odd", "-o", "odd.xlsx"]).expect_code(0);
    let columns = ["leaderboard", "odd", "--columns", "lr,failed,val_accuracy", "--format", "csv"];
    let csv = sandbox.run(&columns).expect_code(0).stdout();
    assert!(
        csv.lines().any(|line| line.starts_with("1000000000000000000") && line.ends_with(",2,")),
        "{csv}"
    );
}

#[test]
fn events_for_tensorboard_are_written_a_folder_a_run() {
    let sandbox = executed();
    let arguments = ["export", "tensorboard", "tiny", "-o", "tb"];
    sandbox.run(&arguments).expect_code(0).expect_stderr("4 runs in tb");
    let mut folders: Vec<String> = fs::read_dir(sandbox.path("tb"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, ["lr=0.05 seed=0", "lr=0.05 seed=1", "lr=0.2 seed=0", "lr=0.2 seed=1"]);
    let file = sandbox.path("tb/lr=0.2 seed=1/events.out.tfevents.0000000000.gridlane");
    let bytes = fs::read(file).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for part in ["brain.Event:2", "val_accuracy", "train_loss", "hparams"] {
        assert!(text.contains(part), "{part}");
    }
}
