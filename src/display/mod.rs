//! The terminal: progress, tables, errors. In: events and tables. Out: text.

pub mod checkup;
pub mod claims_table;
pub mod columns;
pub mod compare_table;
pub mod failures_table;
pub mod forecast;
pub mod leaderboard_table;
pub mod network_table;
pub mod painter;
pub mod plan_table;
pub mod profile_table;
pub mod progress;
pub mod run_table;
pub mod status_table;
pub mod throughput_table;
pub mod wrap;

pub use painter::Painter;
