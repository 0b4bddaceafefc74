//! The one voice on stderr: warnings, failures, and how far a run has come.

use crate::input::ImageName;
use crate::report::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A run that took this long ends with a summary.
const LONG_RUN: Duration = Duration::from_secs(10);

/// Tells people what records do not.
#[derive(Debug, Clone)]
pub struct Messages {
    quiet: bool,
    progress: Arc<OnceLock<Progress>>,
}

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

    /// Tells of something that failed.
    pub fn error(&self, message: impl Display) {
        self.tell(format_args!("error: {message}"));
    }

    /// Tells that an image was not classified, where its record cannot.
    pub fn failure(&self, image: &ImageName, failure: &Failure) {
        self.error(format_args!("cannot classify {image}: {}", failure.message));
    }

    fn tell(&self, line: impl Display) {
        match self.progress.get() {
            Some(progress) => progress.bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Begins to show how many images are done; only to people, and not where they already see the
    /// records. Tells whether it does.
    pub fn start(&self) -> bool {
        let shown = !self.quiet && io::stderr().is_terminal() && !io::stdout().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(style("{spinner} {human_pos} images, {per_sec}, {elapsed}"));
        self.progress.get_or_init(|| Progress { bar, start: Instant::now() });
        shown
    }

    /// Tells how many images there are, once that is known.
    pub fn expect(&self, images: u64) {
        if let Some(Progress { bar, .. }) = self.progress.get() {
            bar.set_length(images);
            bar.set_style(style("{bar:30} {human_pos} of {human_len} images, {per_sec}, {eta} left"));
        }
    }

    /// Counts an image as done.
    pub fn advance(&self) {
        if let Some(progress) = self.progress.get() {
            progress.bar.inc(1);
        }
    }

    /// Ends the run's progress; a long run is summed up.
    pub fn finish(&self, classified: usize, failed: usize) {
        let Some(Progress { bar, start }) = self.progress.get() else { return };
        bar.finish_and_clear();
        let elapsed = start.elapsed();
        if !self.quiet && elapsed >= LONG_RUN {
            let images = classified + failed;
            let rate = images as f64 / elapsed.as_secs_f64();
            eprintln!("{images} images, {failed} failed, {rate:.1} images/s");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}
