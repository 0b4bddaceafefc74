//! A checkpoint's files → encoders of images and prompts into one embedding space.
//!
//! ```text
//! hub ─▶ config, tokenizer, weights ─▶ clip/ (the towers) ─▶ linear, attention, norm, activation ─▶ kernels/
//! ```
//!
//! The towers describe the network once, for every device. The layers below them know how a step
//! is best done on a device: with candle's operations on a GPU, with the `kernels` on a CPU.

pub mod activation;
pub mod attention;
pub mod clip;
pub mod config;
pub mod device;
pub mod linear;
pub mod norm;
pub mod precision;
pub mod tokenizer;
pub mod weights;

use crate::hub::ModelFiles;
use crate::pixels::{Pixels, Transform};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use clip::{TextTower, TextWeights, VisionTower, VisionWeights};
use config::{ClipConfig, read_transform};
use device::explain_memory;
use precision::Precision;
use std::slice::ChunksExact;
use tokenizer::Tokenizer;
use weights::Weights;

/// Token rows that a tower takes at a time, for each thread of a CPU: what a block keeps of so
/// many stays in the caches.
const HOST_ROWS: usize = 200;
/// Token rows that a tower takes at a time on a GPU: they fill its processors.
const DEVICE_ROWS: usize = 16 * 1024;

fn rows_at_a_time(device: &Device) -> usize {
    if device.is_cpu() { HOST_ROWS * rayon::current_num_threads() } else { DEVICE_ROWS }
}

/// A checkpoint whose configuration and tensors are known to fit, not yet loaded.
pub struct Checkpoint {
    files: ModelFiles,
    config: ClipConfig,
    transform: Transform,
    logit_scale: f32,
    text: TextWeights,
    vision: VisionWeights,
    device: Device,
    precision: Precision,
}

impl Checkpoint {
    /// Reads the configuration and finds every tensor the network needs.
    ///
    /// *Errors* when the configuration asks for what clipclass does not know, or a tensor is
    /// missing or has another shape than the configuration says, or the device does not compute
    /// in that precision.
    pub fn open(files: &ModelFiles, device: &Device, precision: Precision) -> Result<Self> {
        precision.check(device)?;
        let config = ClipConfig::read(&files.config)?;
        let transform = read_transform(files.preprocessor.as_deref(), config.vision.image_size)?;
        let weights = Weights::open(&files.weights)?;
        let logit_scale = weights.view("logit_scale", &[])?.values()?[0].exp();
        Ok(Self {
            files: files.clone(),
            text: TextWeights::find(&weights, &config.text, config.projection_dim)?,
            vision: VisionWeights::find(&weights, &config.vision, config.projection_dim)?,
            config,
            transform,
            logit_scale,
            device: device.clone(),
            precision,
        })
    }

    /// How an image becomes the vision tower's input.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }

    /// What a cosine is multiplied with to give a logit: the exponential of the trained parameter.
    pub fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// Width of an embedding, `D`.
    pub fn dim(&self) -> usize {
        self.config.projection_dim
    }

    /// Loads the tokenizer and the text tower.
    pub fn text_encoder(&self) -> Result<TextEncoder> {
        Ok(TextEncoder {
            tokenizer: Tokenizer::read(&self.files.tokenizer, self.config.text.max_position_embeddings)?,
            tower: TextTower::load(&self.text, &self.device, self.precision)
                .context("cannot load the text tower")?,
        })
    }

    /// Loads the vision tower.
    pub fn image_encoder(&self) -> Result<ImageEncoder> {
        let tower = VisionTower::load(&self.vision, &self.device, self.precision)
            .context("cannot load the vision tower")?;
        Ok(ImageEncoder { tower })
    }
}

/// Embeddings as rows: `[N, D]`, each of unit length.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Width of a row, `D`.
    pub dim: usize,
    /// The rows, one after another.
    pub values: Vec<f32>,
}

impl Embeddings {
    /// The rows in order.
    pub fn rows(&self) -> ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dim)
    }

    fn from_tensor(tensor: &Tensor) -> Result<Self> {
        Ok(Self { dim: tensor.dim(1)?, values: tensor.flatten_all()?.to_vec1()? })
    }
}

/// Turns prompts into embeddings.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    tower: TextTower,
}

/// Embeddings of prompts, and which of these did not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedPrompts {
    /// `[P, D]`, in the order of the prompts.
    pub embeddings: Embeddings,
    /// Positions of the prompts that lost tokens beyond the context length.
    pub truncated: Vec<usize>,
}

impl TextEncoder {
    /// Embeds prompts, `[P, D]`.
    ///
    /// Prompts of like length share a batch, so that little work goes into padding.
    pub fn encode(&self, prompts: &[&str]) -> Result<EncodedPrompts> {
        let tokens =
            prompts.iter().map(|prompt| self.tokenizer.encode(prompt)).collect::<Result<Vec<_>>>()?;
        let truncated = (0..tokens.len()).filter(|&i| tokens[i].truncated).collect();
        let mut order: Vec<_> = (0..tokens.len()).collect();
        order.sort_by_key(|&i| tokens[i].ids.len());

        let rows = rows_at_a_time(self.tower.device());
        let mut embeddings = Embeddings { dim: 0, values: Vec::new() };
        let mut rest = &order[..];
        while let Some(first) = rest.first() {
            let fits = |count: usize| count * tokens[rest[count - 1]].ids.len() <= rows;
            let mut count = 1;
            while count < rest.len() && fits(count + 1) {
                count += 1;
            }
            let (batch, later) = rest.split_at(count);
            let ids: Vec<_> = batch.iter().map(|&i| tokens[i].ids.as_slice()).collect();
            let encoded = Embeddings::from_tensor(&self.tower.forward(&ids)?)
                .with_context(|| format!("cannot encode {:?}", prompts[*first]))?;
            embeddings.dim = encoded.dim;
            embeddings.values.resize(prompts.len() * encoded.dim, 0.0);
            for (&i, row) in batch.iter().zip(encoded.rows()) {
                embeddings.values[i * encoded.dim..][..encoded.dim].copy_from_slice(row);
            }
            rest = later;
        }
        Ok(EncodedPrompts { embeddings, truncated })
    }
}

/// Turns images into embeddings.
pub struct ImageEncoder {
    tower: VisionTower,
}

impl ImageEncoder {
    /// Embeds images, `[N, D]`.
    pub fn encode(&self, images: &[Pixels]) -> Result<Embeddings> {
        let at_a_time = (rows_at_a_time(self.tower.device()) / self.tower.tokens()).max(1);
        let mut embeddings = Embeddings { dim: 0, values: Vec::new() };
        for images in images.chunks(at_a_time) {
            let encoded = self.tower.forward(images).and_then(|rows| Embeddings::from_tensor(&rows));
            let encoded = encoded.map_err(|error| explain_memory(error, images.len()))?;
            embeddings.dim = encoded.dim;
            embeddings.values.extend(encoded.values);
        }
        Ok(embeddings)
    }
}
