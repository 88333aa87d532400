//! A plan as JSON: for programs that read `gridlane plan --json`, and as `plan.json` in the record.
//!
//! Both are written item by item, so that a million runs need no copy of the plan in memory. Field
//! names are stable within a [`PLAN_FORMAT`]; fields may be added. Values stand in the canonical
//! form that a sweep file would also accept.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::build::{AxisValue, Plan, PlanAxis, Run};
use super::forecast::Forecast;
use super::memory;
use super::stale::StaleReason;
use super::status::RunState;
use crate::ids::RunId;
use crate::record::{SweepFolder, atomic};

/// Version of both documents' format.
pub const PLAN_FORMAT: u32 = 1;

/// Everything: `format`, `name`, `description`, `axes`, `seeds`, `counts`, `excluded`, `included`,
/// `duplicate_includes`, `idle` (`table`, `line` and `reason` of each `[[when]]` and `[[claim]]` that no configuration is there for), `stale`, `warnings`, `durations`, `forecast` (on this machine: `slots`,
/// `runs_at_once`, `runs`, `total_s`, `longest_s`, `disk_bytes`, `disk_free_bytes`, `measured`, `expected_from`), `memory` (the distinct needs of a run in bytes, the largest
/// first: each kind, `total`, `resumed` where a run goes on from a checkpoint, and how many `configurations` need so much, such as number `example`),
/// `configurations` (`configuration`, `name`,
/// `settings`) and `runs` (`run_id`, `configuration`, `seed`, `state` with `reason` or
/// `epochs_done`, and `expected_s` of those to execute).
#[derive(Debug, Clone, Copy)]
pub struct PlanView<'a>(pub &'a Plan, pub Option<&'a Forecast>);

/// What stays true while the plan is carried out: `format`, `name`, `description`, `axes`, `seeds`,
/// `counts`, `configurations` (`name`, `settings` and `run_ids` in the order of the seeds) and, by the
/// reason, the ids of the runs that are `skipped` on the machine of the last invocation.
#[derive(Debug, Clone, Copy)]
pub struct PlanSummary<'a>(pub &'a Plan);

impl Serialize for PlanView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plan = self.0;
        let mut map = serializer.serialize_map(None)?;
        head(plan, &mut map)?;
        let excluded = plan.excluded.iter().map(|rule| {
            json!({
                "line": rule.line,
                "dropped": rule.dropped,
                "already_dropped": rule.already_dropped,
            })
        });
        map.serialize_entry("excluded", &excluded.collect::<Vec<Value>>())?;
        map.serialize_entry("included", &plan.included)?;
        map.serialize_entry("duplicate_includes", &plan.duplicates)?;
        let idle = plan.idle.iter();
        let idle = idle
            .map(|idle| json!({ "table": idle.table, "line": idle.line, "reason": idle.reason }));
        map.serialize_entry("idle", &idle.collect::<Vec<Value>>())?;
        map.serialize_entry("stale", &stale(plan))?;
        let warnings = plan.warnings.iter();
        let warnings = warnings.map(|w| json!({ "run_id": w.run_id, "message": w.message }));
        map.serialize_entry("warnings", &warnings.collect::<Vec<Value>>())?;
        let durations = plan.durations.map(
            |d| json!({ "finished_runs": d.runs, "mean_wall_s": d.mean_s, "std_wall_s": d.std_s }),
        );
        map.serialize_entry("durations", &durations)?;
        map.serialize_entry("forecast", &self.1.map(Forecast::view))?;
        map.serialize_entry("memory", &needs(plan))?;
        map.serialize_entry("configurations", &Configurations { plan, ids: Ids::Apart })?;
        map.serialize_entry("runs", &Runs { plan, forecast: self.1 })?;
        map.end()
    }
}

impl Serialize for PlanSummary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        head(self.0, &mut map)?;
        let configurations = Configurations { plan: self.0, ids: Ids::Listed };
        map.serialize_entry("configurations", &configurations)?;
        map.serialize_entry("skipped", &skipped_runs(self.0))?;
        map.end()
    }
}

/// The runs that are left out, by the reason.
fn skipped_runs(plan: &Plan) -> BTreeMap<&str, Vec<RunId>> {
    let mut reasons: BTreeMap<&str, Vec<RunId>> = BTreeMap::new();
    for run in &plan.runs {
        if let RunState::Skipped { reason } = &run.state {
            reasons.entry(reason).or_default().push(run.id);
        }
    }
    reasons
}

/// The runs that the last sweep left out, each with the reason, from the `plan.json` that it wrote;
/// none where that cannot be read: then they are pending.
pub fn recorded_skips(folder: &SweepFolder) -> BTreeMap<RunId, String> {
    #[derive(serde::Deserialize)]
    struct Skips {
        #[serde(default)]
        skipped: BTreeMap<String, Vec<RunId>>,
    }
    let read: Option<Skips> = atomic::read_json(&folder.plan(), PLAN_FORMAT).ok().flatten();
    let reasons = read.into_iter().flat_map(|read| read.skipped);
    reasons.flat_map(|(reason, ids)| ids.into_iter().map(move |id| (id, reason.clone()))).collect()
}

