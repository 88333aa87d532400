//! `throughput.csv`, `scaling.csv` and `scaling_fit.csv`, by the contract of [`csv`](super::csv).

use std::io;

use super::csv::{CsvRows, in_memory};
use crate::aggregate::link::MOST_RANKS;
use crate::aggregate::scaling::{Baseline, ScalingRow, ScalingTable, Scope, shares_cores};
use crate::aggregate::timings::{Found, Timing};

/// Columns of `throughput.csv` after the names; `docs/reference/csv.md` says what each means.
const THROUGHPUT: [&str; 31] = [
    "n",
    "reason",
    "device_name",
    "ranks",
    "cores",
    "threads",
    "step_images",
    "warm_up_steps",
    "timed_steps",
    "images_per_s_mean",
    "images_per_s_std",
    "step_s",
    "step_s_p10",
    "step_s_p90",
    "data_s",
    "data_s_p10",
    "data_s_p90",
    "forward_s",
    "forward_s_p10",
    "forward_s_p90",
    "backward_s",
    "backward_s_p10",
    "backward_s_p90",
    "update_s",
    "update_s_p10",
    "update_s_p90",
    "speed_up",
    "rate_to_smallest_batch",
    "rate_to_largest_batch",
    "peak_memory_bytes",
    "device_memory_bytes",
];
const MEMORY: [&str; 2] = ["bytes_per_image", "bytes_per_more_image"];

const SCALING: [&str; 16] = [
    "scaling",
    "forecast_from",
    "ranks",
    "step_images",
    "n",
    "cores",
    "ranks_share_cores",
    "images_per_s",
    "speed_up",
    "efficiency",
    "step_s",
    "step_compute_s",
    "step_communication_s",
    "step_wait_s",
    "gradient_bytes",
    "fitted_communication_s",
];

const FIT: [&str; 15] = [
    "scaling",
    "fitted_to",
    "points",
    "sizes",
    "rank_counts",
    "latency_s",
    "bandwidth_bytes_per_s",
    "r_squared",
    "rmse_s",
    "one_device_step_s",
    "gradient_bytes",
    "ranks_below_half",
    "best_ranks",
    "best_speed_up",
    "looked_up_to_ranks",
];

/// `throughput.csv`: a row for every configuration whose steps are timed, in the order of the plan.
pub fn throughput_csv(axes: &[String], timings: &[Timing]) -> Vec<u8> {
    in_memory(|csv| {
        csv.texts(["configuration"])?;
        csv.texts(axes)?;
        csv.texts(THROUGHPUT)?;
        csv.texts(MEMORY)?;
        csv.end_row()?;
        timings.iter().try_for_each(|timing| timing_row(csv, axes.len(), timing))
    })
}

fn timing_row(csv: &mut CsvRows<Vec<u8>>, axes: usize, timing: &Timing) -> io::Result<()> {
    csv.text(&timing.configuration)?;
    csv.axes(axes, &timing.axes)?;
    csv.integer(Some(timing.n as u64))?;
    csv.text(timing.reason.as_deref().unwrap_or_default())?;
    let found = timing.found.as_ref();
    let steps = found.map(|found| &found.steps);
    csv.text(steps.map_or("", |steps| &steps.device))?;
    let integers = steps.map(|s| [s.devices, s.cores, s.threads, s.batch_size, s.warm_up, s.steps]);
    for place in 0..6 {
        csv.integer(integers.map(|integers| integers[place].into()))?;
    }
    csv.number(found.and_then(|found| found.images_per_s.mean))?;
    csv.number(found.and_then(|found| found.images_per_s.std))?;
    let spreads = steps.map(|s| [s.step_s, s.data_s, s.forward_s, s.backward_s, s.update_s]);
    for place in 0..5 {
        let spread = spreads.map(|spreads| spreads[place]);
        csv.number(spread.map(|spread| spread.median))?;
        csv.number(spread.map(|spread| spread.p10))?;
        csv.number(spread.map(|spread| spread.p90))?;
    }
    let number = |of: fn(&Found) -> Option<f64>| found.and_then(of);
    csv.number(number(|found| found.speed_up.mean))?;
    csv.number(number(|found| found.rate_to_smallest_batch))?;
    csv.number(number(|found| found.rate_to_largest_batch))?;
    csv.integer(found.and_then(|found| found.peak_memory_bytes))?;
    csv.integer(steps.and_then(|steps| steps.device_memory_bytes))?;
    csv.number(number(Found::bytes_per_image))?;
    csv.number(number(|found| found.bytes_per_more_image))?;
    csv.end_row()
}

