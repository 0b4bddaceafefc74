//! What the records of one run have in common.

use crate::score::{Answer, Scoring};

/// The names that scores refer to, and which of its parts a record has.
#[derive(Debug, Clone)]
pub struct RecordShape {
    pub labels: Vec<String>,
    /// Their positions follow those of the labels.
    pub decoys: Vec<String>,
    /// The most scores of a record; all when absent.
    pub top: Option<usize>,
    pub scoring: Scoring,
    pub answer: Answer,
    /// Whether more than the threshold may reject the best label, so that it has to be told what did.
    pub has_rules: bool,
    /// Whether records have prediction sets.
    pub has_sets: bool,
}

impl RecordShape {
    /// The name of a label or decoy.
    pub(super) fn name(&self, position: usize) -> &str {
        self.labels.get(position).unwrap_or_else(|| &self.decoys[position - self.labels.len()])
    }

    /// The scoring's name, where readers have to know it: probabilities that are not shares of 1 are
    /// not what they expect.
    pub(super) fn told_scoring(&self) -> Option<&'static str> {
        match self.scoring {
            Scoring::Softmax { .. } => None,
            Scoring::Sigmoid { .. } => Some(self.scoring.name()),
        }
    }
}

#[cfg(test)]
impl RecordShape {
    /// That of records of all labels, by a softmax.
    pub(super) fn of_labels(labels: &[&str]) -> Self {
        Self {
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            decoys: Vec::new(),
            top: None,
            scoring: Scoring::Softmax { scale: 100.0 },
            answer: Answer::One,
            has_rules: false,
            has_sets: false,
        }
    }
}
