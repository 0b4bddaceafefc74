//! Ctrl-C → a run that ends between two batches, with whole lines printed.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The exit code of a process that Ctrl-C ended, by the shells' convention.
pub const EXIT_CODE: u8 = 130;

/// The user ended the run.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Lets Ctrl-C ask for an end from now on. The second time it ends the process, which may be stuck
/// in a pipe that nobody reads.
#[expect(clippy::exit, reason = "main cannot end a thread that a pipe holds")]
pub(super) fn watch() -> Result<()> {
    let handler = || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_CODE.into());
        }
    };
    ctrlc::set_handler(handler).context("cannot watch for Ctrl-C")
}

/// Whether the user asked for an end.
pub(super) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
