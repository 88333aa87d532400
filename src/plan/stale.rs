//! Why a recorded run is no longer planned.
//!
//! In: the ids of folders that no planned run has. Out: reasons with counts. The reason is what
//! tells a run from the planned run nearest to it: the one that differs in the fewest keys, where
//! the seed, the engine's version and the data's fingerprint count as keys. Runs are compared as
//! rows of value numbers; an equal row or one that differs in one place is found by look-up, and
//! only what differs more is searched for, within a fixed amount of work.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::error::PlanError;
use super::identity::DataPrints;
use super::points::{Column, Points};
use super::rule::Rule;
use super::status::{Read, Warning, read};
use crate::ids::RunId;
use crate::record::{RunRecord, SweepFolder};
use crate::spec::config::ENGINE_NUMERICS;
use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::Node;
use crate::spec::sweep::Exclude;
use crate::spec::{Key, RunConfig};

/// A key whose value is another one now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KeyChange {
    /// The key; also `seed`, `engine` and `data`.
    pub key: String,
    /// The recorded value.
    pub was: String,
    /// The value of the nearest planned run.
    pub now: String,
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.was, self.now)
    }
}

/// Why a recorded run is no longer planned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StaleReason {
    /// These keys have other values now.
    Changed(Vec<KeyChange>),
    /// These keys have other values now, too many different ones to be listed.
    ChangedVariously(Vec<String>),
    /// Several keys have other values now, and which planned run is nearest was not searched for.
    ChangedWidely,
    /// An `[[exclude]]` drops it; its line.
    Excluded(usize),
    /// Its `run.json` is missing or damaged.
    Unreadable,
    /// Everything is as planned, but ids were made in another way then.
    OldIdentity,
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(changes) => {
                let changes: Vec<String> = changes.iter().map(KeyChange::to_string).collect();
                f.write_str(&changes.join(", "))
            }
            Self::ChangedVariously(keys) => write!(f, "{} (various values)", keys.join(", ")),
            Self::ChangedWidely => f.write_str("several keys"),
            Self::Excluded(0) => f.write_str("excluded on the command line"),
            Self::Excluded(line) => write!(f, "excluded by line {line}"),
            Self::Unreadable => f.write_str("its run.json is missing or damaged"),
            Self::OldIdentity => f.write_str("its id was made by another version of gridlane"),
        }
    }
}

/// Recorded runs that are no longer planned for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleGroup {
    /// Why.
    pub reason: StaleReason,
    /// How many runs.
    pub runs: usize,
    /// The smallest id among them.
    pub example: RunId,
}

/// Groups that are kept apart; what is beyond them is put together by the names of the keys.
const MAX_GROUPS: usize = 50;

/// Cells that may be compared in search of nearest runs: about a second of work.
const SEARCH_BUDGET: usize = 400_000_000;

/// Values of one column that are tried in place of a recorded one; a column that has more is left to
/// the search.
const MAX_PROBES: usize = 256;

/// What strangers are held against.
pub(crate) struct Planned<'a> {
    pub(crate) points: &'a Points,
    pub(crate) seeds: &'a [u64],
    pub(crate) excludes: &'a [Exclude],
    pub(crate) data: &'a DataPrints,
}

/// Says why `strangers` are not planned: groups, the largest first, and what could not be read.
///
/// # Errors
/// A file cannot be read or was written by a newer program.
pub(crate) fn explain(
    folder: &SweepFolder,
    strangers: &[RunId],
    planned: &Planned<'_>,
) -> Result<(Vec<StaleGroup>, Vec<Warning>), PlanError> {
    if strangers.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let search = Search::new(planned);
    let records = strangers
        .par_iter()
        .map(|id| {
            let path = folder.run(*id).run();
            Ok((*id, read::<RunRecord>(&path)?))
        })
        .collect::<Result<Vec<_>, PlanError>>()?;
    let mut warnings = Vec::new();
    let mut recorded = Vec::new();
    let mut reasons = Vec::new();
    for (id, read) in records {
        match read {
            Read::Good(record) => recorded.push((id, Recorded::new(record, &search))),
            Read::Bad(why) => {
                let message = format!("run.json is damaged ({why}); the run is not planned");
                warnings.push(Warning { run_id: id, message });
                reasons.push((id, StaleReason::Unreadable));
            }
            Read::Missing => reasons.push((id, StaleReason::Unreadable)),
        }
    }
    let nearest = search.nearest_of_all(recorded.iter().map(|(_, recorded)| &recorded.row));
    reasons.extend(recorded.iter().map(|(id, recorded)| {
        let reason = search.excluded(recorded).unwrap_or_else(|| {
            nearest[&recorded.row]
                .map_or(StaleReason::ChangedWidely, |point| search.difference(recorded, point))
        });
        (*id, reason)
    }));
    Ok((group(reasons), warnings))
}

