//! GPUs by NVIDIA's management library, which is loaded while the program runs: a machine without it
//! has no GPU, and the program needs none to start.

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;

use super::{Gpu, GpuProcess};

/// The library that is looked for.
pub const LIBRARY: &str = "libnvidia-ml.so.1";

/// The variable of CUDA that chooses among GPUs.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// The GPUs that programs can see, and what is wrong with their driver.
pub(super) fn gpus() -> (Vec<Gpu>, Option<String>) {
    let nvml = match open() {
        Ok(nvml) => nvml,
        // No library: nobody expects a GPU here.
        Err(NvmlError::LibloadingError(_)) => return (Vec::new(), None),
        Err(error) => return (Vec::new(), Some(broken(&error))),
    };
    match all(&nvml) {
        Ok(all) => (visible(all, std::env::var(VISIBLE).ok().as_deref()), None),
        Err(error) => (Vec::new(), Some(broken(&error))),
    }
}

/// Why programs see no GPU, where they see none and the driver has nothing to say.
pub fn why_no_gpu() -> String {
    let known = open().and_then(|nvml| nvml.device_count());
    match (known, std::env::var(VISIBLE)) {
        (Err(_), _) => format!("{LIBRARY}, which NVIDIA's driver brings, is not there"),
        (Ok(1..), Ok(variable)) => format!("{VISIBLE}={variable} names none that the driver knows"),
        (Ok(_), _) => "the driver knows none".to_owned(),
    }
}

fn open() -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(LIBRARY.as_ref()).init()
}

fn broken(error: &NvmlError) -> String {
    format!("GPUs are not used: {LIBRARY} is here, but the driver does not work: {error}")
}

fn all(nvml: &Nvml) -> Result<Vec<Gpu>, NvmlError> {
    (0..nvml.device_count()?).map(|index| describe(nvml, index)).collect()
}

fn describe(nvml: &Nvml, index: u32) -> Result<Gpu, NvmlError> {
    let device = nvml.device_by_index(index)?;
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
        number: index,
        name: device.name()?,
        uuid: device.uuid()?,
        memory: memory.total,
        free: memory.free,
        processes: processes.into_iter().map(process).collect(),
    })
}

/// What `CUDA_VISIBLE_DEVICES` leaves of all GPUs, numbered as a program sees them: numbers or the
/// beginnings of UUIDs, up to the first that names none.
fn visible(all: Vec<Gpu>, variable: Option<&str>) -> Vec<Gpu> {
    let Some(variable) = variable else { return all };
    let named = |name: &str| {
        let name = name.trim();
        let is = |gpu: &&Gpu| match name.parse::<u32>() {
            Ok(number) => gpu.number == number,
            Err(_) => !name.is_empty() && gpu.uuid.starts_with(name),
        };
        all.iter().find(is).cloned()
    };
    let visible = variable.split(',').map_while(named);
    (0..).zip(visible).map(|(number, gpu)| Gpu { number, ..gpu }).collect()
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

    fn gpu(number: u32) -> Gpu {
        Gpu {
            number,
            name: "X".to_owned(),
            uuid: format!("GPU-{number}abc"),
            memory: 1,
            free: 1,
            processes: Vec::new(),
        }
    }

    #[test]
    fn the_variable_of_cuda_chooses_and_numbers_gpus() {
        let seen = |variable| {
            let seen = visible((0..4).map(gpu).collect(), variable);
            let seen = seen.into_iter().map(|gpu| (gpu.number, gpu.uuid));
            seen.collect::<Vec<(u32, String)>>()
        };
        assert_eq!(seen(None).len(), 4);
        assert_eq!(seen(Some("3,1")), [(0, "GPU-3abc".to_owned()), (1, "GPU-1abc".to_owned())]);
        assert_eq!(
            seen(Some("GPU-2,9,1")),
            [(0, "GPU-2abc".to_owned())],
            "up to what is not there"
        );
        assert_eq!(seen(Some("")), []);
        assert_eq!(seen(Some("-1")), []);
    }

    #[test]
    fn a_machine_without_the_library_has_no_gpu_and_nothing_to_say() {
        if open().is_ok() {
            return;
        }
        let (gpus, _) = gpus();
        assert_eq!(gpus, []);
        assert_eq!(free_memory("GPU-0"), None);
    }
}
