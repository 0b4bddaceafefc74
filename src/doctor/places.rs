//! Folders → whether they can be written to, and how much room there is.

use std::io;
use std::path::Path;

/// Whether files can be made in a folder, or in the one where it would be made.
///
/// *Errors* with the system's reason when they cannot.
pub(super) fn try_to_write(folder: &Path) -> io::Result<()> {
    // A temporary file goes away by itself.
    tempfile::tempfile_in(nearest(folder)).map(drop)
}

/// Bytes that a user may still write there; absent where the system does not say.
#[cfg(unix)]
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    // As in `cache`, which asks whether the folder is on a network.
    let found = rustix::fs::statvfs(nearest(folder)).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
pub(super) fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

/// The folder, or what of the path to it is there.
fn nearest(folder: &Path) -> &Path {
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    folder.ancestors().filter(|path| !path.as_os_str().is_empty()).find(is_there).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_where_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        try_to_write(&folder.path().join("a/b")).unwrap();
        assert!(!folder.path().join("a").exists());
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(try_to_write(&folder.path().join("file/b")).is_err());
        assert_eq!(nearest(Path::new("not-there/at-all")), Path::new("."));
        if cfg!(unix) {
            assert!(free_bytes(&folder.path().join("a")).is_some());
        }
    }
}
