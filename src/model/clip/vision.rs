//! The vision tower: images → embeddings.

use super::block::{Encoder, EncoderWeights};
use super::unit_length;
use crate::model::config::VisionConfig;
use crate::model::linear::{Linear, LinearWeights};
use crate::model::norm::{LayerNorm, LayerNormWeights};
use crate::model::precision::Precision;
use crate::model::weights::{Values, View, Weights};
use crate::pixels::Pixels;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

/// The tensors of the vision tower.
pub struct VisionWeights {
    class_embedding: View,
    patch_embedding: LinearWeights,
    position_embedding: View,
    pre_layernorm: LayerNormWeights,
    encoder: EncoderWeights,
    post_layernorm: LayerNormWeights,
    visual_projection: LinearWeights,
    image_size: usize,
    patch_size: usize,
}

impl VisionWeights {
    /// `vision_model.…` and `visual_projection`.
    pub fn find(weights: &Weights, config: &VisionConfig, projection: usize) -> Result<Self> {
        let width = config.tower.hidden_size;
        let norm = |name: &str| {
            // The spelling is the checkpoints' own.
            LayerNormWeights::find(
                weights,
                &format!("vision_model.{name}"),
                width,
                config.tower.layer_norm_eps,
            )
        };
        let embeddings = "vision_model.embeddings";
        let patch = config.patch_size;
        Ok(Self {
            class_embedding: weights.view(&format!("{embeddings}.class_embedding"), &[width])?,
            patch_embedding: LinearWeights::find_without_bias(
                weights,
                &format!("{embeddings}.patch_embedding"),
                &[width, 3, patch, patch],
            )?,
            position_embedding: weights.view(
                &format!("{embeddings}.position_embedding.weight"),
                &[(config.image_size / patch).pow(2) + 1, width],
            )?,
            pre_layernorm: norm("pre_layrnorm")?,
            encoder: EncoderWeights::find(weights, "vision_model.encoder", &config.tower)?,
            post_layernorm: norm("post_layernorm")?,
            visual_projection: LinearWeights::find_without_bias(
                weights,
                "visual_projection",
                &[projection, width],
            )?,
            image_size: config.image_size,
            patch_size: patch,
        })
    }
}

/// The vision tower on a device.
pub struct VisionTower {
    class_embedding: Values,
    patch_embedding: Linear,
    position_embedding: Values,
    pre_layernorm: LayerNorm,
    encoder: Encoder,
    post_layernorm: LayerNorm,
    visual_projection: Linear,
    image_size: usize,
    patch_size: usize,
    device: Device,
    precision: Precision,
}

impl VisionTower {
    /// Loads the weights.
    pub fn load(weights: &VisionWeights, device: &Device, precision: Precision) -> Result<Self> {
        Ok(Self {
            class_embedding: weights.class_embedding.values()?,
            patch_embedding: Linear::load(&[&weights.patch_embedding], device, precision)?,
            position_embedding: weights.position_embedding.values()?,
            pre_layernorm: LayerNorm::load(&weights.pre_layernorm, device, Precision::F32)?,
            encoder: Encoder::load(&weights.encoder, device, precision)?,
            post_layernorm: LayerNorm::load(&weights.post_layernorm, device, Precision::F32)?,
            visual_projection: Linear::load(&[&weights.visual_projection], device, Precision::F32)?,
            image_size: weights.image_size,
            patch_size: weights.patch_size,
            device: device.clone(),
            precision,
        })
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
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
        let patches = self.unfold(images)?.to_dtype(self.precision.dtype())?;
        let patches = self.patch_embedding.forward(&patches)?.to_dtype(DType::F32)?;
        let x = self.embed(patches, images.len(), tokens)?;
        let x = self.pre_layernorm.forward(&x)?;
        let class = self.encoder.forward(x, tokens, false, &vec![0; images.len()])?;
        unit_length(&self.visual_projection.forward(&self.post_layernorm.forward(&class)?)?)
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
        Ok(Tensor::from_vec(rows, (images.len() * side * side, width), &self.device)?)
    }

    /// Puts the class token before each image's patches and adds the positions.
    ///
    /// *Shape* `patches [N·(T-1), E] → [N·T, E]`.
    fn embed(&self, patches: Tensor, images: usize, tokens: usize) -> Result<Tensor> {
        let width = self.class_embedding.len();
        let class = Tensor::from_slice(&self.class_embedding, (1, 1, width), &self.device)?;
        let class = class.broadcast_as((images, 1, width))?;
        let positions = Tensor::from_slice(&self.position_embedding, (tokens, width), &self.device)?;
        let patches = patches.reshape((images, tokens - 1, width))?;
        let x = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&positions)?;
        Ok(x.reshape((images * tokens, width))?)
    }
}
