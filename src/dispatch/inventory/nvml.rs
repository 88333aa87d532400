//! GPUs by NVIDIA's management library, which is loaded while the program runs: a machine without it
//! has no GPU, and the program needs none to start.
//!
//! The library lists all GPUs of the machine; a program sees those that `CUDA_VISIBLE_DEVICES` leaves,
//! and of GPUs that are divided (MIG) one part, whatever else is there ("CUDA can only enumerate a
//! single compute instance", NVIDIA's guide to MIG). What a program would see is worked out here.

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::lack::Lack;
use super::{Gpu, GpuProcess};

/// The library that is looked for.
pub const LIBRARY: &str = "libnvidia-ml.so.1";

/// The variable that tells CUDA which GPUs a program may see.
pub const VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// What programs can see.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) gpus: Vec<Gpu>,
    /// Why there are none, if so.
    pub(super) lack: Lack,
    /// What a person should know.
    pub(super) notice: Option<String>,
}

impl Found {
    fn nothing(lack: Lack, notice: Option<String>) -> Self {
        Self { gpus: Vec::new(), lack, notice }
    }
}

/// A GPU of the machine.
#[derive(Debug, Clone)]
struct Whole {
    gpu: Gpu,
    /// Its parts, where it is divided.
    parts: Option<Vec<Gpu>>,
}

/// The GPUs that programs can see.
pub(super) fn gpus() -> Found {
    let broken = |error: &NvmlError| {
        let reason = format!("{LIBRARY} is here, but the driver does not work: {error}");
        Found::nothing(
            Lack::Broken(error.to_string()),
            Some(format!("GPUs are not used: {reason}")),
        )
    };
    let nvml = match open() {
        Ok(nvml) => nvml,
        // No library: nobody expects a GPU here.
        Err(NvmlError::LibloadingError(_)) => return Found::nothing(Lack::Absent, None),
        Err(error) => return broken(&error),
    };
    match all(&nvml) {
        Ok(all) => visible(&all, std::env::var(VARIABLE).ok().as_deref()),
        Err(error) => broken(&error),
    }
}

fn open() -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(LIBRARY.as_ref()).init()
}

fn all(nvml: &Nvml) -> Result<Vec<Whole>, NvmlError> {
    let whole = |index| {
        let device = nvml.device_by_index(index)?;
        Ok(Whole { gpu: describe(&device, index)?, parts: parts(&device) })
    };
    (0..nvml.device_count()?).map(whole).collect()
}

/// The parts of a GPU; `None` where it is not divided, or cannot be.
fn parts(device: &Device<'_>) -> Option<Vec<Gpu>> {
    if device.mig_mode().ok()?.current == 0 {
        return None;
    }
    let part = |index| describe(&device.mig_device_by_index(index).ok()?, index).ok();
    // So many there may be; places without one are passed over.
    Some((0..device.mig_device_count().unwrap_or(0)).filter_map(part).collect())
}

fn describe(device: &Device<'_>, number: u32) -> Result<Gpu, NvmlError> {
    let memory = device.memory_info()?;
    // Containers often hide the processes of others: their memory is in `free` all the same.
    let processes = device.running_compute_processes().unwrap_or_default();
    let process = |process: nvml_wrapper::struct_wrappers::device::ProcessInfo| GpuProcess {
        pid: process.pid,
        memory: match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
    };
    Ok(Gpu {
        number,
        name: device.name()?,
        uuid: device.uuid()?,
        memory: memory.total,
        free: memory.free,
        processes: processes.into_iter().map(process).collect(),
    })
}

impl Whole {
    /// What a program sees of it, and whether that is a part.
    fn seen(&self) -> Option<(&Gpu, bool)> {
        match &self.parts {
            None => Some((&self.gpu, false)),
            Some(parts) => parts.first().map(|part| (part, true)),
        }
    }

