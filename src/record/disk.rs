//! Room on the disk that a record is on.

use std::path::Path;

use rustix::fs::statvfs;

/// Bytes that this user may still write where `path` is, or will be: of the nearest folder above it
/// that is there. `None` where the file system does not tell.
pub fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|folder| folder.exists())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let told = statvfs(there).ok()?;
    // Some file systems over a network know neither their size nor what is free.
    (told.f_blocks > 0).then(|| told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_to_be_made_has_the_room_of_the_one_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let there = free(folder.path()).unwrap();
        let below = free(&folder.path().join("runs/lr")).unwrap();
        // Others write meanwhile.
        assert!(there > 0 && below.abs_diff(there) < there / 2, "{there} {below}");
        assert!(free(Path::new("runs/of/a/sweep/that/is/not/there")).is_some());
    }
}
