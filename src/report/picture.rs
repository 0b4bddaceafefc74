//! Pictures in the terminal.

use crate::pixels::Picture;
use crate::terminal;
use anyhow::{Context, Result};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// The most columns and rows of a picture, so that it and its scores fit a screen.
const MAX_COLUMNS: u32 = 60;
const MAX_ROWS: u32 = 20;

/// The longest side of a picture that is shown: enough for as many columns of a fine screen, and not all
/// that a camera took to be sent to the terminal.
pub const SHOWN_PX: u32 = 20 * MAX_COLUMNS;

/// How long a terminal may take to answer, over a slow line, too.
const PATIENCE: Duration = Duration::from_secs(2);

/// Draws on standard output, with the best protocol that the terminal speaks: kitty's, iTerm2's,
/// sixel, or half blocks.
pub(super) fn show(picture: &Picture) -> Result<()> {
    // A cell is about twice as high as wide.
    let columns_of_rows =
        (u64::from(MAX_ROWS) * 2 * u64::from(picture.width()) / u64::from(picture.height())).max(1);
    let columns = columns_of_rows.min(MAX_COLUMNS.into()) as u32;
    let draws = terminal_answers();
    let config = viuer::Config {
        absolute_offset: false,
        width: Some(columns),
        use_kitty: draws,
        use_sixel: draws,
        ..Default::default()
    };
    viuer::print(&picture.0.clone().into(), &config).context("cannot draw the picture")?;
    Ok(())
}

/// Finds out what the terminal speaks, once, without its answers being echoed on the screen; tells
/// whether it answered at all, as one that does not would be waited for in vain.
fn terminal_answers() -> bool {
    static ANSWERS: OnceLock<bool> = OnceLock::new();
    *ANSWERS.get_or_init(|| {
        let (answered, answer) = channel();
        let ask = move || {
            viuer::get_kitty_support();
            viuer::is_sixel_supported();
            answered.send(())
        };
        let answers = || thread::Builder::new().spawn(ask).is_ok() && answer.recv_timeout(PATIENCE).is_ok();
        terminal::without_echo(answers).unwrap_or(false)
    })
}
