//! The vision tower: images → embeddings.

use super::block::{Encoder, EncoderWeights, Sequences};
use super::pool::{AttentionPool, AttentionPoolWeights};
use super::{embedding, load_projection};
use crate::model::backend::Backend;
use crate::model::config::{ModelConfig, PostNorm, VisionConfig};
use crate::model::family::{ImagePooling, Mask};
use crate::model::layers::linear::{Linear, LinearWeights};
use crate::model::layers::norm::{LayerNorm, LayerNormWeights};
use crate::model::weights::{Values, View, Weights};
use crate::pixels::Pixels;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};

/// The tensors of the vision tower.
pub struct VisionWeights {
    class_embedding: Option<View>,
    patch_embedding: LinearWeights,
    position_embedding: View,
    pre_norm: Option<LayerNormWeights>,
    encoder: EncoderWeights,
    post_norm: LayerNormWeights,
    pool: Option<AttentionPoolWeights>,
    projection: Option<LinearWeights>,
    config: VisionConfig,
}

impl VisionWeights {
    /// `vision.…`
    ///
    /// *Errors* when a tensor is missing or has another shape than the configuration says.
    pub fn find(weights: &Weights, config: &ModelConfig) -> Result<Self> {
        let dim = config.projection_dim;
        let config = &config.vision;
        let (tower, patch) = (&config.tower, config.patch_size);
        let width = tower.hidden_size;
        let norm = |name: &str| LayerNormWeights::find(weights, name, width, tower.layer_norm_eps);
        let patches =
            if config.patch_bias { LinearWeights::find_patches } else { LinearWeights::find_without_bias };
        Ok(Self {
            class_embedding: match config.class_token {
                true => Some(weights.view("vision.class_embedding", &[width])?),
                false => None,
            },
            patch_embedding: patches(weights, "vision.patch_embedding", &[width, 3, patch, patch])?,
            position_embedding: weights
                .view("vision.position_embedding.weight", &[config.tokens(), width])
                .with_context(|| {
                let size = config.image_size;
                format!("position embeddings are not resized, and images have {size} × {size} pixels")
            })?,
            pre_norm: if config.pre_norm { Some(norm("vision.pre_norm")?) } else { None },
            encoder: EncoderWeights::find(weights, "vision.blocks", tower)?,
            post_norm: norm("vision.post_norm")?,
            pool: match config.pooling {
                ImagePooling::Attention => Some(AttentionPoolWeights::find(weights, "vision.pool", tower)?),
                ImagePooling::ClassToken | ImagePooling::Mean => None,
            },
            projection: LinearWeights::find_projection(
                weights,
                "vision.projection",
                tower.projection,
                width,
                dim,
            )?,
            config: config.clone(),
        })
    }
}

/// The vision tower on a device.
pub struct VisionTower {
    class_embedding: Option<Values>,
    patch_embedding: Linear,
    position_embedding: Values,
    pre_norm: Option<LayerNorm>,
    encoder: Encoder,
    post_norm: LayerNorm,
    pool: Option<AttentionPool>,
    projection: Option<Linear>,
    config: VisionConfig,
    backend: Backend,
}

impl VisionTower {
    /// Loads the weights.
    pub fn load(weights: &VisionWeights, backend: &Backend) -> Result<Self> {
        let exact = &backend.in_f32();
        let norm = |norm: &LayerNormWeights| LayerNorm::load(norm, exact);
        Ok(Self {
            class_embedding: weights.class_embedding.as_ref().map(View::values).transpose()?,
            patch_embedding: Linear::load(&[&weights.patch_embedding], backend)?,
            position_embedding: weights.position_embedding.values()?,
            pre_norm: weights.pre_norm.as_ref().map(norm).transpose()?,
            encoder: Encoder::load(&weights.encoder, backend)?,
            post_norm: norm(&weights.post_norm)?,
            pool: weights.pool.as_ref().map(|pool| AttentionPool::load(pool, backend)).transpose()?,
            projection: load_projection(&weights.projection, exact)?,
            config: weights.config.clone(),
            backend: backend.clone(),
        })
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.backend.device()
    }