/// A recorded value for each column; `None` for one that no planned run has.
type Row = Vec<Option<u32>>;

/// A recorded run, in the plan's terms.
struct Recorded {
    config: RunConfig,
    /// Keys or values that this program does not know.
    unknown: Vec<(String, Value)>,
    engine: u32,
    data: String,
    row: Row,
}

impl Recorded {
    fn new(record: RunRecord, search: &Search<'_>) -> Self {
        let mut config = RunConfig::default();
        let mut unknown = Vec::new();
        for (name, value) in record.config {
            let setting = Key::from_name(&name)
                .and_then(|key| key.read(&Node::from_json(&value), &mut Diagnostics::new()));
            match setting {
                Some(setting) => config.set(&setting),
                None => unknown.push((name, value)),
            }
        }
        let row = search
            .columns()
            .iter()
            .zip(&search.numbers)
            .map(|(column, numbers)| {
                numbers.get(&config.setting(column.key).canonical().to_string()).copied()
            })
            .collect();
        Self { config, unknown, engine: record.engine, data: record.data, row }
    }
}

/// Finds planned runs.
struct Search<'a> {
    planned: &'a Planned<'a>,
    /// For each column, canonical value -> number.
    numbers: Vec<HashMap<String, u32>>,
    /// Row -> point.
    index: HashMap<&'a [u32], usize>,
    rules: Vec<(usize, Rule)>,
}

impl<'a> Search<'a> {
    fn new(planned: &'a Planned<'a>) -> Self {
        let points = planned.points;
        let numbers = points
            .columns
            .iter()
            .map(|column| {
                let texts = column.values.iter().map(|value| value.canonical().to_string());
                texts.zip(0..).collect()
            })
            .collect();
        let index = points.matrix.rows().zip(0..).collect();
        let rules = planned
            .excludes
            .iter()
            .map(|rule| (rule.line, Rule::new(&rule.condition, &points.columns, &points.base)))
            .collect();
        Self { planned, numbers, index, rules }
    }

