//! `[budget]`: what a sweep may cost. None of it is identity.

use std::time::Duration;

/// What a sweep may cost; its forecast is held against it before anything starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// `wall`: time from start to end.
    pub wall: Option<Duration>,
    /// `disk`: bytes of its record.
    pub disk: Option<u64>,
}