    /// Tokens of an image, `T`: its patches and, where there is one, the class.
    pub fn tokens(&self) -> usize {
        self.config.tokens()
    }

    /// *Shape* N images `[3, H, W]` f32 → `[N, D]`, unit length.
    ///
    /// *Errors* when an image is not of the network's size.
    pub fn forward(&self, images: &[Pixels]) -> Result<Tensor> {
        let size = self.config.image_size;
        for image in images {
            ensure!(
                (image.height, image.width) == (size, size),
                "the model takes images of {size} × {size} pixels, not {} × {}",
                image.width,
                image.height
            );
        }
        let patches = self.unfold(images)?.to_dtype(self.backend.dtype())?;
        let patches = self.patch_embedding.forward(&patches)?.to_dtype(DType::F32)?;
        let x = self.embed(patches, images.len())?;
        let x = match &self.pre_norm {
            Some(norm) => norm.forward(&x)?,
            None => x,
        };
        // The class token comes first.
        let class = vec![0; images.len()];
        let kept = (self.config.pooling == ImagePooling::ClassToken).then_some(&class[..]);
        let sequences = Sequences { tokens: self.tokens(), shared: 0, mask: Mask::None, kept };
        let x = self.encoder.forward(x, sequences)?;
        embedding(&self.pool_and_normalise(&x)?, self.projection.as_ref())
    }

    /// *Shape* `x [N·T, E] → [N, E]`; `[N, E]` already where the class token was kept alone.
    fn pool_and_normalise(&self, x: &Tensor) -> Result<Tensor> {
        let pool = |x: &Tensor| match (self.config.pooling, &self.pool) {
            (ImagePooling::Mean, _) => self.mean_of_patches(x),
            (ImagePooling::Attention, Some(pool)) => pool.forward(x, self.tokens()),
            (ImagePooling::ClassToken | ImagePooling::Attention, _) => Ok(x.clone()),
        };
        match self.config.post_norm {
            PostNorm::BeforePooling => pool(&self.post_norm.forward(x)?),
            PostNorm::AfterPooling => self.post_norm.forward(&pool(x)?),
        }
    }

    /// *Shape* `x [N·T, E] → [N, E]`.
    fn mean_of_patches(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let tokens = self.tokens();
        let first = usize::from(self.config.class_token);
        let images = x.reshape((rows / tokens, tokens, width))?;
        Ok(images.narrow(1, first, tokens - first)?.mean(1)?)
    }

    /// The patches of all images as rows, so that embedding them is a product.
    ///
    /// *Shape* N images `[3, H, W]` → `[N·patches, 3·patch·patch]`.
    fn unfold(&self, images: &[Pixels]) -> Result<Tensor> {
        let VisionConfig { image_size: size, patch_size: patch, .. } = self.config;
        let side = self.config.patches_a_side();
        let width = 3 * patch * patch;
        let mut rows = Vec::with_capacity(images.len() * side * side * width);
        for image in images {
            for (top, left) in (0..side * side).map(|i| (i / side * patch, i % side * patch)) {
                for channel in image.values.chunks_exact(size * size) {
                    for line in channel.chunks_exact(size).skip(top).take(patch) {
                        rows.extend_from_slice(&line[left..left + patch]);
                    }
                }
            }
        }
        Ok(Tensor::from_vec(rows, (images.len() * side * side, width), self.device())?)
    }

    /// Puts the class token, if there is one, before each image's patches and adds the positions.
    ///
    /// *Shape* `patches [N·patches, E] → [N·T, E]`.
    fn embed(&self, patches: Tensor, images: usize) -> Result<Tensor> {
        let (tokens, width) = (self.tokens(), self.config.tower.hidden_size);
        let positions = Tensor::from_slice(&self.position_embedding, (tokens, width), self.device())?;
        let patches = patches.reshape((images, self.config.patches_a_side().pow(2), width))?;
        let x = match &self.class_embedding {
            Some(class) => {
                let class = Tensor::from_slice(class, (1, 1, width), self.device())?;
                Tensor::cat(&[&class.broadcast_as((images, 1, width))?, &patches], 1)?
            }
            None => patches,
        };
        Ok(x.broadcast_add(&positions)?.reshape((images * tokens, width))?)
    }
}
