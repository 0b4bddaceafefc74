//! What tests are made of when no file will do: archives, and numbers without any regularity.
//!
//! The unit tests here and the tests of the program in `tests/it` share this file.

// Each of the two uses most of it.
#![allow(dead_code)]

#[path = "random.rs"]
pub mod random;

pub use random::Random;
use std::io;
use std::path::Path;

/// A tar archive in the making.
pub struct TarBuilder(tar::Builder<Vec<u8>>);

impl TarBuilder {
    /// An archive without members.
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Adds a file.
    pub fn file(mut self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Self {
        let mut header = Self::header(bytes.as_ref().len() as u64);
        self.0.append_data(&mut header, name, bytes.as_ref()).unwrap();
        self
    }

    /// Adds a member without content: a folder, a device.
    pub fn special(mut self, kind: tar::EntryType, name: impl AsRef<Path>) -> Self {
        let mut header = Self::header(0);
        header.set_entry_type(kind);
        self.0.append_data(&mut header, name, io::empty()).unwrap();
        self
    }

    fn link(mut self, kind: tar::EntryType, name: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        let mut header = Self::header(0);
        header.set_entry_type(kind);
        self.0.append_link(&mut header, name, target).unwrap();
        self
    }

    /// Adds a symbolic link.
    pub fn symlink(self, name: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.link(tar::EntryType::Symlink, name, target)
    }

    /// Adds a hard link.
    pub fn hard_link(self, name: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.link(tar::EntryType::Link, name, target)
    }

    /// The members without what ends an archive.
    pub fn unfinished(self) -> Vec<u8> {
        self.0.get_ref().clone()
    }

    /// The whole archive.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    /// A header as GNU tar writes it.
    pub fn header(size_bytes: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_size(size_bytes);
        header.set_mode(0o644);
        header
    }
}

/// A tar archive of files.
pub fn tar_of<N: AsRef<Path>, B: AsRef<[u8]>>(members: impl IntoIterator<Item = (N, B)>) -> Vec<u8> {
    let add = |tar: TarBuilder, (name, bytes)| tar.file(name, bytes);
    members.into_iter().fold(TarBuilder::new(), add).finish()
}

/// Bytes as gzip packs them.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::copy(&mut &bytes[..], &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// Bytes as zstd packs them.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}
