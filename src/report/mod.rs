//! Tables in, bytes out. Nothing here opens a file: whoever calls decides where the bytes go and
//! writes them atomically.

pub mod cell;
pub mod claims;
pub mod compare;
pub mod csv;
#[cfg(test)]
mod edge_tests;
pub mod effects;
pub mod json;
pub mod leaderboard;
pub mod long;
pub mod markdown;
pub mod number;
pub mod page;
pub mod plain;
pub mod plots;
pub mod runs;
pub mod select;
pub mod table;
pub mod tensorboard;
pub mod throughput;
pub mod xlsx;
