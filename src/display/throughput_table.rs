//! What steps took and how training scales, as terminal text.
//!
//! In: [`Timing`]s and a [`ScalingTable`]. Out: a line a configuration, and a few about what more
//! devices would be worth; as wide as the longest value.

use super::claims_table::significant;
use super::columns::columns;
use crate::aggregate::link::{MOST_RANKS, Scaling};
use crate::aggregate::scaling::{Baseline, ScalingTable, Scope, shares_cores};
use crate::aggregate::timings::{Found, Timing};
use crate::display::leaderboard_table::printable;
use crate::units::show_bytes;

/// Configurations that are listed.
const MOST: usize = 24;

/// Renders what steps took; nothing without any.
pub fn throughput_table(timings: &[Timing]) -> String {
    if timings.iter().all(|timing| timing.found.is_none()) {
        return String::new();
    }
    let header = [
        "steps of",
        "images/s",
        "step",
        "data",
        "forward",
        "backward",
        "update",
        "speed-up",
        "of best batch",
        "memory",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(timings.iter().take(MOST).map(line));
    let mut text = format!("\n{}", columns(&rows, |column| column > 0));
    if timings.len() > MOST {
        text += &format!("... and {} more\n", timings.len() - MOST);
    }
    text
}

fn line(timing: &Timing) -> Vec<String> {
    let mut cells = vec![printable(&timing.configuration)];
    let Some(found) = &timing.found else {
        cells.push(timing.reason.as_deref().map_or_else(|| "-".to_owned(), printable));
        return cells;
    };
    let Found { steps, .. } = found;
    let dash = || "-".to_owned();
    cells.push(found.images_per_s.mean.map_or_else(dash, |rate| format!("{rate:.0}")));
    let spreads = [steps.step_s, steps.data_s, steps.forward_s, steps.backward_s, steps.update_s];
    cells.extend(spreads.iter().map(|spread| duration(spread.median)));
    cells.push(found.speed_up.mean.map_or_else(dash, |times| format!("{times:.2}")));
    let share = |share: f64| format!("{:.0} %", 100.0 * share);
    cells.push(found.rate_to_largest_batch.map_or_else(dash, share));
    cells.push(found.memory_bytes().map_or_else(dash, |bytes| show_bytes(bytes as u64)));
    cells
}

/// Seconds in the unit in which they are a few digits long, as in the report.
fn duration(seconds: f64) -> String {
    match seconds.abs() {
        0.0 => "0 s".to_owned(),
        size if size < 1e-3 => format!("{} us", significant(seconds * 1e6)),
        size if size < 1.0 => format!("{} ms", significant(seconds * 1e3)),
        _ => format!("{} s", significant(seconds)),
    }
}

/// Renders what more devices are worth; nothing where no run has several.
pub fn scaling_table(table: &ScalingTable) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let mut text = String::from("\nscaling\n");
    let header = ["", "ranks", "speed-up", "efficiency", "sums", "waiting", "sums by the fit", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let measured = table.rows.iter().filter(|row| row.forecast.is_none());
    for row in measured.take(MOST) {
        let steps = row.found.as_ref().map(|found| &found.steps);
        let exchange = steps.and_then(|steps| steps.exchange.as_ref());
        let shares = steps.is_some_and(shares_cores);
        let time = |seconds: Option<f64>| seconds.map_or_else(String::new, duration);
        rows.push(vec![
            format!(
                "{}, {}",
                row.scaling.map_or("one device", Scaling::as_str),
                printable(&row.configuration)
            ),
            row.ranks.to_string(),
            format!("{:.2}", row.speed_up),
            format!("{:.2}", row.efficiency()),
            time(exchange.map(|exchange| exchange.communication_s.median)),
            time(exchange.map(|exchange| exchange.wait_s.median)),
            time(row.fitted_communication_s),
            if shares { "ranks share cores".to_owned() } else { String::new() },
        ]);
    }
    text += &columns(&rows, |column| (1..7).contains(&column));
    let mut told: Vec<Scope> = Vec::new();
    for baseline in table.baselines.iter().take(MOST) {
        if !told.contains(&baseline.fit.scope) {
            told.push(baseline.fit.scope);
            text += &link(baseline);
        }
    }
    table.baselines.iter().take(MOST).for_each(|baseline| text += &outlook(baseline));
    text
}

/// The link, in a line.
fn link(baseline: &Baseline) -> String {
    let fit = &baseline.fit;
    let bandwidth = match fit.link.bandwidth() {
        Some(bandwidth) => format!("{}/s", show_bytes(bandwidth as u64)),
        None => "unlimited".to_owned(),
    };
    let explains = fit.link.r_squared.map_or_else(String::new, |r| format!(", R2 {r:.3}"));
    format!(
        "link, fitted to {} ({} sums, {} sizes, {} numbers of ranks): latency {:.1} us a message, \
         bandwidth {bandwidth}{explains}\n",
        fit.scope.as_str(),
        fit.link.points,
        fit.sizes,
        fit.rank_counts,
        fit.link.latency_s * 1e6,
    )
}

/// What follows for one configuration, in a line.
fn outlook(baseline: &Baseline) -> String {
    let Baseline { outlook, fit, .. } = baseline;
    let half = match outlook.below_half() {
        Some(ranks) => format!("below half from {ranks} ranks on"),
        None => format!("at least half up to {MOST_RANKS} ranks"),
    };
    let best = match outlook.best() {
        Some(1) => "more ranks are never faster".to_owned(),
        Some(ranks) => format!("fastest on {ranks}: {:.1} times", outlook.speed_up(ranks)),
        None => format!("still faster on {MOST_RANKS}: {:.1} times", outlook.speed_up(MOST_RANKS)),
    };
    format!(
        "{}, {}, by {}: efficiency {half}; {best}\n",
        outlook.scaling.as_str(),
        printable(&baseline.configuration),
        fit.scope.as_str(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::timed_table;
    use crate::aggregate::timings::timings;

    #[test]
    fn a_small_sweep() {
        let table = timed_table(&[
            ("cpu", 1, 64, 0, Some(128.0)),
            ("cpu", 2, 64, 0, Some(160.0)),
            ("cpu", 4, 64, 0, Some(160.0)),
            ("cpu", 2, 128, 0, Some(200.0)),
            ("cuda", 1, 64, 0, None),
        ]);
        let timings = timings(&table);
        let scaling = scaling_table(&ScalingTable::of(&table, &timings));
        insta::assert_snapshot!(throughput_table(&timings) + &scaling);
    }

    #[test]
    fn a_sweep_without_such_runs_has_no_such_table() {
        assert_eq!(throughput_table(&[]), "");
        assert_eq!(scaling_table(&ScalingTable::default()), "");
    }

    #[test]
    fn short_times_are_not_zero() {
        for (seconds, shown) in [
            (0.0, "0 s"),
            (4.2e-8, "0.0420 us"),
            (8.5e-6, "8.50 us"),
            (0.001_25, "1.25 ms"),
            (0.5, "500 ms"),
            (2.5, "2.50 s"),
            (75.0, "75.0 s"),
        ] {
            assert_eq!(duration(seconds), shown);
        }
    }
}