    /// What a name in the variable means here: a number, or the beginning of a UUID.
    fn named(&self, name: &str) -> Option<(&Gpu, bool)> {
        let is_it = match name.parse::<u32>() {
            Ok(number) => self.gpu.number == number,
            Err(_) => !name.is_empty() && self.gpu.uuid.starts_with(name),
        };
        if is_it {
            return self.seen();
        }
        let mut parts = self.parts.iter().flatten();
        let part = parts.find(|part| name.starts_with("MIG-") && part.uuid.starts_with(name));
        part.map(|part| (part, true))
    }
}

/// What of all GPUs a program sees, numbered as it sees them.
fn visible(all: &[Whole], variable: Option<&str>) -> Found {
    let (mut seen, mut notice) = match variable {
        None => (all.iter().filter_map(Whole::seen).collect(), None),
        Some(variable) => named(all, variable),
    };
    if let Some(part) = seen.iter().copied().find(|(_, is_part)| *is_part) {
        let devices: usize = all.iter().map(|whole| whole.parts.as_ref().map_or(1, Vec::len)).sum();
        let is_named = seen.len() == 1 && variable.is_some_and(|name| name.starts_with("MIG-"));
        if devices > 1 && !is_named {
            let Gpu { name, uuid, .. } = part.0;
            notice = Some(format!(
                "GPUs are divided here (MIG), and a program sees one part alone: {name} ({uuid}); for each \
                 of the others start a sweep of its own with {VARIABLE}=MIG-..."
            ));
        }
        seen = vec![part];
    }
    let lack = match variable {
        Some(value) if !all.is_empty() => Lack::Hidden(value.to_owned()),
        _ => Lack::Absent,
    };
    let gpus = (0..).zip(seen).map(|(number, (gpu, _))| Gpu { number, ..gpu.clone() }).collect();
    Found { gpus, lack, notice }
}

