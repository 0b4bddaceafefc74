//! The text tower: token ids → embeddings.

use super::block::{Encoder, EncoderWeights};
use super::unit_length;
use crate::model::backend::Backend;
use crate::model::config::{ModelConfig, TextConfig};
use crate::model::family::Family;
use crate::model::layers::linear::{Linear, LinearWeights};
use crate::model::layers::norm::{LayerNorm, LayerNormWeights};
use crate::model::weights::{Rows, Values, View, Weights};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

/// The tensors of the text tower.
pub struct TextWeights {
    family: Family,
    token_embedding: View,
    position_embedding: View,
    encoder: EncoderWeights,
    final_norm: LayerNormWeights,
    projection: LinearWeights,
}

impl TextWeights {
    /// `text.…`
    ///
    /// *Errors* when a tensor is missing or has another shape than the configuration says.
    pub fn find(weights: &Weights, config: &ModelConfig) -> Result<Self> {
        let TextConfig { tower, vocab_size, max_position_embeddings } = &config.text;
        let width = tower.hidden_size;
        let embedding = |name: &str, rows: &usize| {
            weights.view(&format!("text.{name}_embedding.weight"), &[*rows, width])
        };
        Ok(Self {
            family: config.family,
            token_embedding: embedding("token", vocab_size)?,
            position_embedding: embedding("position", max_position_embeddings)?,
            encoder: EncoderWeights::find(weights, "text.blocks", tower)?,
            final_norm: LayerNormWeights::find(weights, "text.final_norm", width, tower.layer_norm_eps)?,
            projection: LinearWeights::find_without_bias(
                weights,
                "text.projection",
                &[config.projection_dim, width],
            )?,
        })
    }
}

/// The text tower on a device.
///
/// The token table stays in the file: a run needs a few of its rows.
pub struct TextTower {
    family: Family,
    token_embedding: Rows,
    position_embedding: Values,
    vocabulary: usize,
    width: usize,
    encoder: Encoder,
    final_norm: LayerNorm,
    projection: Linear,
    backend: Backend,
}

impl TextTower {
    /// Loads the weights.
    pub fn load(weights: &TextWeights, backend: &Backend) -> Result<Self> {
        let exact = &backend.in_f32();
        let shape = weights.token_embedding.shape();
        Ok(Self {
            family: weights.family,
            vocabulary: shape[0],
            width: shape[1],
            token_embedding: weights.token_embedding.clone().into_rows()?,
            position_embedding: weights.position_embedding.values()?,
            encoder: Encoder::load(&weights.encoder, backend)?,
            final_norm: LayerNorm::load(&weights.final_norm, exact)?,
            projection: Linear::load(&[&weights.projection], exact)?,
            backend: backend.clone(),
        })
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.backend.device()
    }

    /// Embeds prompts, padded and each taken at one token as the [family](Family) says.
    ///
    /// *Shape* P prompts of at most `T` token ids → `[P, D]`, unit length.
    ///
    /// *Errors* when a prompt is empty or longer than the network's context, or an id unknown to it.
    pub fn forward(&self, prompts: &[&[u32]]) -> Result<Tensor> {
        let context = self.position_embedding.len() / self.width;
        let longest = prompts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let tokens = self.family.padded_len(longest);
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
        let x = Tensor::from_vec(x, (prompts.len() * tokens, self.width), self.device())?;
        let kept: Vec<_> = prompts.iter().map(|ids| self.family.pooled_token(ids.len())).collect();
        let x = self.encoder.forward(x, tokens, self.family.text_mask(), &kept)?;
        unit_length(&self.projection.forward(&self.final_norm.forward(&x)?)?)
    }
}
