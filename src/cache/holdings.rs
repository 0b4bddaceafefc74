//! What an embedding cache holds, and how it is emptied.

use super::folder::{CacheFolder, FoundDatabase};
use super::{speeds, store};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// What an embedding cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes on the disk.
    pub bytes: u64,
    pub images: u64,
    pub prompts: u64,
    /// Models, each counted once for every precision and device.
    pub models: u64,
}

/// Counts what the embedding cache in `folder` holds.
///
/// *Errors* when it cannot be read.
pub fn holdings(folder: &Path) -> Result<Holdings> {
    let nothing = Holdings { bytes: 0, images: 0, prompts: 0, models: 0 };
    if !folder.exists() {
        return Ok(nothing);
    }
    let opened = CacheFolder::enter(folder)?;
    match opened.find()? {
        FoundDatabase::Ready(reader) => {
            let count = |table| {
                store::count(&reader, table)
                    .with_context(|| format!("cannot read the embedding cache in {}", folder.display()))
            };
            Ok(Holdings {
                bytes: opened.bytes(),
                images: count("image")?,
                prompts: count("prompt")?,
                models: count("model")?,
            })
        }
        FoundDatabase::Nothing => Ok(Holdings { bytes: opened.bytes(), ..nothing }),
        FoundDatabase::Damaged(error) => {
            bail!(
                "the embedding cache in {} is damaged, the next run makes it anew: {error}",
                folder.display()
            )
        }
    }
}

/// Removes the embedding cache in `folder`, of whatever format, and says how many bytes it took.
///
/// *Errors* when another process uses it or it cannot be removed.
pub fn clear(folder: &Path) -> Result<u64> {
    if !folder.exists() {
        return Ok(0);
    }
    let context = || format!("cannot clear the embedding cache in {}", folder.display());
    let opened = CacheFolder::enter(folder).with_context(context)?;
    let bytes = opened.bytes();
    opened.remove().with_context(context)?;
    speeds::clear(folder).with_context(context)?;
    Ok(bytes)
}
