//! Who may read and change the record: whoever may read and change the sweep's folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::Mode;

use super::error::RecordError;

/// Lets what this process makes from now on be as open as `folder`: where people share a sweep, none may shut
/// the others out by a umask of their own.
///
/// # Errors
/// What the system refuses.
pub fn share_as(folder: &Path) -> Result<(), RecordError> {
    let metadata = fs::metadata(folder).map_err(RecordError::io("look at", folder))?;
    let closed = !metadata.permissions().mode() & 0o077;
    rustix::process::umask(Mode::from_raw_mode(closed));
    Ok(())
}
