//! Transformer blocks: one description serves both towers.

use crate::kernels::Heads;
use crate::model::backend::Backend;
use crate::model::config::TowerConfig;
use crate::model::family::Mask;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{Attention, rows_of};
use crate::model::layers::linear::{Linear, LinearWeights};
use crate::model::layers::norm::{LayerNorm, LayerNormWeights};
use crate::model::layers::scale::LayerScale;
use crate::model::weights::{View, Weights};
use anyhow::Result;
use candle_core::{DType, Tensor};

/// The tensors of all blocks of a tower.
pub struct EncoderWeights {
    blocks: Vec<BlockWeights>,
    heads: usize,
    activation: Activation,
}

impl EncoderWeights {
    /// `{name}.0` and on.
    pub fn find(weights: &Weights, name: &str, config: &TowerConfig) -> Result<Self> {
        let block = |i| BlockWeights::find(weights, &format!("{name}.{i}"), config);
        Ok(Self {
            blocks: (0..config.num_hidden_layers).map(block).collect::<Result<_>>()?,
            heads: config.num_attention_heads,
            activation: config.activation,
        })
    }
}

/// What the rows of a tower are.
#[derive(Debug, Clone, Copy)]
pub struct Sequences<'a> {
    /// Tokens of a sequence.
    pub tokens: usize,
    /// How many of them, at their beginning, all sequences share, see [`Heads::shared`].
    pub shared: usize,
    pub mask: Mask,
    /// The token of each sequence that is kept, where only one is.
    pub kept: Option<&'a [usize]>,
}

/// The blocks of a tower.
pub struct Encoder {
    blocks: Vec<Block>,
    heads: usize,
    activation: Activation,
    backend: Backend,
}

impl Encoder {
    /// Loads the blocks.
    pub fn load(weights: &EncoderWeights, backend: &Backend) -> Result<Self> {
        let blocks = weights.blocks.iter().map(|block| Block::load(block, backend));
        Ok(Self {
            blocks: blocks.collect::<Result<_>>()?,
            heads: weights.heads,
            activation: weights.activation,
            backend: backend.clone(),
        })
    }

    /// Runs sequences through all blocks. Where one token of each is kept, the last block does no more than
    /// that token needs.
    ///
    /// *Shape* `x [R, E]` → `[R, E]`, or `[N, E]` where tokens are kept, R as in [`crate::kernels::attention`];
    /// f32 whatever the backend's.
    pub fn forward(&self, x: Tensor, sequences: Sequences) -> Result<Tensor> {
        let backend = &self.backend;
        let mut x = x.to_dtype(backend.dtype())?;
        let Sequences { tokens, shared, mask, kept } = sequences;
        let causal = mask == Mask::Causal;
        let heads = Heads { tokens, width: x.dim(1)?, heads: self.heads, causal, shared };
        for (i, block) in self.blocks.iter().enumerate() {
            let queries = kept.filter(|_| i + 1 == self.blocks.len());
            x = block.forward(x, &Attention { heads, queries, backend }, self.activation)?;
        }
        let x = match kept {
            Some(kept) if self.blocks.is_empty() => rows_of(&x, heads, kept)?,
            _ => x,
        };
        Ok(x.to_dtype(DType::F32)?)
    }
}

struct BlockWeights {
    norm1: LayerNormWeights,
    query: LinearWeights,
    key: LinearWeights,
    value: LinearWeights,
    out: LinearWeights,
    norm2: LayerNormWeights,
    fc1: LinearWeights,
    fc2: LinearWeights,
    /// What the outcomes of both halves are multiplied with, where they are.
    scales: Option<[View; 2]>,
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
        let scale = |part: &str| weights.view(&format!("{name}.{part}"), &[width]);
        Ok(Self {
            norm1: norm("norm1")?,
            query: linear("query", width, width)?,
            key: linear("key", width, width)?,
            value: linear("value", width, width)?,
            out: linear("out", width, width)?,
            norm2: norm("norm2")?,
            fc1: linear("fc1", width, inner)?,
            fc2: linear("fc2", inner, width)?,
            scales: match config.layer_scale {
                true => Some([scale("scale1")?, scale("scale2")?]),
                false => None,
            },
        })
    }
}

struct Block {
    norm1: LayerNorm,
    /// Queries, keys and values side by side.
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    scales: Option<[LayerScale; 2]>,
}

impl Block {
    fn load(weights: &BlockWeights, backend: &Backend) -> Result<Self> {
        let linear = |matrices: &[&LinearWeights]| Linear::load(matrices, backend);
        Ok(Self {
            norm1: LayerNorm::load(&weights.norm1, backend)?,
            qkv: linear(&[&weights.query, &weights.key, &weights.value])?,
            out: linear(&[&weights.out])?,
            norm2: LayerNorm::load(&weights.norm2, backend)?,
            fc1: linear(&[&weights.fc1])?,
            fc2: linear(&[&weights.fc2])?,
            scales: match &weights.scales {
                Some([first, second]) => {
                    Some([LayerScale::load(first, backend)?, LayerScale::load(second, backend)?])
                }
                None => None,
            },
        })
    }

    /// *Shape* `x [R, E] → [R, E]`, or `[N, E]` where only some tokens ask.
    fn forward(&self, x: Tensor, attention: &Attention, activation: Activation) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm1.forward(&x)?)?;
        let mixed = attention.forward(&qkv)?;
        let x = match attention.queries {
            Some(queries) => rows_of(&x, attention.heads, queries)?,
            None => x,
        };
        let x = self.add_half(x, &self.out, &mixed, 0)?;
        let inner = self.fc1.forward_activated(&self.norm2.forward(&x)?, activation)?;
        self.add_half(x, &self.fc2, &inner, 1)
    }

    /// `x` and the outcome of one half, scaled where the model does.
    fn add_half(&self, x: Tensor, last: &Linear, inner: &Tensor, half: usize) -> Result<Tensor> {
        match &self.scales {
            None => last.add_to(x, inner),
            Some(scales) => scales[half].add_to(x, &last.forward(inner)?),
        }
    }
}
