//! A file of a model, opened once: what is read, mapped and digested is one and the same file,
//! whatever takes its name in the meantime.

use anyhow::{Context, Result, bail, ensure};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How the stand-in begins that Git leaves for a large file that was not fetched.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What a file says of its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    Config,
    Preprocessor,
    Tokenizer,
    Vocabulary,
    Merges,
    Weights,
}

impl fmt::Display for FileRole {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "configuration",
            Self::Preprocessor => "preprocessing",
            Self::Tokenizer => "tokenizer",
            Self::Vocabulary => "vocabulary",
            Self::Merges => "merges",
            Self::Weights => "weights",
        })
    }
}

/// A file of a model, held open.
#[derive(Debug)]
pub struct OpenFile {
    role: FileRole,
    path: PathBuf,
    file: File,
    state: FileState,
    /// Held while the file is read through its one position.
    reading: Mutex<()>,
}

impl OpenFile {
    /// Opens a file.
    ///
    /// *Errors* when it cannot be read, or is only Git LFS's pointer to the real one.
    pub fn open(role: FileRole, path: &Path) -> Result<Self> {
        let open = || {
            let file = File::open(path)?;
            let state = FileState::of(&file.metadata()?);
            let opened = Self { role, path: path.to_owned(), file, state, reading: Mutex::new(()) };
            let mut start = Vec::new();
            opened.read(|file| file.take(LFS_POINTER.len() as u64).read_to_end(&mut start))?;
            ensure!(
                start != LFS_POINTER,
                "it is a Git LFS pointer, not the {role}; run git lfs pull in {}",
                path.parent().unwrap_or(path).display()
            );
            Ok(opened)
        };
        open().with_context(|| format!("cannot read {}", path.display()))
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of its model.
    pub fn role(&self) -> FileRole {
        self.role
    }

    /// The file itself, to be mapped or looked at; its position belongs to this type.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// All of its bytes.
    ///
    /// *Errors* when reading fails.
    pub fn contents(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read(|file| file.read_to_end(&mut bytes))
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(bytes)
    }

    /// The SHA-256 of its content: at once for a blob of the hub cache, whose name it is, and
    /// otherwise from `compute`, which is to [read](Self::sha256) the file or to remember having
    /// done so.
    ///
    /// *Errors* when `compute` does.
    pub fn digest(&self, compute: impl FnOnce(&Self) -> io::Result<FileDigest>) -> Result<FileDigest> {
        match self.blob_name() {
            Some(digest) => Ok(digest),
            None => compute(self).with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    /// The SHA-256 of its content, from all of its bytes.
    ///
    /// *Errors* when reading fails.
    pub fn sha256(&self) -> io::Result<FileDigest> {
        const BUFFER_BYTES: usize = 1 << 18;
        self.read(|file| {
            let mut context = ring::digest::Context::new(&SHA256);
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => return Ok(FileDigest::new(context.finish())),
                    Ok(count) => context.update(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// Compares its content with what the name of its blob says, if it is one of the hub cache. Says whether
    /// it was.
    ///
    /// *Errors* when they differ, or reading fails.
    pub fn check_content(&self) -> Result<bool> {
        let Some(named) = self.blob_name() else { return Ok(false) };
        let read = self.sha256().with_context(|| format!("cannot read {}", self.path.display()))?;
        ensure!(
            read == named,
            "{} is damaged: its SHA-256 is {read}, and it should be {named}",
            self.path.display()
        );
        Ok(true)
    }

    /// The digest that the name of a blob in the hub cache is, if this is the file of that name.
    ///
    /// Blobs of small files are named after Git's SHA-1, and mirrors may name them otherwise: those
    /// are read like any file.
    fn blob_name(&self) -> Option<FileDigest> {
        let blob = self.path.canonicalize().ok()?;
        let is_blob = blob.parent()?.file_name()? == "blobs";
        let digest = FileDigest::parse(blob.file_name()?.to_str()?).filter(|_| is_blob)?;
        // The name may have passed to another file since this one was opened.
        is_same_file(&blob.metadata().ok()?, &self.file.metadata().ok()?).then_some(digest)
    }

    /// Fails if the file was written to since it was opened.
    ///
    /// *Errors* when it was: what was computed from it before and after does not belong together.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map(|metadata| FileState::of(&metadata));
        match now {
            Ok(now) if now == self.state => Ok(()),
            _ => bail!(
                "{} was written to while it was in use, so the results cannot be trusted; \
                 run again when it is complete",
                self.path.display()
            ),
        }
    }

    /// Fails if the path does not lead to this file any more, for readers that open it by name.
    ///
    /// *Errors* when it was replaced, or written to.
    pub fn check_not_replaced(&self) -> Result<()> {
        let there = self.path.metadata().and_then(|there| Ok(is_same_file(&there, &self.file.metadata()?)));
        ensure!(
            there.is_ok_and(|same| same),
            "{} was replaced while it was being read; run again",
            self.path.display()
        );
        self.check_unchanged()
    }

    /// Reads from the beginning.
    fn read<T>(&self, read: impl FnOnce(&mut &File) -> io::Result<T>) -> io::Result<T> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        read(&mut file)
    }
}

/// What differs between a file and the same file after it was written to.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    len: u64,
    modified: Option<SystemTime>,
}

impl FileState {
    fn of(metadata: &Metadata) -> Self {
        Self { len: metadata.len(), modified: metadata.modified().ok() }
    }
}

#[cfg(unix)]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Without a number for each file, its size and times have to do.
#[cfg(not(unix))]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    FileState::of(a) == FileState::of(b) && a.created().ok() == b.created().ok()
}

/// The SHA-256 of a file's content, as `sha256sum` and the hub's pages show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileDigest([u8; SHA256_OUTPUT_LEN]);

impl FileDigest {
    fn new(digest: ring::digest::Digest) -> Self {
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// From 64 hexadecimal digits.
    fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if hex.len() != 2 * bytes.len() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; SHA256_OUTPUT_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; SHA256_OUTPUT_LEN] {
        &self.0
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digest of all files that say what a model computes, the same wherever they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModelDigest(FileDigest);

impl ModelDigest {
    /// The SHA-256 of a line `<role> <SHA-256>` for each file, in the order given.
    pub fn of(files: &[(FileRole, FileDigest)]) -> Self {
        let lines: String = files.iter().map(|(role, digest)| format!("{role} {digest}\n")).collect();
        Self(FileDigest::new(digest(&SHA256, lines.as_bytes())))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; SHA256_OUTPUT_LEN] {
        self.0.bytes()
    }
}

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Of the bytes `weights`, as `sha256sum` says.
    const SHA256_OF_WEIGHTS: &str = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c";

    fn open(path: &Path) -> OpenFile {
        OpenFile::open(FileRole::Weights, path).unwrap()
    }

    fn never(_: &OpenFile) -> io::Result<FileDigest> {
        Err(io::Error::other("it was read"))
    }

    #[test]
    fn digest_is_that_of_sha256sum_and_is_read_again_as_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, "weights").unwrap();
        let digest = open(&path).digest(OpenFile::sha256).unwrap();
        assert_eq!(digest.to_string(), SHA256_OF_WEIGHTS);
        assert_eq!(FileDigest::parse(SHA256_OF_WEIGHTS), Some(digest));
        assert_eq!(FileDigest::parse(&SHA256_OF_WEIGHTS[1..]), None);
        assert_eq!(FileDigest::parse(&"é".repeat(32)), None);
    }

    #[test]
    fn file_replaced_after_it_was_opened_gives_the_bytes_and_the_digest_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, "weights").unwrap();
        let opened = open(&path);
        fs::write(folder.path().join("new"), "weightz").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(opened.contents().unwrap(), b"weights");
        assert_eq!(opened.digest(OpenFile::sha256).unwrap().to_string(), SHA256_OF_WEIGHTS);
        opened.check_unchanged().unwrap();
        #[cfg(unix)]
        assert!(opened.check_not_replaced().unwrap_err().to_string().contains("was replaced"));
    }