/// `scaling.csv`: what was measured, then what is forecast.
pub fn scaling_csv(axes: &[String], table: &ScalingTable) -> Vec<u8> {
    in_memory(|csv| {
        csv.texts(["configuration"])?;
        csv.texts(axes)?;
        csv.texts(SCALING)?;
        csv.end_row()?;
        table.rows.iter().try_for_each(|row| scaling_row(csv, axes.len(), row))
    })
}

fn scaling_row(csv: &mut CsvRows<Vec<u8>>, axes: usize, row: &ScalingRow) -> io::Result<()> {
    let steps = row.found.as_ref().map(|found| &found.steps);
    let exchange = steps.and_then(|steps| steps.exchange.as_ref());
    csv.text(&row.configuration)?;
    csv.axes(axes, &row.axes)?;
    csv.text(row.scaling.map_or("one device", |scaling| scaling.as_str()))?;
    csv.text(row.forecast.map_or("", Scope::as_str))?;
    csv.integer(Some(row.ranks.into()))?;
    csv.integer(Some(row.step_images.into()))?;
    csv.integer(Some(row.n as u64))?;
    csv.integer(steps.map(|steps| steps.cores.into()))?;
    csv.text(steps.map_or("", |steps| if shares_cores(steps) { "yes" } else { "no" }))?;
    csv.number(Some(row.images_per_s))?;
    csv.number(Some(row.speed_up))?;
    csv.number(Some(row.efficiency()))?;
    csv.number(Some(row.step_s))?;
    csv.number(exchange.map(|exchange| exchange.compute_s.median))?;
    csv.number(exchange.map(|exchange| exchange.communication_s.median))?;
    csv.number(exchange.map(|exchange| exchange.wait_s.median))?;
    csv.integer(exchange.map(|exchange| exchange.bytes))?;
    csv.number(row.fitted_communication_s)?;
    csv.end_row()
}

/// `scaling_fit.csv`: a row for every configuration of one device, what is scaled and each fit.
pub fn scaling_fit_csv(axes: &[String], table: &ScalingTable) -> Vec<u8> {
    in_memory(|csv| {
        csv.texts(["configuration"])?;
        csv.texts(axes)?;
        csv.texts(FIT)?;
        csv.end_row()?;
        table.baselines.iter().try_for_each(|baseline| fit_row(csv, axes.len(), baseline))
    })
}

fn fit_row(csv: &mut CsvRows<Vec<u8>>, axes: usize, baseline: &Baseline) -> io::Result<()> {
    let Baseline { fit, outlook, .. } = baseline;
    csv.text(&baseline.configuration)?;
    csv.axes(axes, &baseline.axes)?;
    csv.text(outlook.scaling.as_str())?;
    csv.text(fit.scope.as_str())?;
    csv.integer(Some(fit.link.points as u64))?;
    csv.integer(Some(fit.sizes as u64))?;
    csv.integer(Some(fit.rank_counts as u64))?;
    csv.number(Some(fit.link.latency_s))?;
    csv.number(fit.link.bandwidth())?;
    csv.number(fit.link.r_squared)?;
    csv.number(fit.link.rmse_s)?;
    csv.number(Some(outlook.step_s))?;
    csv.number(Some(outlook.bytes))?;
    csv.integer(outlook.below_half().map(u64::from))?;
    let best = outlook.best();
    csv.integer(best.map(u64::from))?;
    csv.number(Some(outlook.speed_up(best.unwrap_or(MOST_RANKS))))?;
    csv.integer(Some(MOST_RANKS.into()))?;
    csv.end_row()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::timed_table;
    use crate::aggregate::timings::timings;
    use crate::spec::Key;

    fn tables() -> [String; 3] {
        let table = timed_table(&[
            ("cpu", 1, 64, 0, Some(128.0)),
            ("cpu", 2, 64, 0, Some(160.0)),
            ("cpu", 4, 64, 0, Some(160.0)),
            ("cpu", 2, 128, 0, Some(200.0)),
            ("cuda", 1, 64, 0, None),
        ]);
        let timings = timings(&table);
        let scaling = ScalingTable::of(&table, &timings);
        let axes = table.axes();
        let tables = [
            throughput_csv(axes, &timings),
            scaling_csv(axes, &scaling),
            scaling_fit_csv(axes, &scaling),
        ];
        tables.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn tables_of_a_small_sweep() {
        insta::assert_snapshot!(tables().join("\n"));
    }

    #[test]
    fn every_column_is_documented_and_none_is_called_like_a_key() {
        let reference = include_str!("../../docs/reference/csv.md");
        for column in THROUGHPUT.iter().chain(&MEMORY).chain(&SCALING).chain(&FIT) {
            assert!(reference.contains(&format!("`{column}`")), "{column}");
            assert!(!Key::NAMES.contains(column), "{column}");
        }
    }
}
