//! Times the engine: by itself on images made up in memory, which `gridlane bench` prints and which is
//! compared with other engines; and, of it, the course of steps that runs in mode "throughput" take.

pub mod augment;
pub mod course;
pub mod profile;
pub mod step;
