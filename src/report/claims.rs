//! `claims.csv`: a row for every claim of the sweep, by the contract of [`csv`](super::csv).

use std::io;

use super::csv::{CsvRows, in_memory};
use crate::aggregate::claims::{ClaimResult, TestName, Verdict};

/// The columns; `docs/reference/csv.md` says what each means.
const COLUMNS: [&str; 15] = [
    "claim",
    "comparison",
    "verdict",
    "seeds",
    "pairs",
    "subject_mean",
    "reference_mean",
    "effect",
    "effect_mean",
    "effect_ci95_low",
    "effect_ci95_high",
    "test",
    "p_value",
    "p_value_holm",
    "more_seeds",
];

/// `claims.csv`, in the order of the sweep file.
pub fn claims_csv(results: &[ClaimResult]) -> Vec<u8> {
    in_memory(|csv| {
        csv.texts(COLUMNS)?;
        csv.end_row()?;
        results.iter().try_for_each(|result| row(csv, result))
    })
}

fn row(csv: &mut CsvRows<Vec<u8>>, result: &ClaimResult) -> io::Result<()> {
    let effect = &result.effect;
    csv.text(&result.claim.text)?;
    csv.text(&result.claim.comparison())?;
    csv.text(result.verdict.as_str())?;
    csv.integer(Some(result.n as u64))?;
    csv.integer(Some(result.pairs as u64))?;
    csv.number(result.subject_mean)?;
    csv.number(result.reference_mean)?;
    csv.text(if effect.is_ratio { "ratio" } else { "difference" })?;
    csv.number(effect.mean)?;
    csv.number(effect.ci95.map(|ci95| ci95.low))?;
    csv.number(effect.ci95.map(|ci95| ci95.high))?;
    csv.text(result.test.map_or("", TestName::as_str))?;
    csv.number(result.p_value)?;
    csv.number(result.p_value_holm)?;
    csv.integer(match result.verdict {
        Verdict::Undecided { more_seeds } => more_seeds.map(|more| more as u64),
        Verdict::Confirmed | Verdict::Refuted => None,
    })?;
    csv.end_row()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::claims;

    #[test]
    fn claims() {
        let csv = String::from_utf8(claims_csv(&claims::judged())).unwrap();
        insta::assert_snapshot!("claims", csv);
    }

    #[test]
    fn every_column_is_documented() {
        let reference = include_str!("../../docs/reference/csv.md");
        let section = reference.split("\n## ").find(|s| s.starts_with("claims.csv")).unwrap();
        for column in COLUMNS {
            assert!(section.contains(&format!("| `{column}` |")), "{column}");
        }
    }
}
