//! What an evaluation found, as JSON for programs, and as text and a page for people.

mod html;
mod json;
mod text;

use super::calibration::Calibration;
use super::classes::{ClassCount, Confusion};
use super::fit::Fitted;
use super::interval::Share;
use super::lookover::LabelFindings;
use super::mistakes::Mistakes;
use super::prompts::PromptResult;
use super::truth::NONE;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// How a report is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EvalFormat {
    /// For reading.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// A page for a browser.
    Html,
}

/// What an evaluation found.
pub struct EvalReport {
    /// Those that count: that did not fail, and whose truth is known.
    pub images: u64,
    pub failed: u64,
    /// Of images of several labels: those that have exactly the labels that they should.
    pub accuracy: Share,
    pub top5: Option<Share>,
    pub balanced_accuracy: Option<f64>,
    pub macro_f1: Option<f64>,
    pub micro_f1: Option<f64>,
    /// One a label, where images have several; absent of labels that no image has.
    pub average_precisions: Option<Vec<Option<f64>>>,
    /// How many images the average precisions are of, where that is not all.
    pub sampled: Option<usize>,
    pub calibration: Option<Calibration>,
    /// The labels, and `none` after them where images are none of them.
    pub class_names: Vec<String>,
    pub classes: Vec<ClassCount>,
    /// Whether it is said which labels an image has.
    pub decides: bool,
    pub confusion: Option<Confusion>,
    pub templates: Vec<PromptResult>,
    pub mistakes: Mistakes,
    pub findings: LabelFindings,
    pub failures: Vec<FailedImage>,
    pub left_out: LeftOut,
    pub label_count: usize,
    pub is_sigmoid: bool,
    /// What was fitted, and how it did.
    pub fit: Option<Fitted>,
}

/// An image that could not be judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailedImage {
    pub image: String,
    pub kind: &'static str,
    pub message: String,
}

/// Images that count for nothing, as it is not known what they show.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// Of which nothing is said.
    pub unknown: u64,
    /// Of which something is said that is no label.
    pub outside: u64,
    /// What is said of them, and of how many.
    pub words: BTreeMap<String, u64>,
}

impl EvalReport {
    /// Mean of the labels' average precisions.
    pub fn mean_average_precision(&self) -> Option<f64> {
        let known: Vec<f64> = self.average_precisions.iter().flatten().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// The classes that an image may be taken for: the labels, and none of them.
    fn confusion_names(&self) -> Vec<&str> {
        let labels = self.class_names[..self.label_count].iter().map(String::as_str);
        labels.chain([NONE]).collect()
    }

    /// How many of them a matrix has: none is among them where images have no label, or no prediction.
    fn matrix_classes(&self) -> usize {
        let count = |confusion: &Confusion| confusion.classes(self.label_count + 1)[self.label_count];
        let none = self.confusion.as_ref().map(count);
        self.label_count + usize::from(none.is_some_and(|none| none.support + none.predicted > 0))
    }

    /// Writes the report. What it is of, a page tells as well.
    ///
    /// *Errors* when it cannot be written.
    pub fn write(
        &self,
        format: EvalFormat,
        facts: Vec<(&'static str, String)>,
        out: &mut dyn Write,
    ) -> Result<()> {
        match format {
            EvalFormat::Text => text::write(self, out),
            EvalFormat::Json => json::write(self, out),
            EvalFormat::Html => html::document(self, facts).write(out),
        }
    }
}
