//! The shared cache: a commit and a file's name → a file on the disk, and back.
//!
//! ```text
//! models--owner--name/refs/main                      the commit that a branch or tag was last seen at
//!                     snapshots/<commit>/<file>      a link to the file's content
//!                     blobs/<etag>                   a content, under the hub's name for it
//!                     blobs/<etag>.incomplete        the beginning of one
//!                     .no_exist/<commit>/<file>      an empty file: the commit is known to lack <file>
//! .locks/models--owner--name/<etag>.lock             held by whoever downloads <etag>
//! ```
//!
//! Layout and locks are those of Python's `huggingface_hub`; where a repository and a commit have
//! their folders, hf-hub knows. Where links cannot be made, a snapshot holds the contents themselves.

use hf_hub::{CacheRepo, Repo};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::{process, thread};

/// One repository's part of the hub cache.
pub struct HubCache {
    layout: CacheRepo,
    folder: PathBuf,
    locks: PathBuf,
}

/// What the cache says of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Cached {
    /// It is here.
    File(PathBuf),
    /// The revision has no such file.
    Absent,
    /// Only the hub can say.
    Unknown,
}

/// The right to write one blob.
pub struct BlobLock {
    /// Unlocked when closed; absent where the file system has no locks.
    file: Option<File>,
}

impl HubCache {
    /// The part of repository `id` in the cache folder `hub`.
    pub fn new(hub: &Path, id: &str) -> Self {
        let repository = Repo::model(id.to_owned());
        let name = repository.folder_name();
        let layout = hf_hub::Cache::new(hub.to_owned()).repo(repository);
        Self { layout, folder: hub.join(&name), locks: hub.join(".locks").join(name) }
    }

    /// Where all of it is, but the locks.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit that `revision` is, if it was seen before.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Looks for `file` of `revision`.
    pub fn look_up(&self, revision: &str, file: &str) -> Cached {
        let Some(commit) = self.commit(revision) else { return Cached::Unknown };
        if let Some(path) = self.whole(&commit, file) {
            Cached::File(path)
        } else if self.no_exist(&commit).join(file).is_file() {
            Cached::Absent
        } else {
            Cached::Unknown
        }
    }

    /// Bytes of all contents that are here, and of those that have begun.
    pub fn bytes(&self) -> u64 {
        let snapshots = fs::read_dir(self.folder.join("snapshots")).into_iter().flatten().flatten();
        let folders = snapshots.map(|snapshot| snapshot.path()).chain([self.folder.join("blobs")]);
        let files = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        // Links are not followed: where contents are in the snapshots themselves, there are none.
        let sizes = files.filter_map(|file| file.metadata().ok()).filter(|file| file.is_file());
        sizes.map(|file| file.len()).sum()
    }

    /// Where the content with this etag belongs.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where the beginning of the content with this etag grows.
    pub fn partial(&self, etag: &str, lock: &BlobLock) -> PathBuf {
        // Without locks, nobody else may write to it.
        let owner = if lock.file.is_some() { String::new() } else { format!(".{}", me()) };
        self.folder.join("blobs").join(format!("{etag}{owner}.incomplete"))
    }

    /// Waits until nobody else writes the blob with this etag, calling `on_wait` if somebody does.
    pub fn lock(&self, etag: &str, on_wait: impl FnOnce()) -> io::Result<BlobLock> {
        fs::create_dir_all(self.folder.join("blobs"))?;
        fs::create_dir_all(&self.locks)?;
        let path = self.locks.join(format!("{etag}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                on_wait();
                file.lock()?;
                true
            }
            Err(TryLockError::Error(_)) => false,
        };
        Ok(BlobLock { file: locked.then_some(file) })
    }

    /// `file` of `commit`, if it is here, as what it links to or as itself.
    pub fn whole(&self, commit: &str, file: &str) -> Option<PathBuf> {
        Some(self.snapshot(commit).join(file)).filter(|path| path.is_file())
    }

    /// Makes the blob with this etag `file` of `commit`.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> io::Result<PathBuf> {
        self.link_by(symlink, commit, file, etag)
    }

    /// As `link`, by what makes a link to its first argument at its second.
    fn link_by(
        &self,
        symlink: impl Fn(&Path, &Path) -> io::Result<()>,
        commit: &str,
        file: &str,
        etag: &str,
    ) -> io::Result<PathBuf> {
        let snapshot = self.snapshot(commit);
        fs::create_dir_all(&snapshot)?;
        let link = snapshot.join(file);
        let target: PathBuf = ["..", "..", "blobs", etag].iter().collect();
        let mut linked = symlink(&target, &link);
        if linked.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) && !link.is_file() {
            // Its blob was deleted.
            fs::remove_file(&link)?;
            linked = symlink(&target, &link);
        }
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // No links on this file system, or, on Windows, no right to make them.
            Err(_) => fs::rename(self.blob(etag), &link)?,
            Ok(()) => {}
        }
        Ok(link)
    }

    /// Remembers that `revision` is `commit`.
    pub fn set_commit(&self, revision: &str, commit: &str) -> io::Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // A reader sees the whole commit or none.
        let new = self.folder.join(format!(".ref.{}", me()));
        fs::write(&new, commit)?;
        fs::rename(new, path)
    }

    /// Remembers that `commit` has no `file`.
    pub fn set_absent(&self, commit: &str, file: &str) -> io::Result<()> {
        let folder = self.no_exist(commit);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(file), "")
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    fn no_exist(&self, commit: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit)
    }
}

/// What tells this thread's files from those of others.
fn me() -> String {
    format!("{}-{:?}", process::id(), thread::current().id())
}

/// Whether `text` is a full commit hash.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn where_links_cannot_be_made_a_snapshot_holds_the_content_itself() {
        let folder = tempfile::tempdir().unwrap();
        let cache = HubCache::new(folder.path(), "someone/model");
        for (file, etag) in [("config.json", "c1"), ("model.safetensors", "c2")] {
            drop(cache.lock(etag, || ()).unwrap());
            fs::write(cache.blob(etag), etag).unwrap();
            let unsupported = |_: &Path, _: &Path| Err(ErrorKind::Unsupported.into());
            let path = cache.link_by(unsupported, COMMIT, file, etag).unwrap();
            assert!(path.symlink_metadata().unwrap().is_file() && !cache.blob(etag).exists());
            // What others find that waited for it.
            assert_eq!(cache.whole(COMMIT, file), Some(path.clone()));
            assert_eq!(cache.look_up(COMMIT, file), Cached::File(path.clone()));
            assert_eq!(fs::read_to_string(path).unwrap(), etag);
        }
        assert_eq!(cache.bytes(), 4);
    }
}
