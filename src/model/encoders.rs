//! Prompts and images → embeddings, a few at a time.
//!
//! Every batch ends with a look at the checkpoint's files: an embedding leaves this room only if they
//! are still as they were opened.

use super::device::{DeviceTask, explain_memory};
use super::tokenizer::Tokenizer;
use super::tower::{TextTower, VisionTower};
use crate::hub::OpenFile;
use crate::pixels::Pixels;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use std::mem;
use std::slice::ChunksExact;
use std::sync::Arc;

/// Token rows that a tower takes at a time, for each thread of a CPU: what a block keeps of so
/// many stays in the caches.
const HOST_ROWS: usize = 200;
/// Token rows that a tower takes at a time on a GPU: they fill its processors.
const DEVICE_ROWS: usize = 16 * 1024;

fn rows_at_a_time(device: &Device) -> usize {
    if device.is_cpu() { HOST_ROWS * rayon::current_num_threads() } else { DEVICE_ROWS }
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
    files: Arc<[Arc<OpenFile>]>,
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
    pub(super) fn new(tokenizer: Tokenizer, tower: TextTower, files: Arc<[Arc<OpenFile>]>) -> Self {
        Self { tokenizer, tower, files }
    }

    /// Embeds prompts, `[P, D]`.
    ///
    /// Prompts of like length share a batch, so that little work goes into padding, and of those such as
    /// begin alike.
    ///
    /// *Errors* when a prompt cannot be tokenized, the network cannot take it or the device cannot hold
    /// the work, or the checkpoint's files were written to.
    pub fn encode(&self, prompts: &[&str]) -> Result<EncodedPrompts> {
        let tokenize = |prompt: &&str| {
            self.tokenizer.encode(prompt).with_context(|| format!("cannot tokenize the prompt {prompt:?}"))
        };
        let mut tokens = prompts.iter().map(tokenize).collect::<Result<Vec<_>>>()?;
        for tokens in &mut tokens {
            tokens.ids = self.tower.pad(mem::take(&mut tokens.ids), self.tokenizer.pad_id());
        }
        let truncated = (0..tokens.len()).filter(|&i| tokens[i].truncated).collect();
        let mut order: Vec<_> = (0..tokens.len()).collect();
        order.sort_by_key(|&i| (tokens[i].ids.len(), &tokens[i].ids));

        let rows = rows_at_a_time(self.tower.device());
        let mut embeddings = Embeddings { dim: 0, values: Vec::new() };
        let mut rest = &order[..];
        while let Some(first) = rest.first() {
            let ids: Vec<_> = rest.iter().take(rows).map(|&i| tokens[i].ids.as_slice()).collect();
            let count = self.tower.batch(&ids, rows);
            let (batch, later) = rest.split_at(count);
            let encoded = self
                .tower
                .forward(&ids[..count])
                .and_then(|rows| Embeddings::from_tensor(&rows))
                .map_err(|error| explain_memory(error, DeviceTask::Prompts(count)))
                .with_context(|| match count {
                    1 => format!("cannot encode the prompt {:?}", prompts[*first]),
                    _ => format!("cannot encode {count} prompts, the first of them {:?}", prompts[*first]),
                })?;
            embeddings.dim = encoded.dim;
            embeddings.values.resize(prompts.len() * encoded.dim, 0.0);
            for (&i, row) in batch.iter().zip(encoded.rows()) {
                embeddings.values[i * encoded.dim..][..encoded.dim].copy_from_slice(row);
            }
            rest = later;
        }
        check_unchanged(&self.files)?;
        Ok(EncodedPrompts { embeddings, truncated })
    }
}

/// Turns images into embeddings.
pub struct ImageEncoder {
    tower: VisionTower,
    files: Arc<[Arc<OpenFile>]>,
}

impl ImageEncoder {
    pub(super) fn new(tower: VisionTower, files: Arc<[Arc<OpenFile>]>) -> Self {
        Self { tower, files }
    }

    /// Embeds images, `[N, D]`.
    ///
    /// *Errors* when an image has not the network's size, the device cannot hold the work, or the
    /// checkpoint's files were written to.
    pub fn encode(&self, images: &[Pixels]) -> Result<Embeddings> {
        let at_a_time = (rows_at_a_time(self.tower.device()) / self.tower.tokens()).max(1);
        let mut embeddings = Embeddings { dim: 0, values: Vec::new() };
        for images in images.chunks(at_a_time) {
            let encoded = self.tower.forward(images).and_then(|rows| Embeddings::from_tensor(&rows));
            let encoded = encoded.map_err(|error| explain_memory(error, DeviceTask::Images(images.len())))?;
            embeddings.dim = encoded.dim;
            embeddings.values.extend(encoded.values);
        }
        check_unchanged(&self.files)?;
        Ok(embeddings)
    }
}

fn check_unchanged(files: &[Arc<OpenFile>]) -> Result<()> {
    files.iter().try_for_each(|file| file.check_unchanged())
}
