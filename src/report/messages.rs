//! The one voice on stderr.

use super::Failure;
use crate::input::ImageName;
use std::fmt::Display;

/// Tells people what records do not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages {
    /// Whether only errors are told.
    pub quiet: bool,
}

impl Messages {
    /// Tells of something that may not be what the user meant.
    pub fn warning(&self, message: impl Display) {
        if !self.quiet {
            eprintln!("warning: {message}");
        }
    }

    /// Tells of something that failed.
    pub fn error(&self, message: impl Display) {
        eprintln!("error: {message}");
    }

    /// Tells that an image was not classified, where its record cannot.
    pub fn failure(&self, image: &ImageName, failure: &Failure) {
        self.error(format_args!("cannot classify {image}: {}", failure.message));
    }
}