/// What both documents begin with.
fn head<M: SerializeMap>(plan: &Plan, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("format", &PLAN_FORMAT)?;
    map.serialize_entry("name", plan.name.as_str())?;
    map.serialize_entry("description", &plan.description)?;
    map.serialize_entry("axes", &Axes(plan))?;
    map.serialize_entry("seeds", &plan.seeds)?;
    let counts = json!({
        "configurations": plan.points.len(),
        "runs": plan.runs.len(),
        "new": plan.counts.new,
        "done": plan.counts.done,
        "failed": plan.counts.failed,
        "partial": plan.counts.partial,
        "skipped": plan.counts.skipped,
        "stale": plan.stale_runs(),
    });
    map.serialize_entry("counts", &counts)
}

fn stale(plan: &Plan) -> Vec<Value> {
    let group = |group: &super::StaleGroup| {
        let mut json = json!({
            "reason": group.reason.to_string(),
            "runs": group.runs,
            "example": group.example,
        });
        if let StaleReason::Changed(changes) = &group.reason {
            json["changes"] = json!(changes);
        }
        json
    };
    plan.stale.iter().map(group).collect()
}

/// The needs of the runs; none where a network cannot be built, of which a plan without misfits has
/// none.
fn needs(plan: &Plan) -> Vec<Value> {
    let needs = memory::needs(&plan.points).unwrap_or_default();
    let need = |need: memory::Need| {
        let mut json = json!(need.memory);
        json["total"] = need.memory.total().into();
        json["resumed"] = need.memory.resumed().into();
        json["configurations"] = need.configurations.into();
        json["example"] = need.example.into();
        json
    };
    needs.into_iter().map(need).collect()
}

struct Axes<'a>(&'a Plan);

impl Serialize for Axes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.axes.iter().map(AxisView))
    }
}

struct AxisView<'a>(&'a PlanAxis);

impl Serialize for AxisView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("key", self.0.key.name())?;
        map.serialize_entry("values", &AxisValues(&self.0.values))?;
        map.end()
    }
}

struct AxisValues<'a>(&'a [AxisValue]);

impl Serialize for AxisValues<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|value| {
            json!({
                "value": value.setting.canonical(),
                "label": value.setting.label(),
                "runs": value.runs,
            })
        }))
    }
}

/// Where the ids of a configuration's runs stand.
#[derive(Clone, Copy)]
enum Ids {
    /// With the configuration.
    Listed,
    /// In a list of runs of their own, which refers to configurations by number.
    Apart,
}

struct Configurations<'a> {
    plan: &'a Plan,
    ids: Ids,
}

impl Serialize for Configurations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let points = &self.plan.points;
        serializer.collect_seq((0..points.len()).map(|index| {
            let settings: serde_json::Map<String, Value> = points
                .settings(index)
                .map(|setting| (setting.key().name().to_owned(), setting.canonical()))
                .collect();
            let mut json = json!({ "name": points.name(index), "settings": settings });
            match self.ids {
                Ids::Listed => {
                    let ids = self.plan.runs_of(index).map(|run| run.id.to_string());
                    json["run_ids"] = ids.collect::<Vec<String>>().into();
                }
                Ids::Apart => json["configuration"] = index.into(),
            }
            json
        }))
    }
}

struct Runs<'a> {
    plan: &'a Plan,
    forecast: Option<&'a Forecast>,
}

impl Serialize for Runs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let expected = |place: &usize| self.forecast?.expected_s.get(place).copied();
        let runs = self.plan.runs.iter().enumerate();
        serializer.collect_seq(runs.map(|(place, run)| RunView(run, expected(&place))))
    }
}

/// A run, and what it is expected to take in seconds.
struct RunView<'a>(&'a Run, Option<f64>);

impl Serialize for RunView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let run = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("run_id", &run.id)?;
        map.serialize_entry("configuration", &run.configuration)?;
        map.serialize_entry("seed", &run.seed)?;
        map.serialize_entry("state", run.state.as_str())?;
        match &run.state {
            RunState::Failed { reason } | RunState::Skipped { reason } => {
                map.serialize_entry("reason", reason)?;
            }
            RunState::Partial { epochs_done } => map.serialize_entry("epochs_done", epochs_done)?,
            RunState::New | RunState::Done => {}
        }
        if let Some(seconds) = self.1 {
            map.serialize_entry("expected_s", &seconds)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample::{grid, print_of};

    #[test]
    fn both_documents_keep_their_fields() {
        let mut spec = grid(&["schedule=\"cosine\" {\"kind\":\"step\",\"gamma\":0.5}"]);
        spec.seeds = vec![0, 1];
        spec.description = Some("Which schedule?".to_owned());
        let plan = Plan::build(&spec, None, &print_of, &|_| Vec::new()).unwrap();
        insta::assert_snapshot!(
            "plan_view",
            serde_json::to_string_pretty(&PlanView(&plan, None)).unwrap()
        );
        insta::assert_snapshot!(
            "plan_summary",
            serde_json::to_string_pretty(&PlanSummary(&plan)).unwrap()
        );
    }
}
