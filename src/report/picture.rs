//! Pictures in the terminal.

use crate::pixels::Picture;
use anyhow::{Context, Result};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use std::sync::Once;

/// The most columns and rows of a picture, so that it and its scores fit a screen.
const MAX_COLUMNS: u32 = 60;
const MAX_ROWS: u32 = 20;

/// Draws on standard output, with the best protocol that the terminal speaks: kitty's, iTerm2's,
/// sixel, or half blocks.
pub(super) fn show(picture: &Picture) -> Result<()> {
    ask_terminal();
    // A cell is about twice as high as wide.
    let columns_of_rows =
        (u64::from(MAX_ROWS) * 2 * u64::from(picture.width()) / u64::from(picture.height())).max(1);
    let columns = columns_of_rows.min(MAX_COLUMNS.into()) as u32;
    let config = viuer::Config { absolute_offset: false, width: Some(columns), ..Default::default() };
    viuer::print(&picture.0.clone().into(), &config).context("cannot draw the picture")?;
    Ok(())
}

/// Finds out what the terminal speaks, once, without its answers being echoed on the screen.
fn ask_terminal() {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| {
        if enable_raw_mode().is_ok() {
            viuer::get_kitty_support();
            viuer::is_sixel_supported();
            // It was possible a moment ago.
            let _ = disable_raw_mode();
        }
    });
}