    fn columns(&self) -> &'a [Column] {
        &self.planned.points.columns
    }

    /// For each distinct row the nearest point; `None` where it was not searched for.
    fn nearest_of_all<'r>(
        &self,
        rows: impl Iterator<Item = &'r Row>,
    ) -> HashMap<&'r Row, Option<usize>> {
        let mut rows: Vec<&Row> = rows.collect::<HashSet<_>>().into_iter().collect();
        rows.sort_unstable();
        let mut nearest: Vec<Option<usize>> =
            rows.par_iter().map(|row| self.looked_up(row)).collect();
        let work = self.planned.points.len() * self.columns().len();
        let affordable = SEARCH_BUDGET / work.max(1);
        let far: Vec<usize> =
            (0..rows.len()).filter(|n| nearest[*n].is_none()).take(affordable.max(1)).collect();
        let found: Vec<usize> = far.par_iter().map(|n| self.searched(rows[*n])).collect();
        for (n, point) in far.into_iter().zip(found) {
            nearest[n] = Some(point);
        }
        rows.into_iter().zip(nearest).collect()
    }

    /// The point that is equal to `row` or differs in one column, if there is one.
    fn looked_up(&self, row: &Row) -> Option<usize> {
        let missing: Vec<usize> = (0..row.len()).filter(|column| row[*column].is_none()).collect();
        let mut probe: Vec<u32> = row.iter().map(|number| number.unwrap_or_default()).collect();
        let try_columns = match missing[..] {
            [] => {
                if let Some(point) = self.index.get(&probe[..]) {
                    return Some(*point);
                }
                0..row.len()
            }
            [column] => column..column + 1,
            _ => return None,
        };
        for column in try_columns {
            let own = probe[column];
            let values = self.columns()[column].values.len().min(MAX_PROBES);
            let point = (0..).take(values).find_map(|number| {
                probe[column] = number;
                self.index.get(&probe[..]).copied()
            });
            if point.is_some() {
                return point;
            }
            probe[column] = own;
        }
        None
    }

    /// The first point that differs from `row` in the fewest columns.
    fn searched(&self, row: &Row) -> usize {
        let distance = |point: &[u32]| {
            point.iter().zip(row).filter(|(number, own)| Some(**number) != **own).count()
        };
        let points = self.planned.points.matrix.rows();
        let nearest = points.enumerate().min_by_key(|(_, point)| distance(point));
        nearest.expect("invariant: a plan has at least one point").0
    }

    /// The rule that drops `recorded`, if that is all that keeps it out.
    fn excluded(&self, recorded: &Recorded) -> Option<StaleReason> {
        let row: Vec<u32> = recorded.row.iter().copied().collect::<Option<_>>()?;
        let points = self.planned.points;
        let fixed_agree = Key::ALL.iter().all(|key| {
            *key == Key::Seed
                || points.columns.iter().any(|column| column.key == *key)
                || recorded.config.setting(*key) == points.base.setting(*key)
        });
        let rest_agrees = recorded.unknown.is_empty()
            && recorded.engine == ENGINE_NUMERICS
            && recorded.data == self.planned.data.of(&row)
            && self.planned.seeds.contains(&recorded.config.seed);
        let rule = self.rules.iter().find(|(_, rule)| rule.holds(&row))?;
        (fixed_agree && rest_agrees).then_some(StaleReason::Excluded(rule.0))
    }

    /// How `recorded` differs from the runs of `point`.
    fn difference(&self, recorded: &Recorded, point: usize) -> StaleReason {
        let points = self.planned.points;
        let config = points.config(point);
        let mut changes = Vec::new();
        let mut change = |key: &str, was: String, now: String| {
            changes.push(KeyChange { key: key.to_owned(), was, now });
        };
        for key in Key::ALL.iter().filter(|key| **key != Key::Seed) {
            let (was, now) = (recorded.config.setting(*key), config.setting(*key));
            let unknown = recorded.unknown.iter().any(|(name, _)| name == key.name());
            if was != now && !unknown {
                change(key.name(), was.label(), now.label());
            }
        }
        for (name, value) in &recorded.unknown {
            let now = Key::from_name(name)
                .map_or_else(|| "no such key".to_owned(), |key| config.setting(key).label());
            change(name, value.to_string(), now);
        }
        if !self.planned.seeds.contains(&recorded.config.seed) {
            change("seed", recorded.config.seed.to_string(), "not planned".to_owned());
        }
        if recorded.engine != ENGINE_NUMERICS {
            change("engine", recorded.engine.to_string(), ENGINE_NUMERICS.to_string());
        }
        let data = self.planned.data.of(points.matrix.row(point));
        // Another data set has other data: that is said already.
        if recorded.data != data && recorded.config.dataset == config.dataset {
            change("data", recorded.data.clone(), data.to_owned());
        }
        if changes.is_empty() { StaleReason::OldIdentity } else { StaleReason::Changed(changes) }
    }
}

/// Counts reasons; the largest groups first.
fn group(reasons: Vec<(RunId, StaleReason)>) -> Vec<StaleGroup> {
    let mut groups = counted(reasons.into_iter().map(|(id, reason)| (reason, 1, id)));
    if groups.len() > MAX_GROUPS {
        let rest = groups.split_off(MAX_GROUPS);
        let rest = counted(rest.into_iter().map(|group| {
            let reason = match group.reason {
                StaleReason::Changed(changes) => StaleReason::ChangedVariously(
                    changes.into_iter().map(|change| change.key).collect(),
                ),
                reason => reason,
            };
            (reason, group.runs, group.example)
        }));
        groups.extend(rest);
    }
    groups
}

fn counted(reasons: impl Iterator<Item = (StaleReason, usize, RunId)>) -> Vec<StaleGroup> {
    let mut counts: BTreeMap<StaleReason, (usize, RunId)> = BTreeMap::new();
    for (reason, runs, id) in reasons {
        let (count, example) = counts.entry(reason).or_insert((0, id));
        *count += runs;
        *example = id.min(*example);
    }
    let mut groups: Vec<StaleGroup> = counts
        .into_iter()
        .map(|(reason, (runs, example))| StaleGroup { reason, runs, example })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.runs));
    groups
}

#[cfg(test)]
#[path = "stale_tests.rs"]
mod tests;
