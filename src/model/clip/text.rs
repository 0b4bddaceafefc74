//! The text tower: token ids → embeddings.

use super::block::{Encoder, EncoderWeights};
use super::unit_length;
use crate::model::config::TextConfig;
use crate::model::linear::{Linear, LinearWeights};
use crate::model::norm::{LayerNorm, LayerNormWeights};
use crate::model::precision::Precision;
use crate::model::weights::{Rows, Values, View, Weights};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

/// The tensors of the text tower.
pub struct TextWeights {
    token_embedding: View,
    position_embedding: View,
    encoder: EncoderWeights,
    final_layer_norm: LayerNormWeights,
    text_projection: LinearWeights,
}

impl TextWeights {
    /// `text_model.…` and `text_projection`.
    pub fn find(weights: &Weights, config: &TextConfig, projection: usize) -> Result<Self> {
        let width = config.tower.hidden_size;
        let embedding = |name: &str, rows| {
            weights.view(&format!("text_model.embeddings.{name}_embedding.weight"), &[rows, width])
        };
        Ok(Self {
            token_embedding: embedding("token", config.vocab_size)?,
            position_embedding: embedding("position", config.max_position_embeddings)?,
            encoder: EncoderWeights::find(weights, "text_model.encoder", &config.tower)?,
            final_layer_norm: LayerNormWeights::find(
                weights,
                "text_model.final_layer_norm",
                width,
                config.tower.layer_norm_eps,
            )?,
            text_projection: LinearWeights::find_without_bias(
                weights,
                "text_projection",
                &[projection, width],
            )?,
        })
    }
}

/// The text tower on a device.
///
/// The token table stays in the file: a run needs a few of its rows.
pub struct TextTower {
    token_embedding: Rows,
    position_embedding: Values,
    vocabulary: usize,
    width: usize,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
    text_projection: Linear,
    device: Device,
}

impl TextTower {
    /// Loads the weights.
    pub fn load(weights: &TextWeights, device: &Device, precision: Precision) -> Result<Self> {
        let shape = weights.token_embedding.shape();
        Ok(Self {
            vocabulary: shape[0],
            width: shape[1],
            token_embedding: weights.token_embedding.clone().into_rows()?,
            position_embedding: weights.position_embedding.values()?,
            encoder: Encoder::load(&weights.encoder, device, precision)?,
            final_layer_norm: LayerNorm::load(&weights.final_layer_norm, device, Precision::F32)?,
            text_projection: Linear::load(&[&weights.text_projection], device, Precision::F32)?,
            device: device.clone(),
        })
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Embeds prompts, each taken at its own last token, which is its end of text.
    ///
    /// Shorter prompts are padded to the longest; a token sees only those before it, so the
    /// padding changes nothing.
    ///
    /// *Shape* P prompts of at most `T` token ids → `[P, D]`, unit length.
    ///
    /// *Errors* when a prompt is empty or longer than the network's context, or an id unknown to it.
    pub fn forward(&self, prompts: &[&[u32]]) -> Result<Tensor> {
        let context = self.position_embedding.len() / self.width;
        let tokens = prompts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        ensure!(tokens <= context, "a prompt has {tokens} tokens, the model takes {context}");
        ensure!(prompts.iter().all(|ids| !ids.is_empty()), "a prompt has no tokens");
        let mut x = vec![0.0; prompts.len() * tokens * self.width];
        for (ids, rows) in prompts.iter().zip(x.chunks_exact_mut(tokens * self.width)) {
            let rows = rows.chunks_exact_mut(self.width);
            for ((&id, row), position) in
                ids.iter().zip(rows).zip(self.position_embedding.chunks_exact(self.width))
            {
                ensure!(
                    (id as usize) < self.vocabulary,
                    "the tokenizer gives token {id}, the model has {} tokens",
                    self.vocabulary
                );
                row.copy_from_slice(position);
                self.token_embedding.add_to(id as usize, row);
            }
        }
        let x = Tensor::from_vec(x, (prompts.len() * tokens, self.width), &self.device)?;
        let ends: Vec<_> = prompts.iter().map(|ids| ids.len() - 1).collect();
        let x = self.encoder.forward(x, tokens, true, &ends)?;
        unit_length(&self.text_projection.forward(&self.final_layer_norm.forward(&x)?)?)
    }
}
