//! [`Record`]s → standard output or a file, in one format each.
//!
//! The record is the output contract; a format decides only how it is spelled.

mod json;
mod output;
mod picture;
mod resume;
mod table;
mod text;

pub use output::ClosedPipe;
pub use resume::Done;

use crate::input::ImageName;
use crate::messages::Messages;
use crate::pixels::Picture;
use crate::score::Verdict;
use anyhow::Result;
use json::Json;
use output::Output;
use std::io::Write;
use std::path::Path;
use table::{Columns, Csv, Markdown};
use text::Text;

/// What became of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub image: ImageName,
    pub outcome: Result<Verdict, Failure>,
    /// The picture, where it is to be shown.
    pub picture: Option<Picture>,
}

/// Why an image was not classified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One word for programs.
    pub kind: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// How records are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For reading.
    Text,
    /// JSON Lines.
    Json,
    /// A table for programs.
    Csv,
    /// A table for people.
    Markdown,
}

/// One way to spell records.
trait Spelling {
    /// Writes what comes before all records.
    fn begin(&mut self, _labels: &[String], _out: &mut dyn Write) -> Result<()> {
        Ok(())
    }

    /// Writes one record. `labels` are the names that scores refer to.
    fn write(&mut self, record: &Record, labels: &[String], out: &mut dyn Write) -> Result<()>;
}

/// Where records go.
pub struct Report<'a> {
    labels: Vec<String>,
    output: Output,
    spelling: Box<dyn Spelling + 'a>,
}

impl<'a> Report<'a> {
    /// Opens the output before the long work begins. With `top`, records have so many scores.
    ///
    /// *Errors* when the output cannot be written.
    pub fn open(
        format: Format,
        file: Option<&Path>,
        labels: Vec<String>,
        top: Option<usize>,
        messages: &'a Messages,
    ) -> Result<Self> {
        let output = Output::open(file)?;
        let columns = Columns::new(top, labels.len());
        let spelling: Box<dyn Spelling> = match format {
            Format::Text => Box::new(Text::new(output.terminal(), messages)),
            Format::Json => Box::new(Json),
            Format::Csv => Box::new(Csv { columns, messages }),
            Format::Markdown => Box::new(Markdown { columns }),
        };
        Ok(Self { labels, output, spelling })
    }

    /// Goes on with the JSON Lines of an earlier run, and tells which images that one did.
    ///
    /// *Errors* when the file cannot be written, holds something else, or was made with other labels.
    pub fn resume(file: &Path, labels: Vec<String>, top: Option<usize>) -> Result<(Self, Done)> {
        let (output, done) = Output::resume(file, &labels, top)?;
        Ok((Self { labels, output, spelling: Box::new(Json) }, done))
    }

    /// Writes what comes before all records.
    pub fn begin(&mut self) -> Result<()> {
        self.output.write(|out| self.spelling.begin(&self.labels, out))
    }

    /// Writes one record and lets it go at once.
    ///
    /// *Errors* when the output cannot be written; as [`ClosedPipe`] when nobody reads it any more.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        self.output.write(|out| self.spelling.write(record, &self.labels, out))
    }

    /// Completes the output: a file gets its name.
    pub fn finish(self) -> Result<()> {
        self.output.finish()
    }
}