    #[test]
    fn blob_of_the_hub_cache_is_known_by_its_name_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs");
        fs::create_dir(&blobs).unwrap();
        let name = "c0ffee00".repeat(8);
        fs::write(blobs.join(&name), "weights").unwrap();
        assert_eq!(open(&blobs.join(&name)).digest(never).unwrap().to_string(), name);
        // Git's SHA-1, a mirror's own name, and a file that only looks like a blob.
        fs::create_dir(folder.path().join("other")).unwrap();
        for path in ["blobs/c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00", "blobs/etag", &format!("other/{name}")]
        {
            let path = folder.path().join(path);
            fs::write(&path, "weights").unwrap();
            assert!(open(&path).digest(never).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn blob_whose_content_is_not_what_its_name_says_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs");
        fs::create_dir(&blobs).unwrap();
        let path = blobs.join(SHA256_OF_WEIGHTS);
        fs::write(&path, "weights").unwrap();
        assert!(open(&path).check_content().unwrap());
        fs::write(&path, "weightz").unwrap();
        let error = open(&path).check_content().unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains(SHA256_OF_WEIGHTS), "{error}");
        let other = folder.path().join("model.safetensors");
        fs::write(&other, "weightz").unwrap();
        assert!(!open(&other).check_content().unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn blob_that_took_the_name_of_the_opened_one_does_not_lend_it_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs");
        fs::create_dir(&blobs).unwrap();
        let [old, new] = ["0a", "0b"].map(|digit| blobs.join(digit.repeat(32)));
        fs::write(&old, "weights").unwrap();
        fs::write(&new, "weightz").unwrap();
        let link = folder.path().join("model.safetensors");
        std::os::unix::fs::symlink(&old, &link).unwrap();
        let opened = open(&link);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&new, &link).unwrap();
        assert_eq!(opened.digest(OpenFile::sha256).unwrap().to_string(), SHA256_OF_WEIGHTS);
    }

    #[test]
    fn file_written_to_while_it_is_open_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, "weights").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let opened = open(&path);
        opened.check_unchanged().unwrap();
        fs::write(&path, "weightz").unwrap();
        let error = opened.check_unchanged().unwrap_err().to_string();
        assert!(error.contains("model.safetensors was written to while it was in use"), "{error}");
    }

    #[test]
    fn pointer_of_git_lfs_says_what_it_is_and_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 605157884\n")
            .unwrap();
        let error = format!("{:#}", OpenFile::open(FileRole::Weights, &path).unwrap_err());
        assert!(error.contains("model.safetensors: it is a Git LFS pointer, not the weights"), "{error}");
        assert!(error.contains("git lfs pull"), "{error}");
    }

    #[test]
    fn model_digest_depends_on_every_file_and_its_role() {
        let [a, b] = [1, 2].map(|byte| FileDigest::from_bytes([byte; 32]));
        let digest = ModelDigest::of(&[(FileRole::Config, a), (FileRole::Weights, b)]);
        for other in [
            &[(FileRole::Config, b), (FileRole::Weights, b)][..],
            &[(FileRole::Config, a)],
            &[(FileRole::Config, a), (FileRole::Tokenizer, b)],
            &[(FileRole::Weights, b), (FileRole::Config, a)],
        ] {
            assert_ne!(ModelDigest::of(other), digest);
        }
    }
}
