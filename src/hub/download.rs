//! What the hub says of a file → the file in the cache.
//!
//! The content grows in a file beside its place, which it takes when it is whole; a later run goes
//! on from what an earlier one left.

use super::cache::HubCache;
use super::remote::{FetchError, Hub, RemoteFile, SHA256_BYTES};
use crate::messages::{Download, Messages};
use crate::net::{Fault, NetError, StatusCode, Tries};
use ring::digest;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 18;

impl Hub {
    /// Brings `file` of a revision of repository `id` into the cache.
    ///
    /// All files of a revision are of the commit that the cache knows it as.
    pub fn fetch(
        &self,
        cache: &HubCache,
        id: &str,
        revision: &str,
        file: &str,
        messages: &Messages,
    ) -> Result<PathBuf, FetchError> {
        let known = cache.commit(revision);
        let ask = |revision: &str| self.resolve(Some(cache), id, revision, file);
        let mut remote = ask(revision)?;
        if let Some(commit) = known.as_deref().filter(|commit| *commit != remote.commit) {
            // The branch has moved on since.
            remote = ask(commit)?;
        }
        let commit = remote.commit.clone();
        let etag = remote.etag.clone();
        let blob = cache.blob(&etag);
        let disk = |cause| FetchError::Disk { path: blob.clone(), cause };
        let wait = || messages.note(format_args!("waiting for another process that downloads {file}"));
        let lock = cache.lock(&etag, wait).map_err(disk)?;
        // Whoever held the lock before may have brought it, and moved it where links cannot be made.
        let path = match cache.whole(&commit, file) {
            Some(path) => path,
            None => {
                if !blob.is_file() {
                    let partial = cache.partial(&etag, &lock);
                    let name = format!("{file} of {id}");
                    self.download(remote, &partial, &name, || ask(&commit), messages)?;
                    fs::rename(&partial, &blob).map_err(disk)?;
                }
                cache.link(&commit, file, &etag).map_err(disk)?
            }
        };
        if known.is_none() {
            cache.set_commit(revision, &commit).map_err(disk)?;
        }
        Ok(path)
    }

    /// Lets the file at `path` grow until it has the whole content.
    fn download(
        &self,
        mut remote: RemoteFile,
        path: &Path,
        name: &str,
        ask_again: impl Fn() -> Result<RemoteFile, FetchError>,
        messages: &Messages,
    ) -> Result<(), FetchError> {
        let disk = |cause| FetchError::Disk { path: path.to_owned(), cause };
        let mut partial = PartialFile::open(path).map_err(disk)?;
        let here =
            remote.length_bytes.map_or(0, |length| if partial.bytes > length { 0 } else { partial.bytes });
        let shown = messages.start_download(name, remote.length_bytes, here);
        let (mut tries, mut afresh) = (self.client.tries(), false);
        loop {
            if remote.length_bytes.is_some_and(|length| partial.bytes > length) {
                partial.clear().map_err(disk)?;
            }
            let before = partial.bytes;
            let Err(error) = self.go_on(&mut remote, &mut partial, path, &shown, &tries) else {
                if remote.sha256.is_none_or(|sha256| partial.sha256() == sha256) {
                    return partial.file.sync_data().map_err(disk);
                }
                partial.clear().map_err(disk)?;
                if afresh {
                    return Err(FetchError::Corrupt);
                }
                // An earlier run's part may have been at fault.
                afresh = true;
                continue;
            };
            if partial.bytes > before {
                tries.succeed_in_part();
            }
            match &error {
                FetchError::BrokenOff { .. } if tries.again(None) => {}
                // The address of a content is good for a while only; what the client has tried more
                // than once is no such thing.
                FetchError::Refused(refusal) if refusal.tries == 1 && tries.again(None) => {
                    match ask_again() {
                        Ok(again) if again.etag == remote.etag => remote = again,
                        _ => return Err(error),
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// Appends what the server sends from where `partial` ends.
    fn go_on(
        &self,
        remote: &mut RemoteFile,
        partial: &mut PartialFile,
        path: &Path,
        shown: &Download,
        tries: &Tries,
    ) -> Result<(), FetchError> {
        if remote.length_bytes == Some(partial.bytes) {
            return Ok(());
        }
        let disk = |cause| FetchError::Disk { path: path.to_owned(), cause };
        let broken_off = |bytes, cause: &dyn Display| FetchError::BrokenOff {
            bytes,
            cause: cause.to_string(),
            tries: tries.made(),
        };
        let mut answer = match remote.answer.take() {
            Some(answer) if partial.bytes == 0 => answer,
            _ => self.ask(&remote.address, partial.bytes)?,
        };
        match answer.status {
            StatusCode::PARTIAL_CONTENT if answer.range_start() == Some(partial.bytes) => {}
            StatusCode::OK => partial.clear().map_err(disk)?,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.clear().map_err(disk)?;
                return Err(broken_off(0, &"the server does not go on from where it was"));
            }
            status => {
                let fault = Fault::Status(status);
                return Err(FetchError::Refused(NetError { fault, tries: 1 }));
            }
        }
        let rest = answer.content.length_bytes();
        let whole = remote.length_bytes.or_else(|| rest.map(|rest| partial.bytes + rest));
        if whole.is_none() && !answer.content.has_known_end() {
            return Err(FetchError::NotAHub(remote.address.host(), "no length of the file".to_owned()));
        }
        shown.set_bytes(partial.bytes);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match answer.content.read_some(&mut buffer) {
                Ok(0) => break,
                Ok(count) => partial.append(&buffer[..count]).map_err(disk)?,
                Err(fault) => return Err(broken_off(partial.bytes, &fault)),
            }
            shown.set_bytes(partial.bytes);
        }
        match whole {
            Some(whole) if partial.bytes != whole => {
                Err(broken_off(partial.bytes, &format_args!("the file has {whole}")))
            }
            _ => Ok(()),
        }
    }
}

/// The beginning of a content.
struct PartialFile {
    file: File,
    bytes: u64,
    hash: digest::Context,
}

impl PartialFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).append(true).open(path)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut bytes = 0;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Self { file, bytes, hash }),
                count => {
                    hash.update(&buffer[..count]);
                    bytes += count as u64;
                }
            }
        }
    }

    fn append(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.hash.update(content);
        self.bytes += content.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = digest::Context::new(&digest::SHA256);
        self.bytes = 0;
        Ok(())
    }

    fn sha256(&self) -> [u8; SHA256_BYTES] {
        let digest = self.hash.clone().finish();
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}
