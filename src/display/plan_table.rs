//! What `gridlane plan` prints: a plan in, plain text out, as wide as its longest value.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::columns::{columns, one_line};
use crate::plan::memory::needs;
use crate::plan::{Basis, Counts, Forecast, Plan, RunState};
use crate::units::{counted, show_bytes, show_count, show_duration};

/// Configurations that are listed.
const MAX_CONFIGURATIONS: usize = 20;
/// Values of an axis that are listed.
const MAX_VALUES: usize = 8;
/// Reasons and warnings of one kind that are listed.
const MAX_LINES: usize = 10;

/// Renders `plan` with what executing it will come to.
pub fn plan_table(plan: &Plan, coming: &Forecast) -> String {
    let sections = [
        header(plan),
        axes(plan),
        configurations(plan),
        failures(plan),
        rules(plan),
        idle(plan),
        stale(plan),
        warnings(plan),
        memory(plan, coming.at_once),
        forecast(coming),
    ];
    let sections: Vec<String> = sections.into_iter().filter(|text| !text.is_empty()).collect();
    sections.join("\n")
}

fn header(plan: &Plan) -> String {
    let mut text = plan.name.to_string();
    if let Some(description) = &plan.description {
        let _ = write!(text, ": {description}");
    }
    let seeds: Vec<String> = plan.seeds.iter().take(MAX_VALUES).map(u64::to_string).collect();
    let more = if plan.seeds.len() > MAX_VALUES { ", …" } else { "" };
    let _ = writeln!(
        text,
        "\n{} = {} x {} ({}{more})",
        counted(plan.runs.len(), "run"),
        counted(plan.points.len(), "configuration"),
        counted(plan.seeds.len(), "seed"),
        seeds.join(", "),
    );
    let counts = &plan.counts;
    let states = [
        (counts.done, "done", ""),
        (counts.partial, "partial", " (will be resumed)"),
        (counts.failed, "failed", " (will be tried again)"),
        (counts.new, "new", ""),
    ];
    let mut states: Vec<String> = states
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, state, note)| format!("{} {state}{note}", number(*count)))
        .collect();
    let skipped = plan.skipped().into_iter();
    states.extend(skipped.map(|(reason, count)| format!("{} skipped: {reason}", number(count))));
    let _ = writeln!(text, "{}", states.join(", "));
    text
}

fn axes(plan: &Plan) -> String {
    if plan.axes.is_empty() {
        return String::new();
    }
    let mut rows = vec![["axis", "values (runs)"].map(str::to_owned).to_vec()];
    for axis in &plan.axes {
        let shown = axis.values.iter().take(MAX_VALUES);
        let mut values: Vec<String> = shown
            .map(|value| format!("{} ({})", value.setting.label(), number(value.runs)))
            .collect();
        if axis.values.len() > MAX_VALUES {
            values.push(format!("… and {} more", number(axis.values.len() - MAX_VALUES)));
        }
        rows.push(vec![axis.key.name().to_owned(), values.join(", ")]);
    }
    aligned(&rows)
}

fn configurations(plan: &Plan) -> String {
    let mut header = vec!["#".to_owned()];
    header.extend(plan.axes.iter().map(|axis| axis.key.name().to_owned()));
    header.push("runs".to_owned());
    let mut rows = vec![header];
    for index in 0..plan.points.len().min(MAX_CONFIGURATIONS) {
        let mut row = vec![(index + 1).to_string()];
        row.extend(plan.points.settings(index).map(|setting| setting.label()));
        row.push(states(&plan.counts_of(index)));
        rows.push(row);
    }
    let mut text = aligned(&rows);
    more(&mut text, plan.points.len(), MAX_CONFIGURATIONS, "configuration");
    text
}

fn states(counts: &Counts) -> String {
    let states = [
        (counts.done, "done"),
        (counts.partial, "partial"),
        (counts.failed, "failed"),
        (counts.new, "new"),
        (counts.skipped, "skipped"),
    ];
    let states: Vec<String> = states
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    states.join(" ")
}

