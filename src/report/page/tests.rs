use std::time::Instant;

use proptest::prelude::*;

use super::document::Document;
use super::sample::{Bundle, facts, history, small};
use super::{Facts, html, json};
use crate::aggregate::curves::RunHistory;
use crate::aggregate::row::{AxisValue, PlannedRun, RunRow, RunState};
use crate::aggregate::sample;
use crate::aggregate::table::SweepTable;
use crate::ids::RunId;
use crate::report::plots::plots;
use crate::spec::metric::{Metric, MetricName};

/// The page of a bundle, held to what must be true of every page.
fn page(bundle: &Bundle, facts: &Facts) -> (serde_json::Value, String) {
    let inputs = bundle.inputs();
    let document = Document::of(&inputs, facts);
    let page = html(&document, &bundle.board);
    let start = page.find("id=\"document\">").expect("the document is in the page");
    let text = &page[start + "id=\"document\">".len()..];
    let text = &text[..text.find("</script>").unwrap()];
    assert_eq!(text, json(&document));
    let read: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(page.matches("</script>").count(), 3, "the document and two scripts");
    let lists = read["configurations"].as_array().unwrap().len();
    assert_eq!(read["leaderboard"]["rows"].as_array().unwrap().len(), lists);
    for table in ["leaderboard", "runs"] {
        let columns = read[table]["columns"].as_array().unwrap().len();
        let rows = read[table]["rows"].as_array().unwrap().iter();
        assert!(rows.clone().all(|row| row.as_array().unwrap().len() == columns));
    }
    for plot in plots(&inputs) {
        assert!(!plot.svg.contains("NaN") && !plot.svg.contains("inf"), "{}", plot.svg);
        assert!(plot.svg.starts_with("<svg role=") && plot.svg.ends_with("</svg>\n"));
    }
    (read, page)
}

/// The text of the page that readers without scripts get.
fn static_part(page: &str) -> &str {
    &page[page.find("<body").unwrap()..page.find("<script type=").unwrap()]
}

#[test]
fn a_small_sweep() {
    let bundle = small();
    let (read, page) = page(&bundle, &facts(&bundle));
    insta::assert_snapshot!("document", serde_json::to_string_pretty(&read).unwrap());
    insta::assert_snapshot!("static_part", static_part(&page));
}

/// A table whose one axis has these values, each with these accuracies by seed.
fn table(rows: &[(&str, &[Option<f64>])]) -> SweepTable {
    let runs = rows.iter().flat_map(|(name, accuracies)| {
        (0..).zip(*accuracies).map(|(seed, accuracy)| (*name, seed, *accuracy))
    });
    sample::table(&runs.collect::<Vec<_>>())
}

