//! Labels → the classifier: the embedding of every prompt, known from earlier runs or from the text
//! tower, and of each label the mean of its own.

use crate::cache::{KnownPrompt, ModelEmbeddings};
use crate::labels::{Label, LabelSet};
use crate::messages::Messages;
use crate::model::Checkpoint;
use crate::model::tokenizer::cleaning::mojibake;
use crate::score::{Classifier, Scoring, ensemble};
use anyhow::Result;
use std::collections::{HashMap, HashSet};

/// The embedding of every prompt of a label set.
#[derive(Debug, Clone)]
pub struct PromptEmbeddings {
    dim: usize,
    rows: HashMap<String, Vec<f32>>,
}

impl PromptEmbeddings {
    /// Embeds the prompts of all labels and decoys.
    pub(super) fn new(
        checkpoint: &Checkpoint,
        labels: &LabelSet,
        known: &ModelEmbeddings,
        messages: &Messages,
    ) -> Result<Self> {
        let all = labels.labels().iter().chain(labels.decoys()).flat_map(|label| &label.prompts);
        let rows = embed_prompts(checkpoint, all.map(String::as_str), known, messages)?;
        let rows = rows.into_iter().map(|(prompt, row)| (prompt.to_owned(), row)).collect();
        Ok(Self { dim: checkpoint.dim(), rows })
    }

    /// Width of an embedding, `D`.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The embeddings of a label's prompts, in order.
    ///
    /// *Shape* rows `[D]`, unit length.
    ///
    /// *Panics* where the label is of another set.
    pub fn of_label(&self, label: &Label) -> Vec<&[f32]> {
        label.prompts.iter().map(|prompt| &self.rows[prompt][..]).collect()
    }

    /// The classifier of the set's labels and decoys.
    pub(super) fn classifier(&self, labels: &LabelSet, scoring: Scoring) -> Classifier {
        let rows = |labels: &[Label]| {
            let mut rows = Vec::with_capacity(labels.len() * self.dim);
            labels.iter().for_each(|label| rows.extend(ensemble(&self.of_label(label))));
            rows
        };
        Classifier::new(rows(labels.labels()), self.dim, scoring).with_decoys(rows(labels.decoys()))
    }
}

fn embed_prompts<'a>(
    checkpoint: &Checkpoint,
    all: impl Iterator<Item = &'a str>,
    known: &ModelEmbeddings,
    messages: &Messages,
) -> Result<HashMap<&'a str, Vec<f32>>> {
    // Labels may share prompts.
    let mut seen = HashSet::new();
    let prompts: Vec<_> = all.filter(|prompt| seen.insert(*prompt)).collect();
    let warn = |prompt: &str| {
        messages.warning(format_args!(
            "the prompt {prompt:?} is longer than the model's context; its end is not seen"
        ));
    };
    for prompt in &prompts {
        if let Some(meaning) = mojibake::probable_meaning(prompt) {
            messages.warning(format_args!(
                "the prompt {prompt:?} looks as if it had been decoded with the wrong encoding; if it means \
                 {meaning:?}, write it as UTF-8"
            ));
        }
    }
    let mut embeddings = HashMap::new();
    let mut unknown = Vec::new();
    for (&prompt, row) in prompts.iter().zip(known.prompts(&prompts)) {
        match row {
            Some(KnownPrompt { embedding, truncated }) => {
                if truncated {
                    warn(prompt);
                }
                embeddings.insert(prompt, embedding);
            }
            None => unknown.push(prompt),
        }
    }
    if unknown.is_empty() {
        return Ok(embeddings);
    }
    let encoded = checkpoint.text_encoder()?.encode(&unknown)?;
    encoded.truncated.iter().for_each(|&prompt| warn(unknown[prompt]));
    for (i, (prompt, row)) in unknown.into_iter().zip(encoded.embeddings.rows()).enumerate() {
        known.keep_prompt(prompt, row, encoded.truncated.contains(&i));
        embeddings.insert(prompt, row.to_vec());
    }
    Ok(embeddings)
}
