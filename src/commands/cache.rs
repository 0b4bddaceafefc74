//! `clipclass cache`: a folder → what its embedding cache holds, or held.

use super::Exit;
use crate::cache::{self, DEFAULT_LIMIT_BYTES, Holdings};
use crate::report;
use anyhow::Result;
use std::io::Write;
use std::path::Path;

pub(super) fn info(folder: &Path) -> Result<Exit> {
    let Holdings { bytes, images, prompts, models } = cache::holdings(folder)?;
    let mut out = report::stdout()?;
    writeln!(out, "folder: {}", folder.display())?;
    writeln!(out, "size: {} MiB of at most {} MiB", bytes >> 20, DEFAULT_LIMIT_BYTES >> 20)?;
    writeln!(out, "images: {images}\nprompts: {prompts}\nmodels: {models}")?;
    Ok(Exit::Success)
}

pub(super) fn clear(folder: &Path) -> Result<Exit> {
    let bytes = cache::clear(folder)?;
    writeln!(report::stdout()?, "removed {} MiB from {}", bytes >> 20, folder.display())?;
    Ok(Exit::Success)
}
