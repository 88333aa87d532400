//! What the steps of a run with `mode = "throughput"` took, as its `result.json` has it.

use serde::{Deserialize, Serialize};

/// Times of the steps of one run, on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throughput {
    /// The device, by its name: `cpu`, `cuda:0 (NVIDIA H100 80GB HBM3)`.
    pub device: String,
    /// Devices that trained together, a rank on each.
    pub devices: u32,
    /// Cores that the worker could keep busy: more ranks on cores than that share them.
    pub cores: u32,
    /// Threads of a rank.
    pub threads: u32,
    /// Images of a step, over all devices.
    pub batch_size: u32,
    /// Steps before those that were timed.
    pub warm_up: u32,
    /// Steps that were timed.
    pub steps: u32,
    /// A whole step.
    pub step_s: Spread,
    /// Its batch: gathered, augmented, copied.
    pub data_s: Spread,
    /// Its outputs and loss.
    pub forward_s: Spread,
    /// Its gradients; on several devices with their sum, as far as it was waited for.
    pub backward_s: Spread,
    /// Its update.
    pub update_s: Spread,
    /// What several devices exchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
}

/// What the first of several ranks spent on the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Bytes of gradients that every rank gave to a sum in each step.
    pub bytes: u64,
    /// Seconds of a step that it computed.
    pub compute_s: Spread,
    /// Seconds of a step for which sums were under way.
    pub communication_s: Spread,
    /// Seconds of a step for which it waited.
    pub wait_s: Spread,
}

/// How seconds are spread over the steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// A tenth of the steps are below.
    pub p10: f64,
    /// A tenth of the steps are above.
    pub p90: f64,
}

impl Spread {
    /// Of these seconds; `None` of none. Between two steps it goes in a straight line, as NumPy's
    /// `quantile` does.
    pub fn of(seconds: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = seconds.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let quantile = |share: f64| {
            let place = share * last as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            sorted[below] + (sorted[above] - sorted[below]) * place.fract()
        };
        Some(Self { median: quantile(0.5), p10: quantile(0.1), p90: quantile(0.9) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunId;
    use crate::record::{RunResult, RunStatus};

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([3, 1, 4, 1, 5, 9, 2], [0.5, 0.1, 0.9])
        let spread = Spread::of([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.p10), (3.0, 1.0));
        assert!((spread.p90 - 6.6).abs() < 1e-12, "{spread:?}");
        // numpy.quantile([0.1, 0.2, 0.4, 0.8], [0.5, 0.1, 0.9])
        let spread = Spread::of([0.8, 0.1, 0.4, 0.2]).unwrap();
        for (found, expected) in [(spread.median, 0.3), (spread.p10, 0.13), (spread.p90, 0.68)] {
            assert!((found - expected).abs() < 1e-12, "{spread:?}");
        }
        assert_eq!(Spread::of([0.5]), Some(Spread { median: 0.5, p10: 0.5, p90: 0.5 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_result_without_it_reads_and_writes_as_before() {
        let result = RunResult::new(RunId::of(b"a"), RunStatus::Finished);
        let json = serde_json::to_string(&result).unwrap();
        assert!(!json.contains("throughput"), "{json}");
        let old = json.replace(",\"epochs\":[]", ",\"epochs\":[],\"images_per_s\":3.0");
        assert_eq!(serde_json::from_str::<RunResult>(&old).unwrap().throughput, None);
    }
}
