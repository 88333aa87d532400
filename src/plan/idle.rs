//! `[[when]]`s and `[[claim]]`s that the expanded sweep has nothing for.
//!
//! The reader refuses a test that no value of a key passes. Whether values come together is known only
//! here: a `[[zip]]` moves them together, an `[[exclude]]` takes points away, an override or `--short`
//! leaves out what the file had. So it is told and not refused.

use std::collections::HashSet;

use super::points::{Column, Matrix, Points};
use super::rule::Rule;
use crate::spec::claim::Claim;
use crate::spec::condition::Condition;
use crate::spec::sweep::When;
use crate::spec::{Key, RunConfig};

/// A table of the sweep file that does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// How the table is written: `when` or `claim`.
    pub table: &'static str,
    /// Line of the table, from 1; 0 on the command line.
    pub line: usize,
    /// Why it does nothing, and what follows: lowercase, no full stop.
    pub reason: String,
}

impl Idle {
    /// The table's place, as texts name it.
    pub fn place(&self) -> String {
        match self.line {
            0 => format!("the `[[{}]]` of the command line", self.table),
            line => format!("the `[[{}]]` in line {line}", self.table),
        }
    }
}

/// Which conditions of `whens` hold somewhere in `matrix`. Rules that are applied later change nothing
/// that an earlier one tests, so it may be asked at any time after they have been applied.
pub(crate) fn met(
    whens: &[When],
    columns: &[Column],
    base: &RunConfig,
    matrix: &Matrix,
) -> Vec<bool> {
    let rules = whens.iter().map(|when| Rule::new(&when.condition, columns, base));
    rules.map(|rule| matrix.rows().any(|row| rule.holds(row))).collect()
}

/// The `[[when]]`s that no point has: `before` says which were met before `[[exclude]]`, `after` which
/// still are.
pub(crate) fn whens(whens: &[When], before: &[bool], after: &[bool]) -> Vec<Idle> {
    let met = before.iter().zip(after);
    let idle = whens.iter().zip(met).filter(|(_, (_, after))| !**after);
    idle.map(|(when, (before, _))| {
        let keys: Vec<String> = when.axes.iter().map(|axis| format!("`{}`", axis.key)).collect();
        let why = match before {
            true => "every configuration that meets its `if` is excluded",
            false => "no configuration meets its `if`",
        };
        Idle {
            table: "when",
            line: when.line,
            reason: format!("{why}: it varies {} nowhere", keys.join(", ")),
        }
    })
    .collect()
}

/// The `[[claim]]`s that no result of the sweep can decide.
pub(crate) fn claims(claims: &[Claim], points: &Points) -> Vec<Idle> {
    let idle = claims.iter().filter_map(|claim| {
        let why = undecidable(claim, points)?;
        let reason = format!("{why}: it stays undecided");
        Some(Idle { table: "claim", line: claim.line, reason })
    });
    idle.collect()
}

