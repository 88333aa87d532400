//! Times the engine by itself: no worker, no record, images made up in memory. What `gridlane bench`
//! prints and what is compared with other engines.

pub mod augment;
pub mod profile;
pub mod step;
