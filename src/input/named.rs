//! What the user named → sources, one input after the other.

use super::shard::Deal;
use super::{IMAGE_LIMIT_BYTES, ImageSource, Origin, Shard, read_within};
use anyhow::{Result, bail};
use std::ffi::{OsStr, OsString};
use std::io;

/// All that a run is to classify, as the user named it.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Files, folders, shards, addresses; `-` is standard input.
    pub paths: Vec<OsString>,
    /// A list of more of them, taken after `paths`.
    pub files_from: Option<FilesFrom>,
    /// The part of all sources that this run takes.
    pub shard: Option<Shard>,
}

/// A list of inputs.
#[derive(Debug, Clone)]
pub struct FilesFrom {
    /// The file it is read from; `-` is standard input.
    pub file: OsString,
    /// Whether NUL and not a line's end separates the inputs.
    pub null: bool,
}

impl Inputs {
    /// The images, in order, found as they are asked for.
    ///
    /// *Errors* when two inputs ask for standard input, or the list cannot be opened.
    pub fn sources(self) -> Result<impl Iterator<Item = ImageSource> + Send> {
        if self.paths.iter().filter(|path| *path == "-").count() > 1 {
            bail!("`-` is given twice, but standard input can be read only once");
        }
        let mut deal = Deal::new(self.shard);
        let sources = self.paths.into_iter().map(source);
        Ok(sources.filter(move |_| deal.take()))
    }
}

fn source(path: OsString) -> ImageSource {
    let origin = if path == OsStr::new("-") {
        let mut bytes = Vec::new();
        match read_within(io::stdin(), IMAGE_LIMIT_BYTES, &mut bytes) {
            Ok(()) => Origin::Bytes(bytes),
            Err(error) => Origin::Failed(error),
        }
    } else {
        Origin::File(path.clone().into())
    };
    ImageSource::new(path, origin)
}
