//! The one voice on standard error: warnings, failures, and how far a run or a download has come.

use crate::input::ImageName;
use crate::report::Failure;
use crate::terminal;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A run that took this long ends with a summary, where its progress was seen.
const LONG_RUN: Duration = Duration::from_secs(10);

/// A smaller file is there before a bar can be read.
const SHORTEST_BAR_BYTES: u64 = 1 << 20;

/// Whether records on standard output may be coloured (`NO_COLOR`, `CLICOLOR`, what the terminal can).
pub fn stdout_has_colour() -> bool {
    io::stdout().is_terminal() && anstream::stdout().current_choice() != anstream::ColorChoice::Never
}

/// Tells people what records do not. Clones speak with one voice.
#[derive(Debug, Clone)]
pub struct Messages {
    quiet: bool,
    progress: Arc<Mutex<Option<Progress>>>,
}

/// What moves on the last line of the terminal.
#[derive(Debug)]
struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Messages {
    /// With `quiet` only errors are told.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, progress: Arc::default() }
    }

    /// Tells of something that may not be what the user meant.
    pub fn warning(&self, message: impl Display) {
        if !self.quiet {
            self.tell(format_args!("warning: {message}"));
        }
    }

    /// Tells what goes on, where it would otherwise look as if nothing did.
    pub fn note(&self, message: impl Display) {
        if !self.quiet {
            self.tell(message);
        }
    }

    /// Tells of something that failed.
    pub fn error(&self, message: impl Display) {
        self.tell(format_args!("error: {message}"));
    }

    /// Tells that an image was not classified, where its record cannot.
    pub fn failure(&self, image: &ImageName, failure: &Failure) {
        self.error(format_args!("cannot classify {image}: {}", failure.message));
    }

    /// Tells what is wrong with the arguments, in colours where they are shown.
    pub fn usage(&self, refusal: &str) {
        let refusal = fitted(refusal.trim_end());
        // As for a line.
        drop(writeln!(anstream::stderr(), "{refusal}"));
    }

    fn tell(&self, line: impl Display) {
        let line = Printable(line).to_string();
        let line = fitted(&line);
        let bar = self.progress().as_ref().map(|progress| progress.bar.clone());
        // Where nobody listens there is nobody to tell that to.
        let write = || drop(writeln!(io::stderr(), "{line}"));
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Begins to show how many images are done; only to people, and not where they already see the
    /// records. Tells whether it does.
    pub fn start(&self) -> bool {
        let shown = self.is_watched() && !io::stdout().is_terminal();
        if shown {
            self.show(None, "{spinner} {human_pos} images, {per_sec}, {elapsed}");
        }
        shown
    }

    /// Tells how many images there are, once that is known.
    pub fn expect(&self, images: u64) {
        if let Some(Progress { bar, .. }) = &*self.progress() {
            bar.set_length(images);
            bar.set_style(style("{bar:30} {human_pos} of {human_len} images, {per_sec}, {eta} left"));
        }
    }

    /// Counts an image as done.
    pub fn advance(&self) {
        if let Some(Progress { bar, .. }) = &*self.progress() {
            bar.inc(1);
        }
    }

    /// Ends the run's progress; a long run is summed up where that was shown.
    pub fn finish(&self, classified: usize, failed: usize) {
        let Some(Progress { bar, start }) = self.progress().take() else { return };
        bar.finish_and_clear();
        let elapsed = start.elapsed();
        if elapsed >= LONG_RUN {
            let images = classified + failed;
            let rate = images as f64 / elapsed.as_secs_f64();
            self.tell(format_args!("{images} images, {failed} failed, {rate:.1} images/s"));
        }
    }

    /// Tells that a file of `bytes` begins to come, of which some are here; and shows to people how much
    /// has come. Only of a file that takes its time.
    pub fn start_download(&self, file: impl Display, bytes: Option<u64>, here: u64) -> Download {
        let long = bytes.filter(|bytes| *bytes >= SHORTEST_BAR_BYTES);
        if let Some(bytes) = long {
            let rest =
                if here > 0 { format!(", of which {} are here", ByteCount(here)) } else { String::new() };
            self.note(format_args!("downloading {file}, {}{rest}", ByteCount(bytes)));
        }
        let shown = self.is_watched() && long.is_some();
        if shown {
            let template =
                "{wide_bar}  {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
            self.show(bytes, template).set_position(here);
        }
        Download { messages: shown.then(|| self.clone()) }
    }

    fn is_watched(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    fn show(&self, length: Option<u64>, template: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        bar.set_style(style(template));
        *self.progress() = Some(Progress { bar: bar.clone(), start: Instant::now() });
        bar
    }

    fn progress(&self) -> MutexGuard<'_, Option<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file on its way; what is shown of it ends with this.
#[derive(Debug)]
pub struct Download {
    /// Absent where nothing is shown.
    messages: Option<Messages>,
}

impl Download {
    /// Tells how many bytes have come.
    pub fn set_bytes(&self, bytes: u64) {
        let Some(messages) = &self.messages else { return };
        if let Some(Progress { bar, .. }) = &*messages.progress() {
            bar.set_position(bytes);
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let Some(messages) = &self.messages else { return };
        if let Some(Progress { bar, .. }) = messages.progress().take() {
            bar.finish_and_clear();
        }
    }
}

/// Lines for standard error, which fit where it is a terminal.
fn fitted(lines: &str) -> Cow<'_, str> {
    match terminal::columns().filter(|_| io::stderr().is_terminal()) {
        Some(columns) => terminal::wrapped(lines, columns),
        None => lines.into(),
    }
}

/// A number of bytes as people read it: `605 MB`, `3.94 GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCount(pub u64);

impl Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 as f64 {
            bytes if bytes < 999.5e3 => write!(f, "{:.0} kB", bytes / 1e3),
            bytes if bytes < 999.5e6 => write!(f, "{:.0} MB", bytes / 1e6),
            bytes => write!(f, "{:.2} GB", bytes / 1e9),
        }
    }
}

/// A message as a terminal may see it. Servers and file names have a say in messages, and must not
/// drive the terminal.
struct Printable<T>(T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '\n' | '\t' => f.write_char(c)?,
                c if c.is_control() => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_as_the_hub_tells_them() {
        let told = [605_120_000, 1_711_760_000, 4_200].map(|bytes| ByteCount(bytes).to_string());
        assert_eq!(told, ["605 MB", "1.71 GB", "4 kB"]);
    }

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        let message = "cannot use \u{1b}]0;title\u{7}x\u{9b}31m:\n\tno such é";
        let shown = r"cannot use \u{1b}]0;title\u{7}x\u{9b}31m:".to_owned() + "\n\tno such é";
        assert_eq!(Printable(message).to_string(), shown);
    }

    #[test]
    fn one_voice_can_tell_of_several_runs() {
        let messages = Messages::new(false);
        for _ in 0..2 {
            messages.show(None, "{human_pos}");
            messages.clone().advance();
            assert_eq!(messages.progress().as_ref().unwrap().bar.position(), 1);
            messages.finish(1, 0);
            assert!(messages.progress().is_none());
        }
    }
}
