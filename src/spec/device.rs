//! `device`: where a run trains, and the names of the devices that it is given.

use std::fmt;
use std::str::FromStr;

use super::word::words;

words! {
    /// Where a run trains.
    Device, "a device" {
        /// On a GPU, where this machine has one and the program was built for it; on cores otherwise.
        Auto = "auto",
        /// On cores.
        Cpu = "cpu",
        /// On a GPU; refused where there is none.
        Cuda = "cuda",
    }
}

/// One device as a worker is told of it: `cpu`, `cuda:0`. A rank has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceId {
    /// The cores; several ranks share them.
    Cpu,
    /// A GPU, by its number in the order of the PCI bus, among those that are visible.
    Cuda(u32),
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(number) => f.pad(&format!("cuda:{number}")),
        }
    }
}

/// The text names no device.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no device: expected cpu or cuda:N")]
pub struct BadDeviceId(String);

impl FromStr for DeviceId {
    type Err = BadDeviceId;

    fn from_str(text: &str) -> Result<Self, BadDeviceId> {
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        number.map(Self::Cuda).ok_or_else(|| BadDeviceId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_survives_its_text() {
        for device in [DeviceId::Cpu, DeviceId::Cuda(0), DeviceId::Cuda(15)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for bad in ["", "gpu", "cuda", "cuda:", "cuda:-1", "CPU"] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
    }
}
