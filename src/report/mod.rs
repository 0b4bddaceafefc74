//! [`Record`]s → standard output or a file, in one format each.
//!
//! The record is the output contract; a format decides only how it is spelled. A page that is made of
//! something else than records is an [`html::Document`].

mod claim;
pub mod html;
mod json;
mod output;
mod picture;
mod resume;
mod shape;
mod table;
mod text;

pub use output::{ClosedPipe, stdout};
pub use picture::SHOWN_PX;
pub use resume::{Done, EarlierFailures, FittedRecipe, LabelRecipe, Recipe};
pub use shape::RecordShape;

use crate::input::{Annotation, ImageName};
use crate::messages::Messages;
use crate::pixels::Picture;
use crate::score::Verdict;
use anyhow::Result;
use html::Html;
use json::Json;
use output::Destination;
use std::io::Write;
use std::path::Path;
use table::{Csv, Markdown};
use text::Text;

/// What became of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub image: ImageName,
    pub outcome: Result<Verdict, Failure>,
    /// The picture, where it is to be shown.
    pub picture: Option<Picture>,
    /// Its embedding, `[D]`, where it is to be kept.
    pub embedding: Option<Vec<f32>>,
    /// What stands beside it in a shard, where that is asked for.
    pub annotations: Vec<Annotation>,
}

#[cfg(test)]
impl Record {
    /// One with nothing beside its outcome.
    fn of(image: ImageName, outcome: Result<Verdict, Failure>) -> Self {
        Self { image, outcome, picture: None, embedding: None, annotations: Vec::new() }
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For reading.
    #[default]
    Text,
    /// JSON Lines.
    Json,
    /// A table for programs.
    Csv,
    /// A table for people.
    Markdown,
    /// A page for a browser.
    Html,
}

/// Takes records, one after the other, as they come.
pub trait Sink {
    /// Writes what comes before all records.
    ///
    /// *Errors* when it cannot be written; as [`ClosedPipe`] when nobody reads it any more.
    fn begin(&mut self) -> Result<()>;

    /// Takes one record and lets it go at once.
    ///
    /// *Errors* when it cannot be written; as [`ClosedPipe`] when nobody reads it any more.
    fn record(&mut self, record: &Record) -> Result<()>;

    /// Completes what was written: a file gets its name.
    ///
    /// *Errors* when that cannot be done.
    fn end(self: Box<Self>) -> Result<()>;
}

/// How a format spells records.
trait Spelling {
    /// Writes what comes before all records.
    fn begin(&mut self, _shape: &RecordShape, _out: &mut dyn Write) -> Result<()> {
        Ok(())
    }

    /// Writes one record.
    fn write(&mut self, record: &Record, shape: &RecordShape, out: &mut dyn Write) -> Result<()>;

    /// Writes what comes after all records.
    fn end(&mut self, _out: &mut dyn Write) -> Result<()> {
        Ok(())
    }
}

/// Opens a file, or standard output, for records of a shape, before the long work begins.
///
/// *Errors* when it cannot be written, or another run writes to it.
pub fn open<'a>(
    format: Format,
    file: Option<&Path>,
    shape: RecordShape,
    messages: &'a Messages,
) -> Result<Box<dyn Sink + 'a>> {
    let output = file.map_or_else(Destination::stdout, Destination::file)?;
    let spelling: Box<dyn Spelling> = match format {
        Format::Text => Box::new(Text::new(output.terminal(), messages)),
        Format::Json => Box::new(Json),
        Format::Csv => Box::new(Csv { messages }),
        Format::Markdown => Box::new(Markdown),
        Format::Html => Box::new(Html::default()),
    };
    Ok(Box::new(Report { shape, output, spelling }))
}

/// Goes on with the JSON Lines of an earlier run, and tells which images that one did.
///
/// *Errors* when the file cannot be written, another run writes to it, or it holds anything but
/// records that were made by the same recipe.
pub fn resume(
    file: &Path,
    shape: RecordShape,
    recipe: &Recipe,
    failures: EarlierFailures,
) -> Result<(Box<dyn Sink>, Done)> {
    let (output, done) = Destination::resume(file, recipe, failures)?;
    Ok((Box::new(Report { shape, output, spelling: Box::new(Json) }), done))
}

/// Where something is written all at once, opened before the long work begins.
pub struct WholeOutput(Destination);

impl WholeOutput {
    /// Opens a file, or standard output.
    ///
    /// *Errors* when it cannot be written, or another run writes to it.
    pub fn open(file: Option<&Path>) -> Result<Self> {
        file.map_or_else(Destination::stdout, Destination::file).map(Self)
    }

    /// Writes all of it; a file gets its name.
    ///
    /// *Errors* when it cannot be written; as [`ClosedPipe`] when nobody reads it any more.
    pub fn write(mut self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        self.0.write(write)?;
        self.0.finish()
    }
}

/// Records in one format, on their way to one output.
struct Report<'a> {
    shape: RecordShape,
    output: Destination,
    spelling: Box<dyn Spelling + 'a>,
}

impl Sink for Report<'_> {
    fn begin(&mut self) -> Result<()> {
        self.output.write(|out| self.spelling.begin(&self.shape, out))
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        self.output.write(|out| self.spelling.write(record, &self.shape, out))
    }

    fn end(mut self: Box<Self>) -> Result<()> {
        self.output.write(|out| self.spelling.end(out))?;
        self.output.finish()
    }
}
