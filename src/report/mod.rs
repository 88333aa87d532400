//! Tables in, bytes out. Nothing here opens a file: whoever calls decides where the bytes go and
//! writes them atomically.

pub mod cell;
pub mod claims;
pub mod csv;
pub mod effects;
pub mod long;
pub mod number;
pub mod page;
pub mod plots;
pub mod throughput;
