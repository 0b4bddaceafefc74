//! The text tower: token ids → embeddings.

use super::block::{Encoder, EncoderWeights, Sequences};
use super::{embedding, load_projection};
use crate::model::backend::Backend;
use crate::model::config::{ModelConfig, TextConfig};
use crate::model::family::{Mask, Padding, TextPooling};
use crate::model::layers::linear::{Linear, LinearWeights};
use crate::model::layers::norm::{LayerNorm, LayerNormWeights};
use crate::model::weights::{Rows, Values, View, Weights};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};

/// The tensors of the text tower.
pub struct TextWeights {
    mask: Mask,
    pooling: TextPooling,
    padding: Padding,
    token_embedding: View,
    position_embedding: View,
    encoder: EncoderWeights,
    final_norm: LayerNormWeights,
    projection: Option<LinearWeights>,
}

impl TextWeights {
    /// `text.…`
    ///
    /// *Errors* when a tensor is missing or has another shape than the configuration says.
    pub fn find(weights: &Weights, config: &ModelConfig) -> Result<Self> {
        let TextConfig { tower, vocab_size, max_position_embeddings, mask, pooling, .. } = &config.text;
        let width = tower.hidden_size;
        let embedding = |name: &str, rows: &usize| {
            weights.view(&format!("text.{name}_embedding.weight"), &[*rows, width])
        };
        Ok(Self {
            mask: *mask,
            pooling: *pooling,
            padding: config.text.padding(),
            token_embedding: embedding("token", vocab_size)?,
            position_embedding: embedding("position", max_position_embeddings)?,
            encoder: EncoderWeights::find(weights, "text.blocks", tower)?,
            final_norm: LayerNormWeights::find(weights, "text.final_norm", width, tower.layer_norm_eps)?,
            projection: LinearWeights::find_projection(
                weights,
                "text.projection",
                tower.projection,
                width,
                config.projection_dim,
            )?,
        })
    }
}

/// The text tower on a device.
///
/// The token table stays in the file: a run needs a few of its rows.
pub struct TextTower {
    mask: Mask,
    pooling: TextPooling,
    padding: Padding,
    token_embedding: Rows,
    position_embedding: Values,
    vocabulary: usize,
    width: usize,
    encoder: Encoder,
    final_norm: LayerNorm,
    projection: Option<Linear>,
    backend: Backend,
}

impl TextTower {
    /// Loads the weights.
    pub fn load(weights: &TextWeights, backend: &Backend) -> Result<Self> {
        let exact = &backend.in_f32();
        let shape = weights.token_embedding.shape();
        Ok(Self {
            mask: weights.mask,
            pooling: weights.pooling,
            padding: weights.padding,
            vocabulary: shape[0],
            width: shape[1],
            token_embedding: weights.token_embedding.clone().into_rows()?,
            position_embedding: weights.position_embedding.values()?,
            encoder: Encoder::load(&weights.encoder, backend)?,
            final_norm: LayerNorm::load(&weights.final_norm, exact)?,
            projection: load_projection(&weights.projection, exact)?,
            backend: backend.clone(),
        })
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.backend.device()
    }

    /// The most tokens of a prompt.
    pub fn context(&self) -> usize {
        self.position_embedding.len() / self.width
    }

    /// The ids of a prompt with those of padding that are part of its numbers.
    pub fn pad(&self, mut ids: Vec<u32>, pad_id: u32) -> Vec<u32> {
        let is_largest = || ids.iter().all(|id| *id < pad_id);
        let least = match self.padding {
            Padding::Context => self.context(),
            // The embedding is taken at the first pad.
            Padding::Longest if self.pooling == TextPooling::LargestId && is_largest() => ids.len() + 1,
            Padding::Longest => 0,
        };
        let length = ids.len().max(least.min(self.context()));
        ids.resize(length, pad_id);
        ids
    }

