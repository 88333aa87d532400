//! What this machine has to train on: GPUs, cores, memory.
//!
//! Asked once when a command begins; how much is free on a GPU is asked again when it is leased. A file
//! (`--inventory FILE`) can stand for the machine, for plans of what is not there yet and for tests.

mod control_groups;
mod cores;
mod file;
mod lack;
mod memory;
mod nvml;

use std::path::Path;

pub use file::InventoryError;
pub use lack::Lack;
use nvml::Found;
pub use nvml::LIBRARY;

use super::error::DispatchError;
use super::occupancy::{Host, Kind, Slot};
use crate::spec::device::DeviceId;
use crate::units::show_bytes;

/// Does this program hold the kernels for GPUs?
pub const HAS_GPU_KERNELS: bool = cfg!(feature = "cuda");

/// Bytes that stand for a memory of which nothing is known.
const UNKNOWN_MEMORY: u64 = 1 << 50;

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number as a worker is told it: in the order of the PCI bus, among those that are visible.
    pub number: u32,
    /// What it calls itself: `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its name in the world, which its lease bears.
    pub uuid: String,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of it that nobody uses.
    pub free: u64,
    /// Processes that use it.
    pub processes: Vec<GpuProcess>,
}

/// A process on a GPU, of whomever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuProcess {
    /// Its number.
    pub pid: u32,
    /// Bytes of the GPU's memory that it has, where the driver tells.
    pub memory: Option<u64>,
}

/// What a machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// Why there are none, where there are none.
    pub lack: Lack,
    /// The numbers of the cores that this process may keep busy: of those that it may run on, as many
    /// as its container's quota allows.
    pub cores: Vec<u32>,
    /// Bytes of memory that programs can have before the system must swap or kill.
    pub memory: u64,
    /// Is it described by a file and not looked at?
    pub is_described: bool,
    /// What a person should know: a driver that does not work.
    pub notices: Vec<String>,
}

/// Which devices a sweep may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The cores alone.
    Cores,
    /// These GPUs and no others.
    Gpus(Vec<u32>),
}

/// The text chooses no devices.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} chooses no devices: expected numbers of GPUs such as 0,2, or none")]
pub struct BadDeviceChoice(String);

impl std::str::FromStr for DeviceChoice {
    type Err = BadDeviceChoice;

    fn from_str(text: &str) -> Result<Self, BadDeviceChoice> {
        if matches!(text, "none" | "cpu") {
            return Ok(Self::Cores);
        }
        let number = |part: &str| part.trim().trim_start_matches("cuda:").parse().ok();
        let numbers: Option<Vec<u32>> = text.split(',').map(number).collect();
        let numbers =
            numbers.filter(|all| all.iter().enumerate().all(|(n, x)| !all[..n].contains(x)));
        numbers.map(Self::Gpus).ok_or_else(|| BadDeviceChoice(text.to_owned()))
    }
}

/// As the command line has it.
impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cores => f.pad("none"),
            Self::Gpus(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                f.pad(&numbers.join(","))
            }
        }
    }
}

impl Inventory {
    /// Looks at this machine. What cannot be found out is left out, with a notice where somebody would
    /// wonder.
    pub fn of_this_machine() -> Self {
        let Found { gpus, lack, notice } = nvml::gpus();
        Self {
            gpus,
            lack,
            cores: cores::usable(),
            memory: memory::available(),
            is_described: false,
            notices: notice.into_iter().collect(),
        }
    }

    /// Reads a described machine.
    ///
    /// # Errors
    /// When the file cannot be read or describes none.
    pub fn from_file(path: &Path) -> Result<Self, InventoryError> {
        file::read(path)
    }

