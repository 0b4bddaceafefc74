//! Classifier files: labels with their prompts, and what was learned from labelled images about them.
//!
//! `clipclass eval --fit` writes one, `--classifier` reads it. It is JSON that people can read and change;
//! embeddings are not in it, as prompts say more.

use super::{GivenLabel, Label, LabelSet};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the format.
const FORMAT: u32 = 1;

/// What `clipclass eval --fit` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierFile {
    /// The version of the format, under a name by which the file is known.
    pub clipclass_classifier: u32,
    /// What the user called the model; the digest says which it was.
    pub model: String,
    /// Digest of the model's files, in hexadecimal.
    pub digest: String,
    pub precision: String,
    /// How prompts were cleaned, where that was not as the model's family was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_cleaning: Option<String>,
    pub labels: Vec<ClassifierLabel>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decoys: Vec<ClassifierLabel>,
    /// What logits are divided by.
    pub temperature: Option<f32>,
    /// What the thresholds of the labels are of.
    pub thresholds: Option<ThresholdRule>,
    /// When an image is none of the labels.
    pub none: Option<NoneRule>,
    pub prediction_sets: Option<SetRule>,
    /// What all of this was fitted on, and how it did on images that it was not fitted on: for people.
    pub fitted: Value,
}

/// A label or decoy of a classifier file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierLabel {
    pub label: String,
    pub prompts: Vec<String>,
    /// What the label has to reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
}

/// What the thresholds of the labels are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdRule {
    /// `probability`, `cosine` or `margin`.
    pub of: String,
    /// What they were chosen for: `f1`, or a precision.
    pub chosen_for: String,
}

/// When an image is none of the labels: its best label has less than one of these.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoneRule {
    pub threshold: Option<f32>,
    pub min_cosine: Option<f32>,
    /// Of its cosine less the mean of those of all labels but the two best.
    #[serde(default)]
    pub min_contrast: Option<f32>,
    pub min_margin: Option<f32>,
}

/// Which labels are in an image's prediction set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRule {
    /// The share of images whose label is in their set.
    pub coverage: f32,
    /// Least probability of a label in the set.
    pub min_probability: f32,
}

impl ClassifierFile {
    /// The version of the format that is written.
    pub const FORMAT: u32 = FORMAT;

    /// Reads a classifier file.
    ///
    /// *Errors* when it is something else, or does not make sense.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file: Self = serde_json::from_slice(bytes)
            .context("it is no classifier file, which `clipclass eval --fit FILE` writes")?;
        ensure!(
            file.clipclass_classifier == FORMAT,
            "its format is version {}, and this clipclass reads version {FORMAT}",
            file.clipclass_classifier
        );
        ensure!(!file.labels.is_empty(), "no labels in it");
        for label in file.labels.iter().chain(&file.decoys) {
            ensure!(!label.prompts.is_empty(), "the label {:?} has no prompts", label.label);
            ensure!(label.threshold.is_none_or(f32::is_finite), "the label {:?} has no number", label.label);
            ensure!(
                file.thresholds.is_none() || label.threshold.is_some() || file.decoys.contains(label),
                "the label {:?} has no threshold",
                label.label
            );
        }
        let temperature = file.temperature.unwrap_or(1.0);
        ensure!(temperature.is_finite() && temperature > 0.0, "its temperature {temperature} is not above 0");
        Ok(file)
    }

    /// The file's text.
    ///
    /// *Errors* when what was fitted is not made of numbers.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Its labels and decoys.
    ///
    /// *Errors* when it has no labels.
    pub fn label_set(&self) -> Result<LabelSet> {
        let given = |labels: &[ClassifierLabel]| -> Vec<_> {
            let label =
                |label: &ClassifierLabel| Label { name: label.label.clone(), prompts: label.prompts.clone() };
            labels.iter().map(label).map(GivenLabel::WithPrompts).collect()
        };
        Ok(LabelSet::new(given(&self.labels), &[])?.with_decoys(given(&self.decoys), &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "clipclass_classifier": 1, "model": "tiny", "digest": "00ff", "precision": "f32",
        "labels": [{"label": "cat", "prompts": ["a cat", "a kitten"], "threshold": 0.25}],
        "decoys": [{"label": "junk", "prompts": ["junk"]}],
        "temperature": 1.5, "thresholds": {"of": "margin", "chosen_for": "f1"}, "none": null,
        "prediction_sets": null, "fitted": {"images": 20}
    }"#;

    #[test]
    fn a_classifier_file_reads_as_it_was_written() {
        let file = ClassifierFile::parse(FILE.as_bytes()).unwrap();
        assert_eq!(ClassifierFile::parse(&file.to_json().unwrap()).unwrap(), file);
        let set = file.label_set().unwrap();
        assert_eq!((set.names(), set.decoys()[0].name.as_str()), (vec!["cat"], "junk"));
        assert_eq!(set.labels()[0].prompts, ["a cat", "a kitten"]);
    }

    #[test]
    fn what_is_no_classifier_file_is_refused_with_the_reason() {
        for (old, new, told) in [
            ("\"clipclass_classifier\": 1,", "", "clipclass eval --fit"),
            ("\"clipclass_classifier\": 1,", "\"clipclass_classifier\": 7,", "version 7"),
            ("\"a cat\", \"a kitten\"", "", "no prompts"),
            (", \"threshold\": 0.25", "", "the label \"cat\" has no threshold"),
            ("1.5", "0", "not above 0"),
            ("\"model\": \"tiny\",", "\"model\": \"tiny\", \"modle\": 3,", "modle"),
        ] {
            let text = FILE.replace(old, new);
            assert_ne!(text, FILE);
            let refusal = format!("{:#}", ClassifierFile::parse(text.as_bytes()).unwrap_err());
            assert!(refusal.contains(told), "{refusal}");
        }
    }
}
