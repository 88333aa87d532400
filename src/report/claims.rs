//! `claims.csv`: a row for every claim of the sweep, by the contract of [`csv`](super::csv).

use super::table::{Definition, Table};
use crate::aggregate::claims::{ClaimResult, TestName, Verdict};

/// The columns; `docs/reference/csv.md` says what each means.
fn definition<'a>() -> Definition<'a, ClaimResult> {
    Definition::new()
        .text("claim", |result: &ClaimResult| &result.claim.text)
        .text("comparison", |result| result.claim.comparison())
        .text("verdict", |result| result.verdict.as_str())
        .count("seeds", |result| result.n)
        .count("pairs", |result| result.pairs)
        .number("subject_mean", |result| result.subject_mean)
        .number("reference_mean", |result| result.reference_mean)
        .text("effect", |result| result.effect.kind.as_str())
        .number("effect_mean", |result| result.effect.mean)
        .number("effect_ci95_low", |result| result.effect.ci95.map(|ci95| ci95.low))
        .number("effect_ci95_high", |result| result.effect.ci95.map(|ci95| ci95.high))
        .text("test", |result| result.test.map_or("", TestName::as_str))
        .number("p_value", |result| result.p_value)
        .number("p_value_holm", |result| result.p_value_holm)
        .integer("more_seeds", |result| match result.verdict {
            Verdict::Undecided { more_seeds } => more_seeds.map(|more| more as u64),
            Verdict::Confirmed | Verdict::Refuted => None,
        })
        .integer("never_reached", |result| result.never_reached.map(|never| never.runs as u64))
}

/// The claims, in the order of the sweep file.
pub fn claims_table(results: &[ClaimResult]) -> Table<'_> {
    definition().table(results)
}

/// `claims.csv`, in the order of the sweep file.
pub fn claims_csv(results: &[ClaimResult]) -> Vec<u8> {
    definition().csv(results)
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
        for column in definition().keys() {
            assert!(section.contains(&format!("| `{column}` |")), "{column}");
        }
    }
}
