//! Attention pooling: a trained query attends to all tokens of an image, as in SigLIP.

use crate::kernels::Heads;
use crate::model::backend::Backend;
use crate::model::config::TowerConfig;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::Attention;
use crate::model::layers::linear::{Linear, LinearWeights};
use crate::model::layers::norm::{LayerNorm, LayerNormWeights};
use crate::model::weights::{View, Weights};
use anyhow::Result;
use candle_core::{DType, Tensor};

/// The tensors of the pooling.
pub struct AttentionPoolWeights {
    probe: View,
    query: LinearWeights,
    key: LinearWeights,
    value: LinearWeights,
    out: LinearWeights,
    norm: LayerNormWeights,
    fc1: LinearWeights,
    fc2: LinearWeights,
    heads: usize,
    activation: Activation,
}

impl AttentionPoolWeights {
    /// `{name}.probe` and the rest of a block.
    ///
    /// *Errors* when a tensor is missing or has another shape than the configuration says.
    pub fn find(weights: &Weights, name: &str, config: &TowerConfig) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |part: &str, inputs, outputs| {
            LinearWeights::find(weights, &format!("{name}.{part}"), inputs, outputs)
        };
        Ok(Self {
            probe: weights.view(&format!("{name}.probe"), &[width])?,
            query: linear("query", width, width)?,
            key: linear("key", width, width)?,
            value: linear("value", width, width)?,
            out: linear("out", width, width)?,
            norm: LayerNormWeights::find(weights, &format!("{name}.norm"), width, config.layer_norm_eps)?,
            fc1: linear("fc1", width, inner)?,
            fc2: linear("fc2", inner, width)?,
            heads: config.num_attention_heads,
            activation: config.activation,
        })
    }
}

/// The pooling on a device.
///
/// The query is the same for every image, so it is computed once. What is done to one row an image
/// stays exact in every precision.
pub struct AttentionPool {
    /// `[1, E]`
    query: Tensor,
    /// Keys and values side by side.
    key_value: Linear,
    out: Linear,
    norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    activation: Activation,
    backend: Backend,
}

impl AttentionPool {
    /// Loads the weights.
    pub fn load(weights: &AttentionPoolWeights, backend: &Backend) -> Result<Self> {
        let exact = &backend.in_f32();
        let linear = |weights: &LinearWeights| Linear::load(&[weights], exact);
        let probe = weights.probe.tensor(backend.device(), DType::F32)?.unsqueeze(0)?;
        Ok(Self {
            query: linear(&weights.query)?.forward(&probe)?,
            key_value: Linear::load(&[&weights.key, &weights.value], backend)?,
            out: linear(&weights.out)?,
            norm: LayerNorm::load(&weights.norm, exact)?,
            fc1: linear(&weights.fc1)?,
            fc2: linear(&weights.fc2)?,
            heads: weights.heads,
            activation: weights.activation,
            backend: backend.clone(),
        })
    }

    /// Pools images of `tokens`.
    ///
    /// *Shape* `x [N·T, E] → [N, E]`, f32.
    pub fn forward(&self, x: &Tensor, tokens: usize) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let dtype = self.backend.dtype();
        let key_value = self.key_value.forward(&x.to_dtype(dtype)?)?;
        // The query stands in every row, and the first of each image asks.
        let query = self.query.to_dtype(dtype)?.broadcast_as((rows, width))?;
        let qkv = Tensor::cat(&[&query, &key_value], 1)?.contiguous()?;
        let heads = Heads { tokens, width, heads: self.heads, causal: false, shared: 0 };
        let queries = vec![0; rows / tokens];
        let attention = Attention { heads, queries: Some(&queries), backend: &self.backend };
        let mixed = attention.forward(&qkv)?.to_dtype(DType::F32)?;
        let pooled = self.out.forward(&mixed)?;
        let inner = self.fc1.forward_activated(&self.norm.forward(&pooled)?, self.activation)?;
        self.fc2.add_to(pooled, &inner)
    }
}
