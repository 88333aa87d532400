//! Why there are no GPUs to train on, for whoever asked for one.

use std::fmt;

use super::nvml::{LIBRARY, VARIABLE};

/// Why there are no GPUs, where there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The machine has none, or no driver for them.
    Absent,
    /// The driver does not work: what it says.
    Broken(String),
    /// The variable of CUDA hides them; its value.
    Hidden(String),
    /// A person wants cores alone.
    NotChosen,
}

/// Reads after "needs a GPU, and".
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("this machine has none"),
            Self::Broken(reason) => write!(f, "this machine's driver does not work: {reason}"),
            Self::Hidden(value) => write!(f, "{VARIABLE}={value} hides those of this machine"),
            Self::NotChosen => f.write_str("--devices none leaves those of this machine out"),
        }
    }
}

impl Lack {
    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::Absent => {
                format!("GPUs are found through {LIBRARY}, which NVIDIA's driver brings")
            }
            Self::Broken(_) => {
                "`nvidia-smi` may tell more; after an update of the driver the machine \
                                wants a restart"
                    .to_owned()
            }
            Self::Hidden(_) => format!("unset {VARIABLE}, or name GPUs in it"),
            Self::NotChosen => "leave --devices out, or choose GPUs by their numbers".to_owned(),
        }
    }
}
