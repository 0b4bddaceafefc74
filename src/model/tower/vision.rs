//! The vision tower: images → embeddings.

use super::block::{Encoder, EncoderWeights};
use super::unit_length;
use crate::model::backend::Backend;
use crate::model::config::{ModelConfig, VisionConfig};
use crate::model::family::Family;
use crate::model::layers::linear::{Linear, LinearWeights};
use crate::model::layers::norm::{LayerNorm, LayerNormWeights};
use crate::model::weights::{Values, View, Weights};
use crate::pixels::Pixels;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

/// The tensors of the vision tower.
pub struct VisionWeights {
    family: Family,
    class_embedding: View,
    patch_embedding: LinearWeights,
    position_embedding: View,
    pre_norm: LayerNormWeights,
    encoder: EncoderWeights,
    post_norm: LayerNormWeights,
    projection: LinearWeights,
    image_size: usize,
    patch_size: usize,
}

impl VisionWeights {
    /// `vision.…`
    ///
    /// *Errors* when a tensor is missing or has another shape than the configuration says.
    pub fn find(weights: &Weights, config: &ModelConfig) -> Result<Self> {
        let VisionConfig { tower, image_size, patch_size: patch } = &config.vision;
        let width = tower.hidden_size;
        let norm = |name: &str| LayerNormWeights::find(weights, name, width, tower.layer_norm_eps);
        Ok(Self {
            family: config.family,
            class_embedding: weights.view("vision.class_embedding", &[width])?,
            patch_embedding: LinearWeights::find_without_bias(
                weights,
                "vision.patch_embedding",
                &[width, 3, *patch, *patch],
            )?,
            position_embedding: weights
                .view("vision.position_embedding.weight", &[(image_size / patch).pow(2) + 1, width])?,
            pre_norm: norm("vision.pre_norm")?,
            encoder: EncoderWeights::find(weights, "vision.blocks", tower)?,
            post_norm: norm("vision.post_norm")?,
            projection: LinearWeights::find_without_bias(
                weights,
                "vision.projection",
                &[config.projection_dim, width],
            )?,
            image_size: *image_size,
            patch_size: *patch,
        })
    }
}

/// The vision tower on a device.
pub struct VisionTower {
    family: Family,
    class_embedding: Values,
    patch_embedding: Linear,
    position_embedding: Values,
    pre_norm: LayerNorm,
    encoder: Encoder,
    post_norm: LayerNorm,
    projection: Linear,
    image_size: usize,
    patch_size: usize,
    backend: Backend,
}

impl VisionTower {
    /// Loads the weights.
    pub fn load(weights: &VisionWeights, backend: &Backend) -> Result<Self> {
        let exact = &backend.in_f32();
        Ok(Self {
            family: weights.family,
            class_embedding: weights.class_embedding.values()?,
            patch_embedding: Linear::load(&[&weights.patch_embedding], backend)?,
            position_embedding: weights.position_embedding.values()?,
            pre_norm: LayerNorm::load(&weights.pre_norm, exact)?,
            encoder: Encoder::load(&weights.encoder, backend)?,
            post_norm: LayerNorm::load(&weights.post_norm, exact)?,
            projection: Linear::load(&[&weights.projection], exact)?,
            image_size: weights.image_size,
            patch_size: weights.patch_size,
            backend: backend.clone(),
        })
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.backend.device()
    }

    /// Tokens of an image, `T`: its patches and the class.
    pub fn tokens(&self) -> usize {
        (self.image_size / self.patch_size).pow(2) + 1
    }

    /// *Shape* N images `[3, H, W]` f32 → `[N, D]`, unit length.
    ///
    /// *Errors* when an image is not of the network's size.
    pub fn forward(&self, images: &[Pixels]) -> Result<Tensor> {
        let size = self.image_size;
        for image in images {
            ensure!(
                (image.height, image.width) == (size, size),
                "the model takes images of {size} × {size} pixels, not {} × {}",
                image.width,
                image.height
            );
        }
        let tokens = self.tokens();
        let patches = self.unfold(images)?.to_dtype(self.backend.dtype())?;
        let patches = self.patch_embedding.forward(&patches)?.to_dtype(DType::F32)?;
        let x = self.embed(patches, images.len(), tokens)?;
        let x = self.pre_norm.forward(&x)?;
        let kept = vec![self.family.pooled_patch(); images.len()];
        let x = self.encoder.forward(x, tokens, self.family.image_mask(), &kept)?;
        unit_length(&self.projection.forward(&self.post_norm.forward(&x)?)?)
    }

    /// The patches of all images as rows, so that embedding them is a product.
    ///
    /// *Shape* N images `[3, H, W]` → `[N·(T-1), 3·patch·patch]`.
    fn unfold(&self, images: &[Pixels]) -> Result<Tensor> {
        let (size, patch) = (self.image_size, self.patch_size);
        let side = size / patch;
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

    /// Puts the class token before each image's patches and adds the positions.
    ///
    /// *Shape* `patches [N·(T-1), E] → [N·T, E]`.
    fn embed(&self, patches: Tensor, images: usize, tokens: usize) -> Result<Tensor> {
        let width = self.class_embedding.len();
        let class = Tensor::from_slice(&self.class_embedding, (1, 1, width), self.device())?;
        let class = class.broadcast_as((images, 1, width))?;
        let positions = Tensor::from_slice(&self.position_embedding, (tokens, width), self.device())?;
        let patches = patches.reshape((images, tokens - 1, width))?;
        let x = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&positions)?;
        Ok(x.reshape((images * tokens, width))?)
    }
}
