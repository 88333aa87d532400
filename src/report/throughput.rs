//! `throughput.csv`, `scaling.csv` and `scaling_fit.csv`, by the contract of [`csv`](super::csv).

use super::table::{Definition, Table};
use crate::aggregate::link::MOST_RANKS;
use crate::aggregate::scaling::{Baseline, ScalingRow, ScalingTable, Scope, shares_cores};
use crate::aggregate::timings::{Found, Timing};

/// Median, 10 % and 90 % of some seconds of a step.
macro_rules! spread {
    ($definition:expr, $field:ident) => {
        $definition
            .number(stringify!($field), |timing: &Timing| {
                known(timing, |found| Some(found.steps.$field.median))
            })
            .number(concat!(stringify!($field), "_p10"), |timing| {
                known(timing, |found| Some(found.steps.$field.p10))
            })
            .number(concat!(stringify!($field), "_p90"), |timing| {
                known(timing, |found| Some(found.steps.$field.p90))
            })
    };
}

fn known<T>(timing: &Timing, of: impl Fn(&Found) -> Option<T>) -> Option<T> {
    timing.found.as_ref().and_then(of)
}

/// Columns of `throughput.csv`; `docs/reference/csv.md` says what each means.
fn throughput<'a>(axes: &[String]) -> Definition<'a, Timing> {
    let definition = Definition::new()
        .text("configuration", |timing: &Timing| &timing.configuration)
        .axes(axes, |timing| &timing.axes)
        .count("n", |timing| timing.n)
        .text("reason", |timing| timing.reason.as_deref().unwrap_or_default())
        .text("device_name", |timing| {
            timing.found.as_ref().map_or("", |found| found.steps.device.as_str())
        })
        .integer("ranks", |timing| known(timing, |found| Some(found.steps.devices.into())))
        .integer("cores", |timing| known(timing, |found| Some(found.steps.cores.into())))
        .integer("threads", |timing| known(timing, |found| Some(found.steps.threads.into())))
        .integer("step_images", |timing| known(timing, |found| Some(found.steps.batch_size.into())))
        .integer("warm_up_steps", |timing| known(timing, |found| Some(found.steps.warm_up.into())))
        .integer("timed_steps", |timing| known(timing, |found| Some(found.steps.steps.into())))
        .number("images_per_s_mean", |timing| known(timing, |found| found.images_per_s.mean))
        .number("images_per_s_std", |timing| known(timing, |found| found.images_per_s.std));
    let definition = spread!(definition, step_s);
    let definition = spread!(definition, data_s);
    let definition = spread!(definition, forward_s);
    let definition = spread!(definition, backward_s);
    let definition = spread!(definition, update_s);
    definition
        .number("speed_up", |timing| known(timing, |found| found.speed_up.mean))
        .number("rate_to_smallest_batch", |timing| {
            known(timing, |found| found.rate_to_smallest_batch)
        })
        .number("rate_to_largest_batch", |timing| {
            known(timing, |found| found.rate_to_largest_batch)
        })
        .integer("peak_memory_bytes", |timing| known(timing, |found| found.peak_memory_bytes))
        .integer("device_memory_bytes", |timing| known(timing, |found| found.device_memory_bytes))
        .number("bytes_per_image", |timing| known(timing, Found::bytes_per_image))
        .number("bytes_per_more_image", |timing| known(timing, |found| found.bytes_per_more_image))
}

/// What steps took: a row for every configuration whose steps are timed, in the order of the plan.
pub fn throughput_table<'a>(axes: &[String], timings: &'a [Timing]) -> Table<'a> {
    throughput(axes).table(timings)
}

/// `throughput.csv`.
pub fn throughput_csv(axes: &[String], timings: &[Timing]) -> Vec<u8> {
    throughput(axes).csv(timings)
}

