//! The planner: a sweep file in, the list of runs with their ids and what is known of them out.
//!
//! Pure but for reading the record: it starts nothing and writes nothing. The design is explained
//! in `docs/design/plan.md`.

pub mod build;
pub mod error;
pub mod expand;
pub mod group;
pub mod identity;
pub mod lanes;
pub mod memory;
pub mod misfit;
pub mod networks;
pub mod points;
mod rule;
#[cfg(test)]
pub(crate) mod sample;
pub mod stale;
pub mod status;
pub mod view;

pub use build::{AxisValue, Counts, Plan, PlanAxis, Run};
pub use error::PlanError;
pub use expand::{ExcludedBy, Expansion, MAX_RUNS, expand};
pub use group::Group;
pub use identity::{identity_text, run_id};
pub use lanes::Lanes;
pub use misfit::MisfitGroup;
pub use points::Points;
pub use stale::{KeyChange, StaleGroup, StaleReason};
pub use status::{Durations, RunState, Warning};
pub use view::{PLAN_FORMAT, PlanSummary, PlanView};
