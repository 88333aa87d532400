//! The planner: a sweep file in, the list of runs with their ids and what is known of them out.
//!
//! Pure but for reading the record: it starts nothing and writes nothing. The design is explained
//! in `docs/design/plan.md`.

pub mod budget;
pub mod build;
pub mod error;
pub mod expand;
pub mod expected;
pub mod forecast;
pub mod group;
pub mod identity;
pub mod idle;
pub mod lanes;
pub mod measured;
pub mod memory;
pub mod misfit;
pub mod networks;
pub mod points;
pub mod requirement;
mod rule;
#[cfg(test)]
pub(crate) mod sample;
pub mod stale;
pub mod status;
pub mod view;

pub use budget::{DiskRoom, Excess, Excesses, disk_needed};
pub use build::{AxisValue, Counts, Plan, PlanAxis, Run};
pub use error::PlanError;
pub use expand::{ExcludedBy, Expansion, MAX_RUNS, expand};
pub use expected::{Basis, Expectations, Expected};
pub use forecast::Forecast;
pub use group::Group;
pub use identity::{identity_text, run_id};
pub use idle::Idle;
pub use lanes::Lanes;
pub use measured::MeasuredMemory;
pub use misfit::MisfitGroup;
pub use points::Points;
pub use requirement::{Requirement, Requirements};
pub use stale::{KeyChange, StaleGroup, StaleReason};
pub use status::{Durations, Finished, Peak, RunState, Warning};
pub use view::{PLAN_FORMAT, PlanSummary, PlanView};
