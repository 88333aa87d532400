//! Configurations that are valid key by key but cannot be trained as a whole.
//!
//! What fits together is not decided here: a function given to [`Plan::build`](super::Plan::build)
//! judges one configuration. Here every configuration is shown to it, and what it says 500 times is
//! said once, with how often and one example.

use std::collections::BTreeMap;

use miette::Diagnostic;
use rayon::prelude::*;

use super::error::PlanError;
use super::points::Points;
use crate::spec::RunConfig;
use crate::spec::validate::{Misfit, idle};

/// Judges one configuration.
pub type MisfitCheck<'a> = dyn Fn(&RunConfig) -> Vec<Misfit> + Sync + 'a;

/// One misfit and the configurations that have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} (in {configurations} of {total} configurations, as in `{example}`)", misfit.message)]
pub struct MisfitGroup {
    /// What is wrong.
    pub misfit: Misfit,
    /// How many configurations have it.
    pub configurations: usize,
    /// How many configurations there are.
    pub total: usize,
    /// Name of the first one that has it.
    pub example: String,
}

impl Diagnostic for MisfitGroup {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.misfit.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }
}

/// Groups that are reported; beyond these a reader learns nothing new.
const MAX_GROUPS: usize = 50;

/// What is wrong with the points of one worker's share.
#[derive(Default)]
struct Tally {
    bad: usize,
    /// Misfit -> how many points have it, and the first one.
    found: BTreeMap<Misfit, (usize, usize)>,
}

impl Tally {
    fn add(mut self, index: usize, misfits: Vec<Misfit>) -> Self {
        self.bad += usize::from(!misfits.is_empty());
        for misfit in misfits {
            self.note(misfit, (1, index));
        }
        self
    }

    fn merge(mut self, other: Self) -> Self {
        self.bad += other.bad;
        for (misfit, seen) in other.found {
            self.note(misfit, seen);
        }
        self
    }

    fn note(&mut self, misfit: Misfit, (count, first): (usize, usize)) {
        let seen = self.found.entry(misfit).or_insert((0, first));
        *seen = (seen.0 + count, seen.1.min(first));
    }
}

/// Judges every point.
///
/// # Errors
/// [`PlanError::Misfits`] when a point has any, the groups in the order of their first points.
pub(crate) fn refuse_misfits(points: &Points, check: &MisfitCheck<'_>) -> Result<(), PlanError> {
    let tally = (0..points.len())
        .into_par_iter()
        .map_init(
            || points.base.clone(),
            |config, index| {
                points.write(index, config);
                (index, check(config))
            },
        )
        .fold(Tally::default, |tally, (index, misfits)| tally.add(index, misfits))
        .reduce(Tally::default, Tally::merge);
    if tally.bad == 0 {
        return Ok(());
    }
    let total = points.len();
    let mut found: Vec<_> = tally.found.into_iter().collect();
    found.sort_by_key(|(_, (_, first))| *first);
    found.truncate(MAX_GROUPS);
    let groups = found
        .into_iter()
        .map(|(misfit, (configurations, first))| MisfitGroup {
            misfit,
            configurations,
            total,
            example: points.name(first),
        })
        .collect();
    Err(PlanError::Misfits { bad: tally.bad, total, groups })
}

/// Refuses an axis that changes nothing wherever it is: the leaderboard would report that what it
/// varies does not matter.
///
/// # Errors
/// [`PlanError::Misfits`] with a group for each such axis.
pub(crate) fn refuse_idle_axes(points: &Points) -> Result<(), PlanError> {
    let total = points.len();
    let mut config = points.base.clone();
    let mut groups = Vec::new();
    for column in points.varied() {
        let key = points.columns[*column].key;
        // Ends with the first point in which the key may change something, mostly the first of all.
        let mut reasons = (0..total).map_while(|point| {
            points.write(point, &mut config);
            idle(&config, key)
        });
        let Some(misfit) = reasons.next() else { continue };
        if 1 + reasons.count() == total {
            let example = points.name(0);
            groups.push(MisfitGroup { misfit, configurations: total, total, example });
        }
    }
    match groups.is_empty() {
        true => Ok(()),
        false => Err(PlanError::Misfits { bad: total, total, groups }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::plan::sample::{grid, print_of};

    fn refused(axes: &[&str]) -> Option<String> {
        let plan = Plan::build(&grid(axes), None, &print_of, &|_| Vec::new());
        let error = plan.err()?;
        let PlanError::Misfits { groups, .. } = &error else { panic!("{error}") };
        Some(groups.iter().map(MisfitGroup::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn an_axis_that_changes_nothing_anywhere_is_refused() {
        let scaling = "lr_scaling=\"none\" \"linear\"";
        let decayed = "weight_decay_on=\"all\" \"weights\"";
        let told = [
            refused(&["dataset={\"kind\":\"synthetic\"}", "validation_fraction=0.1 0.2"]),
            refused(&[scaling, "lr=0.1 0.01", decayed]),
        ];
        insta::assert_snapshot!(told.map(Option::unwrap).join("\n"), @r"
        an axis of validation_fraction changes nothing: the data set has validation images of its own (in 2 of 2 configurations, as in `validation_fraction=0.1`)
        an axis of lr_scaling changes nothing: devices = 1 (in 8 of 8 configurations, as in `lr_scaling=none lr=0.1 weight_decay_on=all`)
        an axis of weight_decay_on changes nothing: weight_decay = 0 (in 8 of 8 configurations, as in `lr_scaling=none lr=0.1 weight_decay_on=all`)
        ");
        for axes in [
            &["devices=1 2", scaling][..],
            &["weight_decay=0 0.1", decayed],
            &["dataset=\"mnist-10k\" {\"kind\":\"synthetic\"}", "validation_fraction=0.1 0.2"],
            &["lr_scaling=\"linear\""],
        ] {
            assert_eq!(refused(axes), None, "{axes:?}");
        }
    }
}
