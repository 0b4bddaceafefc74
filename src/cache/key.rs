//! Models, prompts, images and files → the digests they are found by.
//!
//! Only digests reach the disk: no prompt and no file name can be read back from the cache. A file
//! that did not change is known by its [`FileMark`], so that it need not be read.

use blake3::{Hash, Hasher};
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Raised whenever a change of the crate alters any digit of an embedding: of decoding, resizing,
/// tokenizing or the network.
const ARITHMETIC: u32 = 2;

/// A file changed more recently than this may change again without its time telling: FAT counts
/// in steps of two seconds.
const SETTLES_AFTER: Duration = Duration::from_secs(2);

/// What an embedding depends on, besides its prompt or image.
#[derive(Debug, Clone)]
pub struct ModelKey<'a> {
    /// What the user calls the model.
    pub name: &'a str,
    /// Every file that says what the model computes, in a fixed order.
    pub files: &'a [&'a Path],
    /// Device, precision and preprocessing, in any spelling that differs where they do.
    pub settings: &'a str,
    /// Width of an embedding, `D`.
    pub dim: usize,
}

/// Under which an image is kept; learned step by step, the cheap ones first.
#[derive(Debug, Clone, Default)]
pub struct ImageKey {
    pub(super) mark: Option<Hash>,
    pub(super) content: Option<Hash>,
}

impl ImageKey {
    /// The key of a file that is not read: enough where it was seen before and did not change.
    pub fn of_file(path: &Path) -> Self {
        Self { mark: FileMark::of(path).and_then(FileMark::settled), content: None }
    }

    /// The key of encoded bytes without a file.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::default().with_bytes(bytes)
    }

    /// Adds the digest of the encoded bytes, read after the key was made.
    pub fn with_bytes(self, bytes: &[u8]) -> Self {
        Self { content: Some(blake3::hash(bytes)), ..self }
    }
}

/// What can be known of a file without reading it: where it is, its size and its times.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileMark {
    hash: Hash,
    modified: SystemTime,
}

impl FileMark {
    /// Looks at a regular file, through links.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok().filter(Metadata::is_file)?;
        let modified = metadata.modified().ok()?;
        let mut hasher = Hasher::new();
        for number in [metadata.len().into(), nanoseconds(modified)].into_iter().chain(identity(&metadata)) {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(std::path::absolute(path).ok()?.as_os_str().as_encoded_bytes());
        Some(Self { hash: hasher.finalize(), modified })
    }