/// Why nothing can be compared. Compared are, as in `aggregate::claims`, configurations that agree in all
/// that varies but for what the claim tests.
fn undecidable(claim: &Claim, points: &Points) -> Option<String> {
    let nobody = |condition: &Condition| format!("no configuration is {}", condition.label());
    let picked = |condition: &Condition| {
        let rule = Rule::new(condition, &points.columns, &points.base);
        points.matrix.rows().filter(move |row| rule.holds(row))
    };
    let empty = claim.conditions().find(|condition| picked(condition).next().is_none());
    if let Some(condition) = empty {
        return Some(nobody(condition));
    }
    let reference = claim.reference.group()?;
    let tested =
        |key: Key| claim.conditions().flat_map(|c| &c.tests).any(|(other, _)| *other == key);
    let others = points.varied().iter().copied();
    let others: Vec<usize> = others.filter(|column| !tested(points.columns[*column].key)).collect();
    let rest = |row: &[u32]| others.iter().map(|column| row[*column]).collect::<Vec<u32>>();
    // Mostly a pair is found among the first points, of which there may be a million.
    let rules = [&claim.subject, reference]
        .map(|condition| Rule::new(condition, &points.columns, &points.base));
    let mut groups = [HashSet::new(), HashSet::new()];
    for row in points.matrix.rows() {
        let of_row = rules.iter().zip(&mut groups).filter(|(rule, _)| rule.holds(row));
        let of_row = of_row.map(|(_, group)| group.insert(rest(row))).count();
        if of_row > 0 && groups.iter().all(|group| group.contains(&rest(row))) {
            return None;
        }
    }
    Some(format!(
        "no configuration that is {} agrees in all else with one that is {}",
        claim.subject.label(),
        reference.label(),
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::plan::expand;
    use crate::spec::{SHORT, SweepSpec};

    const HEAD: &str = "schema = 1\nname = \"idle\"\n";

    /// What does nothing in the file of that body.
    fn idle(body: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let (spec, _) =
            SweepSpec::parse("idle.toml", &format!("{HEAD}{body}"), &overrides).unwrap();
        let idle = expand(&spec).unwrap().idle;
        let said = idle.iter().map(|idle| format!("{}: {}", idle.place(), idle.reason));
        said.collect::<Vec<_>>().join("\n")
    }

    fn claim(verb: &str, subject: &str, rest: &str) -> String {
        format!(
            "[[claim]]\ntext = \"a claim\"\n\
             compare = {{ metric = \"val_accuracy\", {verb} = {{ {subject} }}, {rest} }}\n"
        )
    }

    #[test]
    fn claims_about_points_that_are_not_there_are_told() {
        let smaller = claim("smaller", "lr = 0.05", "than = { lr = 0.2 }");
        let grid = "[grid]\nlr = [0.05, 0.2]\n";
        let exclude = "[[exclude]]\nlr = 0.05\n";
        assert_eq!(idle(&format!("{grid}{smaller}"), &[]), "");
        insta::assert_snapshot!(
            idle(&format!("{grid}{exclude}{smaller}"), &[]),
            @"the `[[claim]]` in line 7: no configuration is lr=0.05: it stays undecided"
        );
        insta::assert_snapshot!(
            idle(&format!("{grid}{smaller}"), &["lr=0.05,0.1"]),
            @"the `[[claim]]` in line 5: no configuration is lr=0.2: it stays undecided"
        );
        let number = claim("larger", "lr = 0.05", "than = 0.9");
        assert_eq!(
            idle(&format!("{grid}{number}"), &[]),
            "",
            "one group is enough beside a number"
        );
        insta::assert_snapshot!(
            idle(&format!("{grid}{exclude}{number}"), &[]),
            @"the `[[claim]]` in line 7: no configuration is lr=0.05: it stays undecided"
        );
        let included = format!("{grid}{exclude}[[include]]\nlr = 0.05\n{smaller}");
        assert_eq!(idle(&included, &[]), "", "an included point counts");
    }

    #[test]
    fn groups_that_agree_nowhere_are_told() {
        let zip = "[[zip]]\nlr = [0.05, 0.2]\nepochs = [1, 2]\n";
        let apart = claim("smaller", "lr = 0.05", "than = { lr = 0.2 }");
        insta::assert_snapshot!(
            idle(&format!("{zip}{apart}"), &[]),
            @"the `[[claim]]` in line 6: no configuration that is lr=0.05 agrees in all else with one that is lr=0.2: it stays undecided"
        );
        let both = claim("smaller", "lr = 0.05, epochs = 1", "than = { lr = 0.2 }");
        assert_eq!(idle(&format!("{zip}{both}"), &[]), "", "what it tests need not agree");
        let crossed = format!(
            "[grid]\nlr = [0.05, 0.2]\nepochs = [1, 2]\n[[exclude]]\nlr = 0.05\nepochs = 1\n{apart}"
        );
        assert_eq!(idle(&crossed, &[]), "", "one pair is enough");
    }

    #[test]
    fn conditional_axes_of_no_point_are_told() {
        let zip = "[[zip]]\nlr = [0.05, 0.2]\nepochs = [1, 2]\n";
        let when = |epochs| {
            format!(
                "[[when]]\nif = {{ lr = 0.05, epochs = {epochs} }}\ngrid.dropout = [0.1, 0.3]\n"
            )
        };
        assert_eq!(idle(&format!("{zip}{}", when(1)), &[]), "");
        insta::assert_snapshot!(
            idle(&format!("{zip}{}", when(2)), &[]),
            @"the `[[when]]` in line 6: no configuration meets its `if`: it varies `dropout` nowhere"
        );
        insta::assert_snapshot!(
            idle(&format!("{zip}{}[[exclude]]\nlr = 0.05\n", when(1)), &[]),
            @"the `[[when]]` in line 6: every configuration that meets its `if` is excluded: it varies `dropout` nowhere"
        );
    }

    #[test]
    fn the_shipped_sweeps_have_nothing_idle_in_either_size() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
        let mut seen = 0;
        for path in files {
            let text = std::fs::read(&path).unwrap();
            for changes in [vec![], vec![SHORT.to_owned()]] {
                let name = path.display().to_string();
                let Ok((spec, _)) = SweepSpec::parse_bytes(&name, &text, &changes) else {
                    assert!(!changes.is_empty(), "{name}");
                    continue;
                };
                assert_eq!(expand(&spec).unwrap().idle, [], "{name} {changes:?}");
                seen += 1;
            }
        }
        assert!(seen > 8, "{seen}");
    }
}