#[test]
fn odd_sweeps_have_a_page_without_a_number_that_is_none() {
    let none: &[Option<f64>] = &[None, None];
    let odd = [
        table(&[]),
        table(&[("one", &[Some(0.5)])]),
        table(&[("dead", none), ("gone", none)]),
        table(&[("same", &[Some(0.5); 3]), ("tied", &[Some(0.5); 3])]),
        table(&[("some", &[Some(0.5), None]), ("none", none)]),
        table(&[("", &[Some(0.5)]), ("\u{0}\u{1b}\u{ffff}", &[Some(0.25)])]),
        SweepTable::new(vec![], sample::metric(), vec![sample::planned("base", 0)]),
    ];
    for table in odd {
        for metric in [MetricName::ValAccuracy, MetricName::EpochsToTarget, MetricName::WaitShare] {
            let metric =
                Metric { name: metric, goal: metric.natural_goal(), target: Some(f64::NAN) };
            let table = SweepTable::from_rows(table.axes().to_vec(), metric, table.rows().to_vec());
            let bundle = Bundle::new(table, Vec::new(), |_| history(f64::NAN, 1, 1));
            let (_, page) = page(&bundle, &Facts::default());
            let text = static_part(&page);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}

#[test]
fn a_target_is_said_to_be_of_the_metric_that_reaches_it() {
    for (name, target, of) in [
        (MetricName::ValAccuracy, Some(0.9), Some("val_accuracy")),
        (MetricName::ValLoss, Some(0.3), Some("val_loss")),
        (MetricName::EpochsToTarget, Some(0.9), Some("val_accuracy")),
        (MetricName::TestLoss, Some(0.9), Some("val_accuracy")),
        (MetricName::ValLoss, None, None),
        (MetricName::ValLoss, Some(f64::NAN), None),
    ] {
        let metric = Metric { name, goal: name.natural_goal(), target };
        let table = small().table;
        let table = SweepTable::from_rows(table.axes().to_vec(), metric, table.rows().to_vec());
        let bundle = Bundle::new(table, Vec::new(), |_| RunHistory::default());
        let said = Document::of(&bundle.inputs(), &Facts::default()).metric;
        assert_eq!(said.target_of, of, "{name:?} {target:?}");
    }
}

/// What strangers may write into names, reasons, logs and comments.
const HOSTILE: [&str; 8] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "<!--<script>",
    "]]></title></svg><script>alert(1)</script>",
    "{{ document }}{% include 'x' %}",
    "שלום \u{202e}عالم 活性化 🙂",
    "&lt;b&gt; '\\u003c' \u{2028} \u{0}",
];

#[test]
fn hostile_texts_stay_texts() {
    for text in HOSTILE {
        let planned = PlannedRun {
            run_id: RunId::of(text.as_bytes()),
            configuration: text.to_owned(),
            axes: vec![AxisValue { label: text.to_owned(), number: None }],
            seed: 0,
        };
        let failed = sample::failed(text);
        let fine = PlannedRun { run_id: RunId::of(b"fine"), seed: 1, ..planned.clone() };
        let rows = vec![
            RunRow::new(planned, RunState::Ended(&failed), &sample::metric()),
            RunRow::new(fine, RunState::Ended(&sample::result(&[0.5])), &sample::metric()),
        ];
        let table = SweepTable::from_rows(vec![text.to_owned()], sample::metric(), rows);
        let mut claims = sample::claims::judged();
        claims.iter_mut().for_each(|claim| claim.claim.text = text.to_owned());
        let bundle = Bundle::new(table, claims, |_| history(0.5, 2, 2));
        let mut facts = facts(&bundle);
        let sweep = &mut facts.sweep;
        (sweep.description, sweep.header) = (text.to_owned(), text.to_owned());
        facts.provenance.sweep_file = text.to_owned();
        facts.logs.values_mut().for_each(|log| *log = text.to_owned());
        let (read, page) = page(&bundle, &facts);
        assert_eq!(read["configurations"][0]["name"], text);
        assert_eq!(read["failures"][0]["log"], text);
        let shown = static_part(&page);
        assert!(!shown.contains("<script") && !shown.contains("<img"), "{shown}");
        assert!(!shown.contains("\" onmouseover=\""), "{shown}");
        for plot in plots(&bundle.inputs()) {
            assert!(!plot.svg.contains("<script") && !plot.svg.contains("<img"), "{}", plot.svg);
            assert_eq!(plot.svg.matches("</svg>").count(), 1);
        }
    }
}

/// 250 configurations with four seeds.
fn large() -> Bundle {
    let axes = ["activation", "lr", "schedule"].map(str::to_owned).to_vec();
    let run = |configuration: usize, seed: u64| {
        let labels = [configuration / 50, configuration / 10 % 5, configuration % 10];
        let [activation, lr, schedule] = labels;
        let value = |n: usize| AxisValue { label: format!("value_{n}"), number: None };
        PlannedRun {
            run_id: RunId::of(format!("{configuration} {seed}").as_bytes()),
            configuration: format!("activation={activation}, lr=0.{lr}, schedule=step({schedule})"),
            axes: labels.map(value).to_vec(),
            seed,
        }
    };
    let rows = (0..4).flat_map(|seed| (0..250).map(move |configuration| (configuration, seed)));
    let row = |(configuration, seed): (usize, u64)| {
        let accuracy = ((configuration * 7919 + seed as usize * 104_729) % 1009) as f64 / 1009.0;
        let result = sample::result(&[accuracy]);
        RunRow::new(run(configuration, seed), RunState::Ended(&result), &sample::metric())
    };
    let table = SweepTable::from_rows(axes, sample::metric(), rows.map(row).collect());
    Bundle::new(table, sample::claims::judged(), |row| {
        history(row.metrics.val_accuracy.unwrap_or_default(), 20, 5)
    })
}

#[test]
#[expect(clippy::print_stderr, reason = "the figures are what the test is run for")]
fn a_thousand_runs_of_twenty_epochs_and_five_layers_fit_into_a_mail() {
    let bundle = large();
    let begun = Instant::now();
    let (read, page) = page(&bundle, &facts(&bundle));
    eprintln!("{} bytes in {:.2} s", page.len(), begun.elapsed().as_secs_f64());
    assert!(page.len() < 10_000_000, "{}", page.len());
    assert_eq!(read["runs"]["rows"].as_array().unwrap().len(), 1000);
    assert_eq!(read["curves_left_out"], 210);
    assert_eq!(read["curves"][0]["series"].as_array().unwrap().len(), 40);
    assert_eq!(read["layers"][0]["maps"].as_array().unwrap().len(), 40);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_numbers_and_names_make_a_page(
        runs in prop::collection::vec((any::<String>(), any::<f64>(), any::<f64>()), 0..6),
    ) {
        let rows = runs.iter().enumerate().map(|(seed, (name, accuracy, loss))| {
            let mut result = sample::result(&[*accuracy, 0.5]);
            result.test_loss = Some(*loss);
            result.epochs[1].val_loss = *loss;
            let run = sample::planned(name, seed as u64);
            RunRow::new(run, RunState::Ended(&result), &sample::metric())
        });
        let table = SweepTable::from_rows(vec!["activation".into()], sample::metric(), rows.collect());
        let course = |row: &RunRow| {
            let (_, accuracy, loss) = &runs[row.run.seed as usize];
            let mut result = sample::result(&[*accuracy, 0.5]);
            result.epochs[1].val_loss = *loss;
            RunHistory::of_result(result)
        };
        page(&Bundle::new(table, Vec::new(), course), &Facts::default());
    }
}