    /// The mark, unless the file changed so recently that the next change could look the same.
    pub(super) fn settled(self) -> Option<Hash> {
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

/// The embedding space of a model: what all its keys depend on.
///
/// `remembered` finds a file's digest by its mark, and `remember` keeps one that was computed.
///
/// *Errors* when a file cannot be read.
pub(super) fn space(
    model: &ModelKey,
    remembered: impl Fn(Hash) -> Option<Hash>,
    remember: impl Fn(Hash, Hash),
) -> io::Result<Hash> {
    let mut hasher = Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    add(&ARITHMETIC.to_le_bytes());
    add(kernels().as_bytes());
    add(model.settings.as_bytes());
    add(&(model.dim as u64).to_le_bytes());
    for path in model.files {
        add(path.file_name().unwrap_or_default().as_encoded_bytes());
        if let Some(name) = blob_name(path) {
            add(name.as_bytes());
            continue;
        }
        let mark = FileMark::of(path);
        let settled = mark.and_then(FileMark::settled);
        let digest = match settled.and_then(&remembered) {
            Some(digest) => digest,
            None => {
                let digest = hash_file(path)?;
                if let Some(mark) = settled {
                    remember(mark, digest);
                }
                digest
            }
        };
        add(digest.as_bytes());
    }
    Ok(hasher.finalize())
}

/// The name of a file of the Hugging Face cache, which is the SHA-1 or SHA-256 of its content.
///
/// Mirrors may name blobs otherwise; those are hashed like any file.
fn blob_name(path: &Path) -> Option<String> {
    let blob = path.canonicalize().ok()?;
    let name = blob.file_name()?.to_str()?;
    let is_digest = matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_blob = blob.parent()?.file_name()? == "blobs";
    (is_digest && is_blob).then(|| format!("{name} {}", blob.metadata().map_or(0, |found| found.len())))
}

fn hash_file(path: &Path) -> io::Result<Hash> {
    let mut hasher = Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

/// What the last digits depend on besides the crate: a home folder may serve several machines.
fn kernels() -> String {
    #[cfg(target_arch = "x86_64")]
    let level = (is_x86_feature_detected!("avx2"), is_x86_feature_detected!("avx512f"));
    #[cfg(not(target_arch = "x86_64"))]
    let level = ();
    format!("{} {level:?}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;

    fn make_settled(path: &Path) {
        let then = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }

    fn space_of(files: &[&Path], settings: &str) -> Hash {
        space(&ModelKey { name: "tiny", files, settings, dim: 4 }, |_| None, |_, _| {}).unwrap()
    }

    #[test]
    fn mark_stays_with_an_unchanged_file_and_changes_with_its_size_time_and_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        make_settled(&path);
        let mark = ImageKey::of_file(&path).mark.unwrap();
        assert_eq!(ImageKey::of_file(&path).mark, Some(mark));

        fs::write(&path, "longer").unwrap();
        make_settled(&path);
        assert_ne!(ImageKey::of_file(&path).mark.unwrap(), mark);
        fs::write(&path, "two").unwrap();
        let then = SystemTime::now() - Duration::from_secs(600);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        assert_ne!(ImageKey::of_file(&path).mark.unwrap(), mark);
    }

    #[cfg(unix)]
    #[test]
    fn file_rewritten_with_its_old_size_and_modification_time_has_another_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        make_settled(&path);
        let modified = path.metadata().unwrap().modified().unwrap();
        let mark = ImageKey::of_file(&path).mark.unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(ImageKey::of_file(&path).mark.unwrap(), mark);
    }

    #[test]
    fn file_that_changed_just_now_has_no_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        fs::write(&path, "one").unwrap();
        assert_eq!(ImageKey::of_file(&path).mark, None);
    }

    #[test]
    fn folder_and_missing_file_have_no_mark() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ImageKey::of_file(folder.path()).mark, None);
        assert_eq!(ImageKey::of_file(&folder.path().join("missing")).mark, None);
    }

    #[test]
    fn space_depends_on_content_and_settings_but_not_on_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| {
            fs::create_dir(folder.path().join(name)).unwrap();
            folder.path().join(name).join("model.safetensors")
        });
        fs::write(&paths[0], "weights").unwrap();
        fs::write(&paths[1], "weights").unwrap();
        fs::write(&paths[2], "weightz").unwrap();
        assert_eq!(space_of(&[&paths[0]], "f32"), space_of(&[&paths[1]], "f32"));
        assert_ne!(space_of(&[&paths[0]], "f32"), space_of(&[&paths[2]], "f32"));
        assert_ne!(space_of(&[&paths[0]], "f32"), space_of(&[&paths[0]], "int8"));
    }

    #[test]
    fn file_of_the_hub_is_known_by_its_blob_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs");
        fs::create_dir(&blobs).unwrap();
        for (name, is_digest) in [("c0ffee".repeat(8)[..40].to_string(), true), ("etag".to_string(), false)] {
            let blob = blobs.join(name);
            fs::write(&blob, "weights").unwrap();
            let before = space_of(&[&blob], "f32");
            fs::write(&blob, "weightz").unwrap();
            assert_eq!(space_of(&[&blob], "f32") == before, is_digest);
        }
    }

    #[test]
    fn remembered_file_is_not_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, "weights").unwrap();
        make_settled(&path);
        let model = ModelKey { name: "tiny", files: &[&path], settings: "", dim: 4 };
        let kept = Cell::new(None);
        let first = space(&model, |_| None, |mark, digest| kept.set(Some((mark, digest)))).unwrap();
        let (mark, digest) = kept.get().unwrap();
        let again = space(&model, |asked| (asked == mark).then_some(digest), |_, _| panic!("hashed"));
        assert_eq!(again.unwrap(), first);
    }
}
