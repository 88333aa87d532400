//! A machine described by a file, for plans of what is not there yet and for tests.
//!
//! ```toml
//! cores = 64
//! memory_gib = 512
//! [[gpu]]
//! name = "NVIDIA H100 80GB HBM3"
//! memory_gib = 80
//! free_gib = 79       # of each; all of it where not said
//! count = 8           # 1 where not said
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeTable;

use super::{Gpu, Inventory, Lack};
use crate::spec::node::Node;

/// Why a file describes no machine.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It cannot be read.
    #[error("cannot read the inventory {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is no description of a machine.
    #[error("the inventory {} describes no machine: {reason}", path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    cores: u32,
    memory_gib: f64,
    #[serde(default)]
    gpu: Vec<DescribedGpu>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedGpu {
    name: String,
    memory_gib: f64,
    free_gib: Option<f64>,
    #[serde(default = "one")]
    count: u32,
}

fn one() -> u32 {
    1
}

pub(super) fn read(path: &Path) -> Result<Inventory, InventoryError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| InventoryError::Unreadable { path: path.to_owned(), cause })?;
    parse(&text).map_err(|reason| InventoryError::Wrong { path: path.to_owned(), reason })
}

pub(super) fn parse(text: &str) -> Result<Inventory, String> {
    let table = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let json = Node::from_table(&table, 0, 0).to_json();
    let machine: Described = serde_json::from_value(json).map_err(|error| error.to_string())?;
    if machine.cores == 0 || machine.cores > 65_536 {
        return Err(format!("cores = {} is not between 1 and 65536", machine.cores));
    }
    let mut gpus = Vec::new();
    for gpu in &machine.gpu {
        let memory = bytes("memory_gib", gpu.memory_gib)?;
        let free = bytes("free_gib", gpu.free_gib.unwrap_or(gpu.memory_gib))?.min(memory);
        if gpu.count > 4096 {
            return Err(format!("count = {} is more than 4096", gpu.count));
        }
        for _ in 0..gpu.count {
            let number = u32::try_from(gpus.len()).unwrap_or(u32::MAX);
            let uuid = format!("described-{number}");
            let name = gpu.name.clone();
            gpus.push(Gpu { number, name, uuid, memory, free, processes: Vec::new() });
        }
    }
    Ok(Inventory {
        gpus,
        lack: Lack::Absent,
        cores: (0..machine.cores).collect(),
        memory: bytes("memory_gib", machine.memory_gib)?,
        is_described: true,
        notices: Vec::new(),
    })
}

fn bytes(name: &str, gib: f64) -> Result<u64, String> {
    if gib > 0.0 && gib < 1e9 {
        return Ok((gib * f64::from(1 << 30)) as u64);
    }
    Err(format!("{name} = {gib} is no amount of memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_and_nonsense_refused() {
        let text = "cores = 4\nmemory_gib = 0.5\n[[gpu]]\nname = \"X\"\nmemory_gib = 2\nfree_gib = 1.5\ncount = 2";
        let machine = parse(text).unwrap();
        assert_eq!((machine.cores.len(), machine.memory, machine.gpus.len()), (4, 1 << 29, 2));
        assert_eq!((machine.gpus[1].number, machine.gpus[1].free), (1, 3 << 29));
        for bad in [
            "",
            "cores = 0\nmemory_gib = 1",
            "cores = 1\nmemory_gib = -1",
            "cores = 1\nmemory_gib = nan",
            "cores = 1\nmemory_gib = 1\nram = 3",
            "cores = 1\nmemory_gib = 1\n[[gpu]]\nname = \"X\"\nmemory_gib = 0",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let error = read(Path::new("no/such/file")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the inventory no/such/file: "), "{error}");
    }
}