/// Columns of `scaling.csv`.
fn scaling<'a>(axes: &[String]) -> Definition<'a, ScalingRow> {
    let steps = |row: &'a ScalingRow| row.found.as_ref().map(|found| &found.steps);
    let exchange = move |row| steps(row).and_then(|steps| steps.exchange.as_ref());
    Definition::new()
        .text("configuration", |row: &ScalingRow| &row.configuration)
        .axes(axes, |row| &row.axes)
        .text("scaling", |row| row.scaling.map_or("one device", |scaling| scaling.as_str()))
        .text("forecast_from", |row| row.forecast.map_or("", Scope::as_str))
        .integer("ranks", |row| Some(row.ranks.into()))
        .integer("step_images", |row| Some(row.step_images.into()))
        .count("n", |row| row.n)
        .integer("cores", move |row| steps(row).map(|steps| steps.cores.into()))
        .yes_no("ranks_share_cores", move |row| steps(row).map(shares_cores))
        .number("images_per_s", |row| Some(row.images_per_s))
        .number("speed_up", |row| Some(row.speed_up))
        .number("efficiency", |row| Some(row.efficiency()))
        .number("step_s", |row| Some(row.step_s))
        .number("step_compute_s", |row| row.parts().map(|[compute, _, _]| compute))
        .number("step_communication_s", |row| {
            row.parts().map(|[_, communication, _]| communication)
        })
        .number("step_wait_s", |row| row.parts().map(|[_, _, wait]| wait))
        .integer("gradient_bytes", move |row| exchange(row).map(|sums| sums.bytes))
        .number("fitted_communication_s", |row| row.fitted_communication_s)
}

/// How training scales: what was measured, then what is forecast.
pub fn scaling_table<'a>(axes: &[String], table: &'a ScalingTable) -> Table<'a> {
    scaling(axes).table(&table.rows)
}

/// `scaling.csv`.
pub fn scaling_csv(axes: &[String], table: &ScalingTable) -> Vec<u8> {
    scaling(axes).csv(&table.rows)
}

/// Columns of `scaling_fit.csv`.
fn scaling_fit<'a>(axes: &[String]) -> Definition<'a, Baseline> {
    Definition::new()
        .text("configuration", |baseline: &Baseline| &baseline.configuration)
        .axes(axes, |baseline| &baseline.axes)
        .text("scaling", |baseline| baseline.outlook.scaling.as_str())
        .text("fitted_to", |baseline| baseline.fit.scope.as_str())
        .integer("points", |baseline| Some(baseline.fit.link.points as u64))
        .count("sizes", |baseline| baseline.fit.sizes)
        .count("rank_counts", |baseline| baseline.fit.rank_counts)
        .number("latency_s", |baseline| Some(baseline.fit.link.latency_s))
        .number("bandwidth_bytes_per_s", |baseline| baseline.fit.link.bandwidth())
        .number("r_squared", |baseline| baseline.fit.link.r_squared)
        .number("rmse_s", |baseline| baseline.fit.link.rmse_s)
        .number("one_device_step_s", |baseline| Some(baseline.outlook.step_s))
        .number("gradient_bytes", |baseline| Some(baseline.outlook.bytes))
        .integer("ranks_below_half", |baseline| baseline.outlook.below_half().map(u64::from))
        .integer("best_ranks", |baseline| baseline.outlook.best().map(u64::from))
        .number("best_speed_up", |baseline| {
            let best = baseline.outlook.best().unwrap_or(MOST_RANKS);
            Some(baseline.outlook.speed_up(best))
        })
        .integer("looked_up_to_ranks", |_| Some(MOST_RANKS.into()))
}

/// What each fit forecasts: a row for every configuration of one device, what is scaled and each fit.
pub fn scaling_fit_table<'a>(axes: &[String], table: &'a ScalingTable) -> Table<'a> {
    scaling_fit(axes).table(&table.baselines)
}

/// `scaling_fit.csv`.
pub fn scaling_fit_csv(axes: &[String], table: &ScalingTable) -> Vec<u8> {
    scaling_fit(axes).csv(&table.baselines)
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
        let columns = [
            throughput(&[]).keys().map(str::to_owned).collect::<Vec<_>>(),
            scaling(&[]).keys().map(str::to_owned).collect(),
            scaling_fit(&[]).keys().map(str::to_owned).collect(),
        ];
        for column in columns.iter().flatten() {
            assert!(reference.contains(&format!("`{column}`")), "{column}");
            assert!(!Key::NAMES.contains(&column.as_str()), "{column}");
        }
    }
}