fn failures(plan: &Plan) -> String {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for run in &plan.runs {
        if let RunState::Failed { reason } = &run.state {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let mut reasons: Vec<(&str, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    listed("failed", &reasons, "reason", |(reason, count)| vec![number(*count), one_line(reason)])
}

fn rules(plan: &Plan) -> String {
    let mut text = listed("excluded", &plan.excluded, "rule", |rule| {
        let place = match rule.line {
            0 => "command line".to_owned(),
            line => format!("line {line}"),
        };
        let effect = match (rule.dropped, rule.already_dropped) {
            (0, 0) => "nothing: no configuration matches it".to_owned(),
            (0, already) => format!(
                "nothing: an earlier rule drops {} that it matches",
                counted(already, "configuration")
            ),
            (dropped, _) => counted(dropped, "configuration"),
        };
        vec![place, effect]
    });
    if plan.included + plan.duplicates.len() > 0 {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "included\n  {}", counted(plan.included, "configuration"));
        for line in plan.duplicates.iter().take(MAX_LINES) {
            let _ = writeln!(text, "  line {line}: it is in the plan already");
        }
        more(&mut text, plan.duplicates.len(), MAX_LINES, "duplicate");
    }
    text
}

/// What the file says and no configuration is there for.
fn idle(plan: &Plan) -> String {
    listed("without effect", &plan.idle, "table", |idle| {
        let place = match idle.line {
            0 => "command line".to_owned(),
            line => format!("line {line}"),
        };
        vec![place, format!("[[{}]]", idle.table), one_line(&idle.reason)]
    })
}

fn stale(plan: &Plan) -> String {
    let title = format!(
        "stale: {} in the record {} not in this plan; nothing is deleted",
        counted(plan.stale_runs(), "run"),
        if plan.stale_runs() == 1 { "is" } else { "are" },
    );
    listed(&title, &plan.stale, "reason", |group| {
        vec![
            number(group.runs),
            format!("because {}", one_line(&group.reason.to_string())),
            format!("such as {}", group.example),
        ]
    })
}

fn warnings(plan: &Plan) -> String {
    listed("warnings", &plan.warnings, "warning", |warning| {
        vec![warning.run_id.to_string(), one_line(&warning.message)]
    })
}

/// What the runs need in memory, the largest need first.
fn memory(plan: &Plan, jobs: usize) -> String {
    let needs = needs(&plan.points).unwrap_or_default();
    let Some(largest) = needs.first().map(|need| need.memory.total()) else { return String::new() };
    let jobs = jobs.max(1) as u64;
    let together = match jobs {
        1 => String::new(),
        _ => format!(", {} for {jobs} at once", show_bytes(largest.saturating_mul(jobs))),
    };
    if needs.len() == 1 {
        return format!("memory: about {} a run{together}\n", show_bytes(largest));
    }
    let title = format!("memory: about {} for the largest run{together}", show_bytes(largest));
    listed(&title, &needs, "need", |need| {
        vec![
            counted(need.configurations, "configuration"),
            show_bytes(need.memory.total()),
            format!("such as {}", plan.points.name(need.example)),
        ]
    })
}

/// What executing it will come to on this machine, and from what that is concluded.
fn forecast(forecast: &Forecast) -> String {
    let Some(basis) = forecast.least_sure() else { return String::new() };
    let mut text = format!("slots: {}\n", forecast.slots);
    if forecast.groups < forecast.runs {
        let groups = counted(forecast.groups, "group");
        let runs = counted(forecast.runs, "run");
        let _ = writeln!(text, "lanes: {runs} in {groups}, each trained as one network");
    }
    let about = if forecast.is_measured() { "about" } else { "roughly" };
    let _ = writeln!(
        text,
        "forecast: {about} {} for {}, the longest {}; {}",
        show_duration(forecast.total),
        counted(forecast.runs, "run"),
        show_duration(forecast.longest),
        concluded_from(basis, forecast.finished),
    );
    let free = forecast.room.free.map(|free| format!(", {} are free", show_bytes(free)));
    let (needed, free) = (show_bytes(forecast.room.needed), free.unwrap_or_default());
    let _ = writeln!(text, "disk: about {needed} for what the runs leave{free}");
    text
}

fn concluded_from(basis: Basis, finished: usize) -> String {
    match basis {
        Basis::SameConfiguration => {
            format!("from {} of the same configurations", counted(finished, "finished run"))
        }
        Basis::ThisSweep => {
            format!(
                "from {} of this sweep and each run's arithmetic",
                counted(finished, "finished run")
            )
        }
        Basis::OtherSweeps => {
            "from the pace of other sweeps here and each run's arithmetic".to_owned()
        }
        Basis::Assumption => {
            "from each run's arithmetic alone: nothing comparable has run here yet".to_owned()
        }
    }
}

/// A title and a line for each of the first items; nothing without items.
fn listed<T>(title: &str, items: &[T], noun: &str, cells: impl Fn(&T) -> Vec<String>) -> String {
    if items.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = items.iter().take(MAX_LINES).map(cells).collect();
    let mut text = format!("{title}\n");
    for line in aligned(&rows).lines() {
        let _ = writeln!(text, "  {line}");
    }
    more(&mut text, items.len(), MAX_LINES, noun);
    text
}

/// Says how many of `total` were not listed.
fn more(text: &mut String, total: usize, listed: usize, noun: &str) {
    if total > listed {
        let _ = writeln!(text, "… and {}", counted(total - listed, &format!("more {noun}")));
    }
}

/// Cells in columns; the first is flush right if it counts.
fn aligned(rows: &[Vec<String>]) -> String {
    let counts = rows.last().is_some_and(|row| is_number(&row[0]));
    columns(rows, |column| column == 0 && counts)
}

fn is_number(cell: &str) -> bool {
    cell.chars().all(|c| c.is_ascii_digit() || c == ',')
}

fn number(count: usize) -> String {
    show_count(count as u128)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::DiskRoom;
    use crate::plan::sample::{exclude, finish, grid, include, planned, result, start_all};
    use crate::record::{RunStatus, SweepFolder};

    fn coming(cores: usize, basis: Option<Basis>) -> Forecast {
        Forecast {
            slots: format!("{cores} cores"),
            at_once: cores,
            runs: 12,
            groups: 12,
            total: Duration::from_secs(4000),
            longest: Duration::from_secs(70),
            bases: basis.into_iter().map(|basis| (basis, 12)).collect(),
            finished: 5,
            expected_s: BTreeMap::new(),
            room: DiskRoom { needed: 1 << 30, free: Some(50 << 30) },
        }
    }

    #[test]
    fn a_fresh_plan() {
        let mut spec = grid(&["schedule=\"constant\" \"cosine\"", "lr=0.1 0.01"]);
        spec.description = Some("Which schedule pays?".to_owned());
        insta::assert_snapshot!(plan_table(
            &planned(&spec, None),
            &coming(2, Some(Basis::OtherSweeps))
        ));
    }

    #[test]
    fn a_plan_that_varies_nothing() {
        insta::assert_snapshot!(plan_table(
            &planned(&grid(&[]), None),
            &coming(1, Some(Basis::Assumption))
        ));
    }

    #[test]
    fn a_large_plan_is_cut_short() {
        let values: Vec<String> = (1..=250).map(|n| n.to_string()).collect();
        let spec = grid(&[&format!("epochs={}", values.join(" ")), "lr=0.1 0.01"]);
        insta::assert_snapshot!(plan_table(&planned(&spec, None), &coming(1, None)));
    }

    #[test]
    fn a_plan_after_many_events() {
        let runs = tempfile::tempdir().unwrap();
        let mut spec = grid(&[
            "schedule=\"constant\" {\"kind\":\"step\",\"gamma\":0.5} \"cosine\"",
            "batch_norm=true false",
            "lr=0.05 0.1",
        ]);
        spec.seeds = vec![0, 1, 2];
        let folder = SweepFolder::new(runs.path(), &spec.name);
        start_all(&spec, &folder);

        spec.grid[2] = grid(&["lr=0.1 1"]).grid.remove(0);
        spec.excludes = vec![
            exclude(20, &["schedule=\"cosine\"", "lr=1"]),
            exclude(24, &["schedule=\"cosine\"", "lr=1", "batch_norm=true"]),
            exclude(28, &["activation=\"tanh\""]),
        ];
        spec.includes = vec![include(31, &["activation=\"tanh\""]), include(35, &["lr=0.1"])];
        let plan = planned(&spec, None);
        for (n, run) in plan.runs.iter().enumerate().take(9) {
            let status = match n % 4 {
                1 => RunStatus::Diverged,
                3 => RunStatus::Failed,
                _ => RunStatus::Finished,
            };
            finish(&folder, &result(run.id, status, 60.0 + n as f64));
        }
        let torn = folder.run(plan.runs[10].id);
        std::fs::create_dir_all(torn.path()).unwrap();
        std::fs::write(torn.result(), "{").unwrap();
        insta::assert_snapshot!(plan_table(
            &planned(&spec, Some(&folder)),
            &coming(2, Some(Basis::ThisSweep))
        ));
    }
}
