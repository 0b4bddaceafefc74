//! Paths, folders, lists, shards and stdin → a lazy, ordered stream of [`ImageSource`]s.
//!
//! A source is named here and read later, on whichever thread takes it, so that slow disks and
//! servers overlap. Only what has no second reading (standard input, a pipe, a member of a shard) is
//! read as it passes, one at a time. What the user named is always tried and its failure becomes a
//! source of its own; what a walk or a shard merely contains is filtered by what it is.

mod archive;
mod folder;
mod formats;
mod list;
mod named;
mod part;
mod stream;
mod web;

pub use named::{Annotations, FilesFrom, Inputs};
pub use part::{Part, PartError};

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest encoded image that is read: an uncompressed picture of the size at which Pillow
/// starts to refuse (179 megapixels, three bytes each) just fits.
pub const IMAGE_LIMIT_BYTES: u64 = 512 << 20;

/// What an image is called in records: the path as the user or the walk spelled it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageName(OsString);

impl ImageName {
    /// Names an image.
    pub fn new(name: impl Into<OsString>) -> Self {
        Self(name.into())
    }

    /// The name as it is, UTF-8 or not.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

/// For people: what could drive a terminal or is not UTF-8 is escaped.
impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        use fmt::Write;
        for chunk in self.0.as_encoded_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                        write!(f, "{}", c.escape_unicode())?
                    }
                    c if c.is_control() => write!(f, "{}", c.escape_default())?,
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// One image to classify: its name, and where its bytes are.
#[derive(Debug)]
pub struct ImageSource {
    pub name: ImageName,
    pub origin: Origin,
    /// What stands beside it, where that is asked for.
    pub annotations: Vec<Annotation>,
}

/// A member of a shard that says something of the image beside it, as in WebDataset's layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What follows the first dot of its name: `cls`, `txt` or `json`.
    pub extension: String,
    pub bytes: Vec<u8>,
}

/// Where an image's bytes are.
#[derive(Debug)]
pub enum Origin {
    /// A file, read when its turn comes.
    File(PathBuf),
    /// An image on a web server, fetched when its turn comes.
    Address(String),
    /// Bytes at hand: standard input, a member of a shard.
    Bytes(Vec<u8>),
    /// The same picture as an earlier source of the same stream, whose bytes are gone: a link in a
    /// shard. Whoever kept what became of that source can tell what becomes of this.
    SameAs(ImageName),
    /// Nothing to classify: the file that the run is to write.
    OwnOutput,
    /// Something that was asked for and cannot be had.
    Failed(ReadError),
}

/// Why an image's bytes cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ReadError {
    /// The word for it in a record.
    pub kind: &'static str,
    pub message: String,
}

impl ImageSource {
    fn new(name: impl Into<OsString>, origin: Origin) -> Self {
        Self { name: ImageName::new(name), origin, annotations: Vec::new() }
    }

    fn failed(name: impl Into<OsString>, error: ReadError) -> Self {
        Self::new(name, Origin::Failed(error))
    }

    /// The encoded image.
    ///
    /// *Errors* of the kinds `not_found`, `directory`, `unreadable`, `limit`, `download`,
    /// and what a failed origin brings with it (`archive` among others).
    pub fn read(self) -> Result<Vec<u8>, ReadError> {
        match self.origin {
            Origin::File(path) => read_file(&path),
            Origin::Address(address) => web::download(&address),
            Origin::Bytes(bytes) => Ok(bytes),
            Origin::SameAs(image) => Err(ReadError::unknown(&image)),
            Origin::OwnOutput => Err(ReadError::new("unreadable", "it is what the run writes")),
            Origin::Failed(error) => Err(error),
        }
    }
}

impl ReadError {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// For a link whose target was read before, and of which nothing was kept.
    pub fn unknown(target: &ImageName) -> Self {
        let message = format!(
            "a link to {target}, which was read too long ago, and a stream cannot be searched: give the \
             archive as an unpacked file, or pack it with --dereference --hard-dereference"
        );
        Self::new("archive", message)
    }

    fn limit(size_bytes: Option<u64>, limit_bytes: u64) -> Self {
        let size = size_bytes.map_or("more".into(), |size| format!("{} MiB", size >> 20));
        Self::new("limit", format!("{size} where an encoded image may have {} MiB", limit_bytes >> 20))
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::new("not_found", "no such file or folder"),
            io::ErrorKind::IsADirectory => Self::new("directory", "a folder where a file was expected"),
            io::ErrorKind::PermissionDenied => Self::new("unreadable", "permission denied"),
            _ => Self::new("unreadable", error.to_string()),
        }
    }
}

/// Opens anything but a folder, which not every system opens and none reads.
///
/// *Errors* of the kind `IsADirectory` for a folder on any system.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let is_folder = match &opened {
        Ok((metadata, _)) => metadata.is_dir(),
        Err(_) => path.is_dir(),
    };
    if is_folder {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    opened.map(|(metadata, file)| (file, metadata))
}

fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    let (file, metadata) = open(path)?;
    if metadata.len() > IMAGE_LIMIT_BYTES {
        return Err(ReadError::limit(Some(metadata.len()), IMAGE_LIMIT_BYTES));
    }
    // One byte more, so that the last read finds the end without growing the buffer.
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    read_within(file, IMAGE_LIMIT_BYTES, &mut bytes)?;
    Ok(bytes)
}

/// Appends all of `reader` to `bytes`, unless that makes them more than the limit.
fn read_within(reader: impl Read, limit_bytes: u64, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
    let room = limit_bytes.saturating_sub(bytes.len() as u64);
    let read = reader.take(room + 1).read_to_end(bytes)? as u64;
    if read > room { Err(ReadError::limit(None, limit_bytes)) } else { Ok(()) }
}

/// A name as archives and lists hold it: bytes.
#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// A name as archives and lists hold it: UTF-8, where the system has no names of bytes.
#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_what_could_drive_a_terminal_as_text() {
        let shown = ImageName::new("a\n\u{1b}[31mé\u{9b}\u{202e}gpj.png").to_string();
        assert_eq!(shown, r"a\n\u{1b}[31mé\u{9b}\u{202e}gpj.png");
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_utf8_is_kept_and_shown_escaped() {
        use std::os::unix::ffi::OsStringExt;
        let name = ImageName::new(OsString::from_vec(b"caf\xe9.jpg".to_vec()));
        assert_eq!(name.to_string(), r"caf\xe9.jpg");
        assert_eq!(name.as_os_str().as_encoded_bytes(), b"caf\xe9.jpg");
    }

    fn kind_of(path: &Path) -> &'static str {
        ImageSource::new(path, Origin::File(path.into())).read().unwrap_err().kind
    }

    #[test]
    fn what_cannot_be_read_tells_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kind_of(&folder.path().join("gone.jpg")), "not_found");
        assert_eq!(kind_of(folder.path()), "directory");
        let huge = folder.path().join("huge.bmp");
        File::create(&huge).unwrap().set_len(IMAGE_LIMIT_BYTES + 1).unwrap();
        assert_eq!(kind_of(&huge), "limit");
    }

    #[test]
    fn a_reader_is_cut_off_one_byte_beyond_the_limit() {
        let mut bytes = vec![1, 2];
        assert!(read_within(&[3u8, 4][..], 4, &mut bytes).is_ok());
        assert_eq!(bytes, [1, 2, 3, 4]);
        assert_eq!(read_within(io::repeat(0), 4, &mut vec![1, 2]).unwrap_err().kind, "limit");
    }
}