    /// Leaves only what was chosen.
    ///
    /// # Errors
    /// When a GPU is chosen that is not there.
    pub fn restrict(&mut self, choice: &DeviceChoice) -> Result<(), DispatchError> {
        let DeviceChoice::Gpus(numbers) = choice else {
            if !self.gpus.is_empty() {
                self.gpus.clear();
                self.lack = Lack::NotChosen;
            }
            return Ok(());
        };
        let find = |number: &u32| {
            let found = self.gpus.iter().find(|gpu| gpu.number == *number).cloned();
            found.ok_or_else(|| DispatchError::NoSuchGpu {
                number: *number,
                found: self.gpus_in_words(),
            })
        };
        self.gpus = numbers.iter().map(find).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// What a job on a cluster is given, as far as that is known before it starts.
    pub fn of_a_job(gpus: u32, cores: u32, memory: Option<u64>) -> Self {
        let gpu = |number| Gpu {
            number,
            name: "GPU of the job".to_owned(),
            uuid: format!("job-{number}"),
            // What kind it will be is not known: its memory refuses nothing here.
            memory: UNKNOWN_MEMORY,
            free: UNKNOWN_MEMORY,
            processes: Vec::new(),
        };
        Self {
            gpus: (0..gpus).map(gpu).collect(),
            lack: Lack::Absent,
            cores: (0..cores.max(1)).collect(),
            memory: memory.unwrap_or(UNKNOWN_MEMORY),
            is_described: true,
            notices: Vec::new(),
        }
    }

    /// Leaves the first so many cores, where there are more.
    pub fn at_most_cores(&mut self, cores: usize) {
        self.cores.truncate(cores.max(1));
    }

    /// Can runs train on a GPU? A described machine is taken to have the program for it.
    pub fn has_gpus(&self) -> bool {
        !self.gpus.is_empty() && (HAS_GPU_KERNELS || self.is_described)
    }

    /// Its slots of a kind in words: `2 cores`, `4 x NVIDIA H100 80GB HBM3 (79.1 GiB free)`.
    pub fn slots_in_words(&self, kind: Kind) -> String {
        if kind == Kind::Core {
            let cores = self.cores.len();
            return format!("{cores} core{}", if cores == 1 { "" } else { "s" });
        }
        let mut models: Vec<(&str, usize, u64)> = Vec::new();
        for gpu in &self.gpus {
            match models.iter_mut().find(|(name, ..)| *name == gpu.name) {
                Some((_, count, free)) => (*count, *free) = (*count + 1, (*free).min(gpu.free)),
                None => models.push((&gpu.name, 1, gpu.free)),
            }
        }
        let model = |(name, count, free): (&str, usize, u64)| match free {
            UNKNOWN_MEMORY => format!("{count} x {name}"),
            _ => format!("{count} x {name} ({} free)", show_bytes(free)),
        };
        models.into_iter().map(model).collect::<Vec<String>>().join(", ")
    }

    /// The machine for placement. `jobs` is the number of groups at a time, where a person said it: more
    /// of them than there are cores share cores, and a GPU too. `threads` are the cores of a rank.
    pub fn host(&self, jobs: Option<u32>, threads: u32) -> Host {
        let cores = self.cores.len();
        let on_cores = jobs.map_or(1, |jobs| seats(jobs, threads, cores));
        let on_gpus = match jobs {
            Some(jobs) => seats(jobs, 1, self.gpus.len()),
            // Every run on a GPU is driven by a core.
            None => u32::try_from(cores / self.gpus.len().max(1)).unwrap_or(u32::MAX).max(1),
        };
        let core = Slot { kind: Kind::Core, seats: on_cores, memory: 0 };
        let gpu = |gpu: &Gpu| Slot { kind: Kind::Gpu, seats: on_gpus, memory: gpu.free };
        let slots = std::iter::repeat_n(core, self.cores.len()).chain(self.gpus.iter().map(gpu));
        Host {
            slots: slots.collect(),
            memory: self.memory,
            jobs: jobs.map_or(usize::MAX, |jobs| jobs as usize),
        }
    }

    /// What a worker calls a slot of [`host`](Self::host).
    pub fn device(&self, slot: usize) -> DeviceId {
        match slot.checked_sub(self.cores.len()) {
            Some(gpu) => DeviceId::Cuda(self.gpus[gpu].number),
            None => DeviceId::Cpu,
        }
    }

    /// What the lease of a slot of [`host`](Self::host) is called: the same for every sweep.
    pub fn lease_name(&self, slot: usize) -> String {
        match slot.checked_sub(self.cores.len()) {
            Some(gpu) => format!("gpu-{}", self.gpus[gpu].uuid),
            None => format!("core-{}", self.cores[slot]),
        }
    }

    /// What is free now: on a slot's GPU, or of the host where it is a core.
    pub fn free_memory(&self, slot: usize) -> u64 {
        match slot.checked_sub(self.cores.len()) {
            Some(gpu) if self.is_described => self.gpus[gpu].free,
            Some(gpu) => nvml::free_memory(&self.gpus[gpu].uuid).unwrap_or(self.gpus[gpu].free),
            None if self.is_described => self.memory,
            None => memory::available(),
        }
    }

    /// Who else is on its GPUs: `cuda:0 (NVIDIA H100) is in use: process 42 has 1.0 GiB; 79.0 GiB of 80.0
    /// GiB are free`.
    pub fn company_in_words(&self) -> Vec<String> {
        let process = |process: &GpuProcess| match process.memory {
            Some(bytes) => format!("process {} has {}", process.pid, show_bytes(bytes)),
            None => format!("process {}", process.pid),
        };
        let in_use = self.gpus.iter().filter(|gpu| !gpu.processes.is_empty());
        let words = in_use.map(|gpu| {
            let processes: Vec<String> = gpu.processes.iter().map(process).collect();
            format!(
                "cuda:{} ({}) is in use: {}; {} of {} are free",
                gpu.number,
                gpu.name,
                processes.join(", "),
                show_bytes(gpu.free),
                show_bytes(gpu.memory)
            )
        });
        words.collect()
    }

    fn gpus_in_words(&self) -> String {
        match self.gpus.as_slice() {
            [] => self.lack.to_string(),
            gpus => {
                let numbers: Vec<String> = gpus.iter().map(|gpu| gpu.number.to_string()).collect();
                format!("this machine has {}", numbers.join(", "))
            }
        }
    }
}

/// Seats of each of `slots`, so that `jobs` groups of `threads` find one.
fn seats(jobs: u32, threads: u32, slots: usize) -> u32 {
    let wanted = u64::from(jobs) * u64::from(threads);
    u32::try_from(wanted.div_ceil(slots.max(1) as u64)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
pub(crate) fn described(text: &str) -> Inventory {
    file::parse(text).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_core_and_memory() {
        let found = Inventory::of_this_machine();
        assert!(!found.cores.is_empty());
        assert!(found.memory > 64 << 20, "{found:?}");
        assert_eq!(found.device(0), DeviceId::Cpu);
    }

    #[test]
    fn slots_bear_the_names_that_other_sweeps_use() {
        let machine = described(
            "cores = 2\nmemory_gib = 8\n[[gpu]]\nname = \"X\"\nmemory_gib = 16\ncount = 2",
        );
        assert_eq!(machine.slots_in_words(Kind::Gpu), "2 x X (16.0 GiB free)");
        assert_eq!(machine.slots_in_words(Kind::Core), "2 cores");
        let names: Vec<String> = (0..4).map(|slot| machine.lease_name(slot)).collect();
        assert_eq!(names, ["core-0", "core-1", "gpu-described-0", "gpu-described-1"]);
        let devices: Vec<String> = (1..4).map(|slot| machine.device(slot).to_string()).collect();
        assert_eq!(devices, ["cpu", "cuda:0", "cuda:1"]);
    }

    #[test]
    fn a_number_of_jobs_that_was_said_makes_room_for_them() {
        let machine = described("cores = 2\nmemory_gib = 8");
        let seats = |jobs, threads| {
            let host = machine.host(jobs, threads);
            (host.slots[0].seats, host.jobs)
        };
        assert_eq!(seats(None, 1), (1, usize::MAX));
        assert_eq!(seats(Some(4), 1), (2, 4));
        assert_eq!(seats(Some(1), 1), (1, 1));
        assert_eq!(seats(Some(2), 2), (2, 2));
    }

    #[test]
    fn who_else_is_on_a_gpu_is_told() {
        let mut machine = described(
            "cores = 1\nmemory_gib = 8\n[[gpu]]\nname = \"X\"\nmemory_gib = 16\nfree_gib = 13\ncount = 2",
        );
        assert!(machine.company_in_words().is_empty());
        let process = |(pid, memory)| GpuProcess { pid, memory };
        machine.gpus[1].processes = [(42, Some(3 << 30)), (7, None)].map(process).to_vec();
        let told = machine.company_in_words();
        assert_eq!(
            told,
            [
                "cuda:1 (X) is in use: process 42 has 3.0 GiB, process 7; 13.0 GiB of 16.0 GiB are free"
            ]
        );
    }

    #[test]
    fn devices_can_be_chosen_if_they_are_there() {
        let mut machine = described(
            "cores = 1\nmemory_gib = 8\n[[gpu]]\nname = \"X\"\nmemory_gib = 16\ncount = 3",
        );
        machine.restrict(&"2,0".parse().unwrap()).unwrap();
        let numbers: Vec<u32> = machine.gpus.iter().map(|gpu| gpu.number).collect();
        assert_eq!(numbers, [2, 0]);
        let error = machine.restrict(&"1".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "there is no GPU 1: this machine has 2, 0");
        machine.restrict(&"none".parse().unwrap()).unwrap();
        assert_eq!((machine.gpus.len(), &machine.lack), (0, &Lack::NotChosen));
        let mut bare = described("cores = 1\nmemory_gib = 8");
        bare.restrict(&"none".parse().unwrap()).unwrap();
        assert_eq!(bare.lack, Lack::Absent);
        for bad in ["", "0,0", "a", "0,,1", "-1"] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad}");
        }
    }
}
