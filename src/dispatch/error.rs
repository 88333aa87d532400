//! Why a sweep cannot be executed.

use super::inventory::InventoryError;
use crate::record::RecordError;

/// Why a sweep cannot be executed (a failing *run* is no error of the sweep).
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The record could not be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A GPU was chosen that is not there.
    #[error("there is no GPU {number}: {found}")]
    NoSuchGpu {
        /// Which.
        number: u32,
        /// What there is.
        found: String,
    },
    /// A described machine is none.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Signals could not be caught.
    #[error("cannot catch signals")]
    Signals(#[source] std::io::Error),
    /// The system gives no thread to show the progress.
    #[error("cannot start a thread to show the progress; `ulimit -u` is how many there may be")]
    Thread(#[source] std::io::Error),
    /// The program cannot find itself to start workers.
    #[error("cannot find the program's own file to start workers")]
    NoProgram(#[source] std::io::Error),
}
