//! Transformer blocks: one description serves both towers.

use crate::kernels::Heads;
use crate::model::activation::Activation;
use crate::model::attention::{Attention, rows_of};
use crate::model::config::TowerConfig;
use crate::model::linear::{Linear, LinearWeights};
use crate::model::norm::{LayerNorm, LayerNormWeights};
use crate::model::precision::Precision;
use crate::model::weights::Weights;
use anyhow::Result;
use candle_core::{DType, Device, Tensor};

/// The tensors of all blocks of a tower.
pub struct EncoderWeights {
    blocks: Vec<BlockWeights>,
    heads: usize,
    activation: Activation,
}

impl EncoderWeights {
    /// `{name}.layers.0` and on.
    pub fn find(weights: &Weights, name: &str, config: &TowerConfig) -> Result<Self> {
        let block = |i| BlockWeights::find(weights, &format!("{name}.layers.{i}"), config);
        Ok(Self {
            blocks: (0..config.num_hidden_layers).map(block).collect::<Result<_>>()?,
            heads: config.num_attention_heads,
            activation: config.hidden_act.activation(),
        })
    }
}

/// The blocks of a tower.
pub struct Encoder {
    blocks: Vec<Block>,
    heads: usize,
    activation: Activation,
    precision: Precision,
}

impl Encoder {
    /// Loads the blocks.
    pub fn load(weights: &EncoderWeights, device: &Device, precision: Precision) -> Result<Self> {
        let blocks = weights.blocks.iter().map(|block| Block::load(block, device, precision));
        Ok(Self {
            blocks: blocks.collect::<Result<_>>()?,
            heads: weights.heads,
            activation: weights.activation,
            precision,
        })
    }

    /// Runs sequences of `tokens` through all blocks and keeps one token of each: the last block
    /// does no more than that token needs.
    ///
    /// *Shape* `x [N·T, E]`, `kept [N]` → `[N, E]`, f32 whatever the precision.
    pub fn forward(&self, x: Tensor, tokens: usize, causal: bool, kept: &[usize]) -> Result<Tensor> {
        let precision = self.precision;
        let mut x = x.to_dtype(precision.dtype())?;
        let heads = Heads { tokens, width: x.dim(1)?, heads: self.heads, causal };
        for (i, block) in self.blocks.iter().enumerate() {
            let queries = (i + 1 == self.blocks.len()).then_some(kept);
            x = block.forward(x, &Attention { heads, queries, precision }, self.activation)?;
        }
        let x = if self.blocks.is_empty() { rows_of(&x, tokens, kept)? } else { x };
        Ok(x.to_dtype(DType::F32)?)
    }
}

struct BlockWeights {
    layer_norm1: LayerNormWeights,
    q_proj: LinearWeights,
    k_proj: LinearWeights,
    v_proj: LinearWeights,
    out_proj: LinearWeights,
    layer_norm2: LayerNormWeights,
    fc1: LinearWeights,
    fc2: LinearWeights,
}

impl BlockWeights {
    fn find(weights: &Weights, name: &str, config: &TowerConfig) -> Result<Self> {
        let width = config.hidden_size;
        let inner = config.intermediate_size;
        let linear = |part: &str, inputs, outputs| {
            LinearWeights::find(weights, &format!("{name}.{part}"), inputs, outputs)
        };
        let norm = |part: &str| {
            LayerNormWeights::find(weights, &format!("{name}.{part}"), width, config.layer_norm_eps)
        };
        Ok(Self {
            layer_norm1: norm("layer_norm1")?,
            q_proj: linear("self_attn.q_proj", width, width)?,
            k_proj: linear("self_attn.k_proj", width, width)?,
            v_proj: linear("self_attn.v_proj", width, width)?,
            out_proj: linear("self_attn.out_proj", width, width)?,
            layer_norm2: norm("layer_norm2")?,
            fc1: linear("mlp.fc1", width, inner)?,
            fc2: linear("mlp.fc2", inner, width)?,
        })
    }
}

struct Block {
    layer_norm1: LayerNorm,
    qkv_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn load(weights: &BlockWeights, device: &Device, precision: Precision) -> Result<Self> {
        let linear = |matrices: &[&LinearWeights]| Linear::load(matrices, device, precision);
        Ok(Self {
            layer_norm1: LayerNorm::load(&weights.layer_norm1, device, precision)?,
            qkv_proj: linear(&[&weights.q_proj, &weights.k_proj, &weights.v_proj])?,
            out_proj: linear(&[&weights.out_proj])?,
            layer_norm2: LayerNorm::load(&weights.layer_norm2, device, precision)?,
            fc1: linear(&[&weights.fc1])?,
            fc2: linear(&[&weights.fc2])?,
        })
    }

    /// *Shape* `x [N·T, E] → [N·T, E]`, or `[N, E]` where only some tokens ask.
    fn forward(&self, x: Tensor, attention: &Attention, activation: Activation) -> Result<Tensor> {
        let qkv = self.qkv_proj.forward(&self.layer_norm1.forward(&x)?)?;
        let mixed = attention.forward(&qkv)?;
        let x = match attention.queries {
            Some(queries) => rows_of(&x, attention.heads.tokens, queries)?,
            None => x,
        };
        let x = self.out_proj.add_to(x, &mixed)?;
        let inner = self.fc1.forward_activated(&self.layer_norm2.forward(&x)?, activation)?;
        self.fc2.add_to(x, &inner)
    }
}