/// What the variable leaves, up to the first name that is none's, each with whether it is a part; and
/// what is wrong with it.
fn named<'a>(all: &'a [Whole], variable: &str) -> (Vec<(&'a Gpu, bool)>, Option<String>) {
    let mut seen: Vec<(&Gpu, bool)> = Vec::new();
    for name in variable.split(',').map(str::trim) {
        let Some((gpu, is_part)) = all.iter().find_map(|whole| whole.named(name)) else {
            // Others hide GPUs on purpose: nothing at all, -1, NoDevFiles.
            let is_meant = name.starts_with(|first: char| first.is_ascii_digit())
                || ["GPU-", "MIG-"].iter().any(|prefix| name.starts_with(prefix));
            let notice = format!(
                "{VARIABLE}={variable}: {name} is no GPU of this machine, so programs see what comes before \
                 it: {} of {} GPUs",
                seen.len(),
                all.len()
            );
            return (seen, is_meant.then_some(notice));
        };
        if seen.iter().any(|(other, _)| other.uuid == gpu.uuid) {
            let notice = format!("{VARIABLE}={variable} names a GPU twice, so programs see none");
            return (Vec::new(), Some(notice));
        }
        seen.push((gpu, is_part));
    }
    (seen, None)
}

/// Bytes that nobody uses on a GPU, now.
pub(super) fn free_memory(uuid: &str) -> Option<u64> {
    let nvml = open().ok()?;
    let memory = nvml.device_by_uuid(uuid).ok()?.memory_info().ok()?;
    Some(memory.free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(number: u32, uuid: &str) -> Gpu {
        Gpu {
            number,
            name: "X".to_owned(),
            uuid: uuid.to_owned(),
            memory: 1,
            free: 1,
            processes: Vec::new(),
        }
    }

    fn whole(number: u32) -> Whole {
        Whole { gpu: gpu(number, &format!("GPU-{number}abc")), parts: None }
    }

    fn seen(all: &[Whole], variable: Option<&str>) -> (Vec<String>, Option<String>) {
        let Found { gpus, notice, .. } = visible(all, variable);
        assert!(gpus.iter().map(|gpu| gpu.number).eq(0..gpus.len() as u32), "{gpus:?}");
        (gpus.into_iter().map(|gpu| gpu.uuid).collect(), notice)
    }

    #[test]
    fn the_variable_of_cuda_chooses_and_numbers_gpus() {
        let all: Vec<Whole> = (0..4).map(whole).collect();
        let all_of_them = ["GPU-0abc", "GPU-1abc", "GPU-2abc", "GPU-3abc"];
        for (variable, expected) in [
            (None, &all_of_them[..]),
            (Some("3,1"), &["GPU-3abc", "GPU-1abc"]),
            (Some(" 2 , 0"), &["GPU-2abc", "GPU-0abc"]),
            (Some("GPU-2"), &["GPU-2abc"]),
            (Some(""), &[]),
            (Some("-1"), &[]),
            (Some("0,-1,2"), &["GPU-0abc"]),
            (Some("NoDevFiles"), &[]),
        ] {
            let expected = expected.iter().map(|&uuid| uuid.to_owned()).collect();
            assert_eq!(seen(&all, variable), (expected, None), "{variable:?}");
        }
        assert_eq!(visible(&all, Some("-1")).lack, Lack::Hidden("-1".to_owned()));
        assert_eq!(visible(&[], Some("0")).lack, Lack::Absent);
    }

    #[test]
    fn a_name_that_is_no_gpus_or_comes_twice_is_told() {
        let all: Vec<Whole> = (0..4).map(whole).collect();
        let told: Vec<String> = ["GPU-2,9,1", "7", "GPU-x", "1,GPU-1abc"]
            .map(|variable| {
                let (uuids, notice) = seen(&all, Some(variable));
                format!("{}: {}", uuids.join(" "), notice.unwrap())
            })
            .into();
        insta::assert_snapshot!(told.join("\n"), @"
        GPU-2abc: CUDA_VISIBLE_DEVICES=GPU-2,9,1: 9 is no GPU of this machine, so programs see what comes before it: 1 of 4 GPUs
        : CUDA_VISIBLE_DEVICES=7: 7 is no GPU of this machine, so programs see what comes before it: 0 of 4 GPUs
        : CUDA_VISIBLE_DEVICES=GPU-x: GPU-x is no GPU of this machine, so programs see what comes before it: 0 of 4 GPUs
        : CUDA_VISIBLE_DEVICES=1,GPU-1abc names a GPU twice, so programs see none
        ");
    }

    #[test]
    fn of_divided_gpus_a_program_sees_one_part() {
        let divided = |number: u32, parts: &[&str]| {
            let parts = parts.iter().map(|uuid| gpu(0, uuid)).collect();
            Whole { parts: Some(parts), ..whole(number) }
        };
        let all = [whole(0), divided(1, &["MIG-a", "MIG-b"]), divided(2, &["MIG-c"])];
        for (variable, expected, is_told) in [
            (None, "MIG-a", true),
            (Some("MIG-b"), "MIG-b", false),
            (Some("MIG-c,MIG-b"), "MIG-c", true),
            (Some("2"), "MIG-c", true),
            (Some("GPU-1"), "MIG-a", true),
            (Some("0"), "GPU-0abc", false),
        ] {
            let (uuids, notice) = seen(&all, variable);
            assert_eq!((&uuids[..], notice.is_some()), (&[expected.to_owned()][..], is_told));
        }
        // A container that was given one part, and a GPU that is divided into none yet.
        assert_eq!(seen(&all[2..], None), (vec!["MIG-c".to_owned()], None));
        assert_eq!(seen(&[divided(0, &[]), whole(1)], None), (vec!["GPU-1abc".to_owned()], None));
        let (_, notice) = seen(&all, None);
        insta::assert_snapshot!(notice.unwrap(), @"GPUs are divided here (MIG), and a program sees one part alone: X (MIG-a); for each of the others start a sweep of its own with CUDA_VISIBLE_DEVICES=MIG-...");
    }

    #[test]
    fn a_machine_without_the_library_has_no_gpu_and_nothing_to_say() {
        if open().is_ok() {
            return;
        }
        let found = gpus();
        assert_eq!((found.gpus, found.lack), (vec![], Lack::Absent));
        assert_eq!(free_memory("GPU-0"), None);
    }
}
