//! Paths, folders, lists, shards and stdin → a lazy, ordered stream of [`ImageSource`]s.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// What an image is called in records: the path as the user or the walk spelled it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageName(OsString);

impl ImageName {
    pub fn new(name: impl Into<OsString>) -> Self {
        Self(name.into())
    }

    /// The name as it is, UTF-8 or not.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

/// For people: control characters and what is not UTF-8 are escaped.
impl fmt::Display for ImageName {
    fn fmt(&self, _f: &mut fmt::Formatter) -> fmt::Result {
        todo!()
    }
}

/// One image to classify: its name, and where its bytes are.
#[derive(Debug)]
pub struct ImageSource {
    pub name: ImageName,
    pub origin: Origin,
}

/// Where an image's bytes are.
#[derive(Debug)]
pub enum Origin {
    /// A file, read when its turn comes.
    File(PathBuf),
    /// Bytes at hand: standard input, a member of a shard.
    Bytes(Vec<u8>),
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
    /// The encoded image.
    pub fn read(self) -> Result<Vec<u8>, ReadError> {
        todo!()
    }
}
