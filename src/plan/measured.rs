//! What runs of a plan took in memory: better than what is forecast of them.

use std::collections::HashMap;

use super::build::Plan;
use super::requirement::Requirement;
use super::status::Peak;
use crate::spec::architecture::library_bytes;

/// The largest memory that finished runs of each configuration took.
pub struct MeasuredMemory {
    /// On cores, on GPUs.
    peaks: [HashMap<usize, u64>; 2],
}

impl MeasuredMemory {
    /// Of the finished runs of `plan`.
    pub fn of(plan: &Plan) -> Self {
        let mut peaks = [HashMap::new(), HashMap::new()];
        for finished in &plan.finished {
            let Some(peak) = finished.peak else { continue };
            let (on_gpu, bytes) = match peak {
                Peak::Resident(bytes) => (false, bytes),
                Peak::Allocated(bytes) => (true, bytes),
            };
            let configuration = plan.runs[finished.run].configuration;
            let known = peaks[usize::from(on_gpu)].entry(configuration).or_default();
            *known = bytes.max(*known);
        }
        Self { peaks }
    }

    /// Bytes that a run of a configuration takes where it trains, of each device, if that is known: main
    /// memory of ranks on cores is not, of which the first's is recorded with all that they share. On a GPU it
    /// is what was allocated with the allowance for CUDA's libraries, as in the forecast.
    pub fn get(
        &self,
        configuration: usize,
        requirement: &Requirement,
        on_gpu: bool,
    ) -> Option<u64> {
        let known = self.peaks[usize::from(on_gpu)].get(&configuration).copied();
        match on_gpu {
            true => known.map(|bytes| bytes.saturating_add(library_bytes(requirement.devices))),
            false => known.filter(|_| requirement.devices == 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Requirements;
    use crate::plan::sample::{finish, grid, planned, result, start_all};
    use crate::record::{RunResult, RunStatus, Site, SweepFolder};

    #[test]
    fn memory_is_known_where_a_run_alone_took_it() {
        let runs = tempfile::tempdir().unwrap();
        let mut spec = grid(&["devices=1 2", "batch_size=32 64 128"]);
        spec.seeds = vec![0, 1];
        let folder = SweepFolder::new(runs.path(), &spec.name);
        start_all(&spec, &folder);
        let plan = planned(&spec, None);
        let site = |device: &str| Some(Site { host: "here".to_owned(), device: device.to_owned() });
        let ended = |run: usize, device: &str, lanes: u32, [resident, allocated]: [u64; 2]| {
            let known = RunResult {
                peak_memory_bytes: Some(resident),
                device_memory_bytes: (device != "cpu").then_some(allocated),
                fused_lanes: Some(lanes),
                site: site(device),
                ..result(plan.runs[run].id, RunStatus::Finished, 1.0)
            };
            finish(&folder, &known);
        };
        // On one device: both seeds on cores; on a GPU; on a GPU with another run.
        ended(0, "cpu", 1, [50, 0]);
        ended(6, "cpu", 1, [70, 0]);
        ended(1, "cuda:0 (X)", 1, [900, 30]);
        ended(2, "cuda:0 (X)", 2, [900, 60]);
        // On two.
        ended(3, "cpu", 1, [40, 0]);
        ended(4, "cuda:0 (X)", 1, [900, 20]);
        let plan = planned(&spec, Some(&folder));
        let requirements = Requirements::of(&plan.points).unwrap();
        let measured = MeasuredMemory::of(&plan);
        let found = |on_gpu: bool| -> Vec<Option<u64>> {
            let of = |point| measured.get(point, requirements.get(point), on_gpu);
            (0..6).map(of).collect()
        };
        assert_eq!(found(false), [Some(70), None, None, None, None, None]);
        let [one, two] = [1, 2].map(library_bytes);
        assert!(one > 0 && two > one);
        assert_eq!(found(true), [None, Some(30 + one), None, None, Some(20 + two), None]);
    }
}