    /// Embeds prompts that were [padded](Self::pad).
    ///
    /// *Shape* P prompts of at most `T` token ids → `[P, D]`, unit length.
    ///
    /// *Errors* when a prompt is empty, longer than the network's context or not padded to it where
    /// that counts, an id is unknown to the network, or none is the one where the embedding is taken.
    pub fn forward(&self, prompts: &[&[u32]]) -> Result<Tensor> {
        let context = self.context();
        let tokens = prompts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        ensure!(tokens <= context, "a prompt has {tokens} tokens, the model takes {context}");
        let is_padded = |ids: &&[u32]| self.padding == Padding::Longest || ids.len() == context;
        ensure!(prompts.iter().all(is_padded), "a prompt is not padded to {context} tokens");
        let kept = |ids: &&[u32]| self.pooling.position(ids).with_context(|| self.lacks_pooled());
        let kept = prompts.iter().map(kept).collect::<Result<Vec<_>>>()?;
        let shared = self.shared(prompts).min(kept.iter().copied().min().unwrap_or(0));
        let own = tokens - shared;
        let mut x = vec![0.0; (shared + prompts.len() * own) * self.width];
        let (first, rest) = x.split_at_mut(shared * self.width);
        if let Some(ids) = prompts.first() {
            self.write_tokens(&ids[..shared], 0, first)?;
        }
        for (ids, rows) in prompts.iter().zip(rest.chunks_exact_mut(own * self.width)) {
            self.write_tokens(&ids[shared..], shared, rows)?;
        }
        let x = Tensor::from_vec(x, (shared + prompts.len() * own, self.width), self.device())?;
        let sequences = Sequences { tokens, shared, mask: self.mask, kept: Some(&kept) };
        let x = self.encoder.forward(x, sequences)?;
        embedding(&self.final_norm.forward(&x)?, self.projection.as_ref())
    }

    /// How many of the first prompts make a batch of at most so many rows; one at least.
    pub fn batch(&self, prompts: &[&[u32]], rows: usize) -> usize {
        let (mut tokens, mut shared) = (0, usize::MAX);
        let fits = |(n, ids): (usize, &&[u32])| {
            tokens = tokens.max(ids.len());
            shared = shared.min(self.shared(&[prompts[0], ids]));
            shared + (n + 1) * (tokens - shared) <= rows
        };
        prompts.iter().enumerate().map(fits).take_while(|fits| *fits).count().max(1)
    }

    /// How many tokens at the beginning all prompts share, where a token's numbers depend on no later one:
    /// the kernels compute such a token once.
    fn shared(&self, prompts: &[&[u32]]) -> usize {
        if self.mask != Mask::Causal || !matches!(self.backend, Backend::Kernels(_)) {
            return 0;
        }
        let Some((first, others)) = prompts.split_first() else { return 0 };
        let common = |ids: &&[u32]| first.iter().zip(*ids).take_while(|(a, b)| a == b).count();
        others.iter().map(common).min().unwrap_or(0)
    }

    /// Writes the sums of the embeddings of tokens and of their positions, `position` and on.
    fn write_tokens(&self, ids: &[u32], position: usize, rows: &mut [f32]) -> Result<()> {
        let positions = self.position_embedding.chunks_exact(self.width).skip(position);
        for ((&id, row), position) in ids.iter().zip(rows.chunks_exact_mut(self.width)).zip(positions) {
            ensure!(
                (id as usize) < self.vocabulary,
                "the tokenizer gives token {id}, the model has {} tokens",
                self.vocabulary
            );
            row.copy_from_slice(position);
            self.token_embedding.add_to(id as usize, row);
        }
        Ok(())
    }

    fn lacks_pooled(&self) -> String {
        match self.pooling {
            TextPooling::Id(id) => format!(
                "a prompt's tokens lack {id}, where the configuration says that the embedding is taken"
            ),
            _ => "a prompt has no tokens".to_owned(),
        }
    }
}
