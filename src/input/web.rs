//! An address → an image's bytes, or a shard as it passes.
//!
//! `http:` and `https:` go through [`net`](crate::net), `data:` addresses hold their image, and
//! `file:` addresses are paths in other words. What else looks like an address and is no path is
//! refused by its scheme, not looked for on the disk.

use super::stream::{self, Opened};
use super::{IMAGE_LIMIT_BYTES, ReadError};
use crate::net::{self, Address, Client, Fault, NetError};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// A server that says nothing for so long has died; one that only trickles has until the end.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
/// What an image may take, with all tries and pauses.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest name of a scheme that is taken for one.
const LONGEST_SCHEME: usize = 20;

/// Shared by all threads, so that connections are.
static CLIENT: LazyLock<Arc<Client>> = LazyLock::new(|| Arc::new(Client::new(SILENCE_TIMEOUT)));

/// How the user said where an input is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InputSpelling {
    Path,
    /// An image at an address.
    Image,
    /// A shard at an address.
    Shard,
    /// A path, written as a `file:` address.
    FileAddress,
    /// An address of a kind that is not read.
    Unknown(String),
}

impl InputSpelling {
    pub(super) fn of(name: &OsStr) -> Self {
        let bytes = name.as_encoded_bytes();
        let Some(colon) = bytes.iter().position(|&byte| byte == b':') else { return Self::Path };
        let scheme = &bytes[..colon];
        let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
            && scheme.len() <= LONGEST_SCHEME;
        if !is_scheme {
            return Self::Path;
        }
        let has_authority = bytes[colon..].starts_with(b"://");
        // Unlike `http://…`, these could well be the names of files.
        let is_path = || fs::symlink_metadata(name).is_ok();
        match String::from_utf8_lossy(scheme).to_ascii_lowercase().as_str() {
            "http" | "https" if has_authority => {
                if names_shard(bytes) {
                    Self::Shard
                } else {
                    Self::Image
                }
            }
            "data" if !is_path() => Self::Image,
            "file" if !is_path() => Self::FileAddress,
            // On Windows a letter is a drive.
            scheme if has_authority && scheme.len() > 1 && !is_path() => Self::Unknown(scheme.to_owned()),
            _ => Self::Path,
        }
    }
}

/// Whether the address's path says that it is a shard, or else what follows a `#`, which is for us
/// alone.
fn names_shard(address: &[u8]) -> bool {
    Address::parse(address).is_ok_and(|address| {
        let names = [Some(address.path()), address.fragment()];
        names.into_iter().flatten().any(|name| stream::is_named_archive(OsStr::new(name)))
    })
}

/// An address as text; bytes that are none are encoded, so that they reach the server.
pub(super) fn text_of(address: &OsStr) -> String {
    let parsed = || Address::parse(address.as_encoded_bytes()).map(|address| address.to_string());
    match address.to_str() {
        Some(text) => text.to_owned(),
        None => parsed().unwrap_or_else(|_| address.to_string_lossy().into_owned()),
    }
}

/// An address of a scheme that is not read.
pub(super) fn unknown_scheme(scheme: &str) -> ReadError {
    let message = format!(
        "addresses of the scheme {scheme}: cannot be read, only those of http:, https:, data: and file:"
    );
    ReadError::new("download", message)
}

/// The path that a `file:` address stands for.
///
/// *Errors* of the kind `download`.
pub(super) fn path_of(address: &OsStr) -> Result<PathBuf, ReadError> {
    net::file_of(address.as_encoded_bytes()).map_err(|fault| ReadError::new("download", fault.to_string()))
}

/// Fetches an image, or takes it out of a `data:` address.
///
/// *Errors* of the kinds `download`, `limit` and, for what turns out to be a shard, `archive`.
pub(super) fn download(address: &str) -> Result<Vec<u8>, ReadError> {
    let is_data = address.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"));
    let bytes = if is_data {
        net::content_of(address).map_err(|fault| failure(NetError { fault, tries: 1 }))?
    } else {
        let fetch = |address| CLIENT.fetch(&address, IMAGE_LIMIT_BYTES, WHOLE_TIMEOUT);
        parse(address).and_then(fetch).map_err(failure)?
    };
    if stream::is_tar(bytes.get(..512).unwrap_or(&bytes)) {
        let message = "it is a tar archive, which is read as one where the address's path ends in .tar, \
                       .tar.gz or .tar.zst: let the address end in #.tar";
        return Err(ReadError::new("archive", message));
    }
    Ok(bytes)
}

/// Begins to fetch a shard, which is not kept: its images are read as they pass.
///
/// *Errors* of the kinds `download` and, for what is no archive, `archive`.
pub(super) fn open_shard(address: &OsStr) -> Result<Opened, ReadError> {
    let address = Address::parse(address.as_encoded_bytes());
    let address = address.map_err(|fault| failure(NetError { fault, tries: 1 }))?;
    let content = CLIENT.clone().stream(address).map_err(failure)?;
    match stream::open_stream(Box::new(content)) {
        Ok(Opened::Archive(flow)) => Ok(Opened::Archive(flow)),
        Ok(_) => Err(stream::no_archive()),
        Err(error) if error.kind == "unreadable" => Err(ReadError::new("download", error.message)),
        Err(error) => Err(error),
    }
}

fn parse(address: &str) -> Result<Address, NetError> {
    Address::parse(address).map_err(|fault| NetError { fault, tries: 1 })
}

fn failure(error: NetError) -> ReadError {
    match error.fault {
        Fault::TooLong(limit_bytes) => ReadError::limit(None, limit_bytes),
        _ => ReadError::new("download", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelling(name: &str) -> InputSpelling {
        InputSpelling::of(OsStr::new(name))
    }

    #[test]
    fn an_address_is_told_from_a_path_by_its_scheme() {
        for name in ["http://a/b.jpg", "HTTPS://a", "https://a/x.tar.jpg", "data:,x", "https://a/?x.tar"] {
            assert_eq!(spelling(name), InputSpelling::Image, "{name}");
        }
        for name in ["https://a/x.tar", "http://a/X.TAR.GZ?sig=1", "http://a/x.tgz#a", "http://a/?x#.tar.zst"]
        {
            assert_eq!(spelling(name), InputSpelling::Shard, "{name}");
        }
        for name in
            ["http", "https.jpg", "http:/a", "./http://a", "c:\\a.jpg", "c://a.jpg", "a b://c", "://a", ":"]
        {
            assert_eq!(spelling(name), InputSpelling::Path, "{name}");
        }
        assert_eq!(spelling("file:///a.jpg"), InputSpelling::FileAddress);
        for name in ["ftp://a/b.jpg", "S3://bucket/x.tar", "gs://a"] {
            let scheme = name.split(':').next().unwrap().to_ascii_lowercase();
            assert_eq!(spelling(name), InputSpelling::Unknown(scheme), "{name}");
        }
    }

    #[test]
    fn a_data_address_is_its_image_or_says_what_is_wrong_with_it() {
        assert_eq!(download("data:image/jpeg;base64,SlBFRw==").unwrap(), b"JPEG");
        assert_eq!(download("data:image/jpeg;base64").unwrap_err().kind, "download");
        assert_eq!(download("http://").unwrap_err().kind, "download");
    }
}
