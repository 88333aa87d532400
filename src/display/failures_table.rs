//! What went wrong in a sweep, in a few lines: every reason once, with how many runs it befell and the
//! first of them.

use std::collections::BTreeMap;

use super::leaderboard_table::{TableStyle, ellipsis, printable};
use crate::aggregate::SweepTable;
use crate::aggregate::row::{PlannedRun, RowStatus, RunRow};
use crate::units::counted;

/// Reasons that are shown.
const HEAD: usize = 8;

/// The reasons for which runs of `table` failed or diverged, the most frequent first; nothing where all
/// is well.
pub fn failures_table(table: &SweepTable, style: &TableStyle) -> String {
    let mut reasons: BTreeMap<(RowStatus, String), Vec<&RunRow>> = BTreeMap::new();
    for row in table.rows() {
        if matches!(row.status, RowStatus::Failed | RowStatus::Diverged) {
            let reason = row.reason.as_deref().unwrap_or("without a reason");
            // What befell each run in its own folder is one reason.
            let reason = reason.replace(&row.run.run_id.to_string(), "<run_id>");
            reasons.entry((row.status, reason)).or_default().push(row);
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    // The sort is stable: reasons that are as frequent keep their order.
    reasons.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    let mut text = String::new();
    for ((status, reason), rows) in reasons.iter().take(HEAD) {
        let runs = counted(rows.len(), "run");
        let PlannedRun { configuration, seed, run_id, .. } = &rows[0].run;
        let such_as = if rows.len() == 1 { "" } else { "such as " };
        let name = printable(configuration);
        let reason = printable(reason);
        text += &format!("{runs} {}: {reason}\n", status.as_str());
        text += &format!("  {such_as}{name} seed {seed}, run {run_id}\n");
    }
    if reasons.len() > HEAD {
        let more = counted(reasons.len() - HEAD, "more reason");
        text += &format!("{} and {more}\n", ellipsis(style.symbols));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::row::RunState;
    use crate::aggregate::sample;
    use crate::display::leaderboard_table::{Colour, Symbols};
    use crate::record::{RunResult, RunStatus};

    const STYLE: TableStyle =
        TableStyle { width: 80, symbols: Symbols::Unicode, colour: Colour::Off };

    fn table(ends: &[(&str, u64, RunStatus, &str)]) -> SweepTable {
        let rows = ends.iter().map(|(name, seed, status, reason)| {
            let result = RunResult { status: *status, ..sample::failed(reason) };
            let run = sample::planned(name, *seed);
            RunRow::new(run, RunState::Ended(&result), &sample::metric())
        });
        SweepTable::from_rows(vec![], sample::metric(), rows.collect())
    }

    #[test]
    fn every_reason_stands_once_with_a_run_to_look_at() {
        let timeout = "timed_out: took longer than the timeout of 2h";
        let table = table(&[
            ("lr=10", 0, RunStatus::Diverged, "loss is nan at step 3"),
            ("lr=0.1", 0, RunStatus::Failed, timeout),
            ("lr=0.1", 1, RunStatus::Failed, timeout),
        ]);
        insta::assert_snapshot!(failures_table(&table, &STYLE));
    }

    #[test]
    fn what_befell_each_run_in_its_own_folder_is_one_reason() {
        let ids = [0, 1].map(|seed| sample::planned("a", seed).run_id);
        let reasons = ids.map(|id| format!("record_failed: cannot write runs/lr/{id}/run.json"));
        let table = table(&[
            ("a", 0, RunStatus::Failed, &reasons[0]),
            ("a", 1, RunStatus::Failed, &reasons[1]),
        ]);
        let text = failures_table(&table, &STYLE);
        let expected = "2 runs failed: record_failed: cannot write runs/lr/<run_id>/run.json\n";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn a_sweep_without_failures_says_nothing_and_one_with_many_is_cut_short() {
        assert_eq!(failures_table(&table(&[]), &STYLE), "");
        let names: Vec<String> = (0..20).map(|n| format!("loss is nan at step {n}")).collect();
        let ends: Vec<_> = names
            .iter()
            .zip(0..)
            .map(|(why, seed)| ("a", seed, RunStatus::Diverged, why.as_str()))
            .collect();
        let text = failures_table(&table(&ends), &STYLE);
        assert_eq!(text.lines().count(), 2 * HEAD + 1);
        assert!(text.ends_with("… and 12 more reasons\n"), "{text}");
    }
}
