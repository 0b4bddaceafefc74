//! Labels → the classifier: the embedding of every prompt, known from earlier runs or from the text
//! tower, and of each label the mean of its own.

use crate::cache::{Cache, KnownPrompt};
use crate::labels::{Label, LabelSet};
use crate::messages::Messages;
use crate::model::Checkpoint;
use crate::score::{Classifier, ensemble};
use anyhow::Result;
use std::collections::{HashMap, HashSet};

/// Embeds the labels.
pub(super) fn classifier(
    checkpoint: &Checkpoint,
    labels: &LabelSet,
    cache: &Cache,
    messages: &Messages,
) -> Result<Classifier> {
    let all = labels.labels().iter().flat_map(|label| &label.prompts);
    let embeddings = embed_prompts(checkpoint, all.map(String::as_str), cache, messages)?;
    let label = |label: &Label| {
        ensemble(&label.prompts.iter().map(|prompt| &embeddings[prompt.as_str()][..]).collect::<Vec<_>>())
    };
    let values = labels.labels().iter().flat_map(label).collect();
    Ok(Classifier::new(values, checkpoint.dim(), checkpoint.logit_scale()))
}

fn embed_prompts<'a>(
    checkpoint: &Checkpoint,
    all: impl Iterator<Item = &'a str>,
    cache: &Cache,
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
    let mut embeddings = HashMap::new();
    let mut unknown = Vec::new();
    for (&prompt, known) in prompts.iter().zip(cache.prompts(&prompts)) {
        match known {
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
        cache.keep_prompt(prompt, row, encoded.truncated.contains(&i));
        embeddings.insert(prompt, row.to_vec());
    }
    Ok(embeddings)
}
