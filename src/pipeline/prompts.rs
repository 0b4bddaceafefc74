//! Labels → the classifier: the embedding of every prompt, known from earlier runs or from the text
//! tower, and of each label the mean of its own.

use crate::cache::{KnownPrompt, ModelEmbeddings};
use crate::labels::{Label, LabelSet};
use crate::messages::Messages;
use crate::model::Checkpoint;
use crate::model::tokenizer::cleaning::mojibake;
use crate::score::{Classifier, ensemble};
use anyhow::Result;
use std::collections::{HashMap, HashSet};

/// Embeds the labels.
pub(super) fn classifier(
    checkpoint: &Checkpoint,
    labels: &LabelSet,
    known: &ModelEmbeddings,
    messages: &Messages,
) -> Result<Classifier> {
    let all = labels.labels().iter().flat_map(|label| &label.prompts);
    let embeddings = embed_prompts(checkpoint, all.map(String::as_str), known, messages)?;
    let label = |label: &Label| {
        ensemble(&label.prompts.iter().map(|prompt| &embeddings[prompt.as_str()][..]).collect::<Vec<_>>())
    };
    let values = labels.labels().iter().flat_map(label).collect();
    Ok(Classifier::new(values, checkpoint.dim(), checkpoint.scoring()))
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
