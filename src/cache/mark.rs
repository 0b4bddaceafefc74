//! A file that did not change → a mark it is known by, without reading it.

use blake3::{Hash, Hasher};
use std::fs::{File, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file changed more recently than this may change again without its time telling: FAT counts
/// in steps of two seconds.
const SETTLES_AFTER: Duration = Duration::from_secs(2);

/// Keeps the marks of open files, which stand for a SHA-256, from those of images.
const OPEN_FILE: &str = "clipclass 2026-11-25 SHA-256 of an open file";

/// What can be known of a file without reading it: where it is, its size and its times.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileMark {
    hash: Hash,
    modified: SystemTime,
}

impl FileMark {
    /// Looks at the regular file of that path, through links.
    pub fn of(path: &Path) -> Option<Self> {
        Self::with(Hasher::new(), &path.metadata().ok()?, path)
    }

    /// Looks at an open file, found at `path`, whatever is there now.
    pub fn of_open(file: &File, path: &Path) -> Option<Self> {
        Self::with(Hasher::new_derive_key(OPEN_FILE), &file.metadata().ok()?, path)
    }

    fn with(mut hasher: Hasher, metadata: &Metadata, path: &Path) -> Option<Self> {
        if !metadata.is_file() {
            return None;
        }
        let modified = metadata.modified().ok()?;
        for number in [metadata.len().into(), nanoseconds(modified)].into_iter().chain(identity(metadata)) {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(std::path::absolute(path).ok()?.as_os_str().as_encoded_bytes());
        Some(Self { hash: hasher.finalize(), modified })
    }

    /// The mark, unless the file changed so recently that the next change could look the same.
    pub fn settled(self) -> Option<Hash> {
        let age = SystemTime::now().duration_since(self.modified).ok()?;
        (age >= SETTLES_AFTER).then_some(self.hash)
    }
}

/// Device, inode and time of the last change of either content or metadata, which no program can
/// set: a file swapped or written behind its modification time's back is noticed.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> [i128; 4] {
    use std::os::unix::fs::MetadataExt;
    [metadata.dev().into(), metadata.ino().into(), metadata.ctime().into(), metadata.ctime_nsec().into()]
}

#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> [i128; 1] {
    [metadata.created().map_or(0, nanoseconds)]
}

fn nanoseconds(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn make_settled(path: &Path) {
        let then = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    fn mark(path: &Path) -> Option<Hash> {
        FileMark::of(path).and_then(FileMark::settled)
    }

    #[test]
    fn mark_stays_with_an_unchanged_file_and_changes_with_its_size_time_and_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        make_settled(&path);
        let first = mark(&path).unwrap();
        assert_eq!(mark(&path), Some(first));

        fs::write(&path, "longer").unwrap();
        make_settled(&path);
        assert_ne!(mark(&path).unwrap(), first);
        fs::write(&path, "two").unwrap();
        let then = SystemTime::now() - Duration::from_secs(600);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        assert_ne!(mark(&path).unwrap(), first);
    }

    #[cfg(unix)]
    #[test]
    fn file_rewritten_with_its_old_size_and_modification_time_has_another_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        make_settled(&path);
        let modified = path.metadata().unwrap().modified().unwrap();
        let first = mark(&path).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(mark(&path).unwrap(), first);
    }

    #[test]
    fn file_that_changed_just_now_has_no_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        assert_eq!(mark(&path), None);
    }

    #[test]
    fn folder_and_missing_file_have_no_mark() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(mark(folder.path()), None);
        assert_eq!(mark(&folder.path().join("missing")), None);
    }

    #[cfg(unix)]
    #[test]
    fn open_file_keeps_its_mark_when_another_takes_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let other = folder.path().join("other");
        fs::write(&path, "one").unwrap();
        fs::write(&other, "two").unwrap();
        make_settled(&path);
        make_settled(&other);
        let opened = File::open(&path).unwrap();
        let of_open = || FileMark::of_open(&opened, &path).unwrap().settled().unwrap();
        fs::rename(&other, &path).unwrap();
        let new = File::open(&path).unwrap();
        assert_ne!(FileMark::of_open(&new, &path).unwrap().settled().unwrap(), of_open());
        // One mark stands for a SHA-256, the other for the content of an image.
        assert_ne!(mark(&path).unwrap(), FileMark::of_open(&new, &path).unwrap().settled().unwrap());
    }
}
