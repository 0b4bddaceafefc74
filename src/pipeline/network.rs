//! A batch of prepared images → their records, through the vision tower where they are not known.

use super::earlier::EarlierImages;
use super::prepare::{Prepared, PreparedContent};
use crate::cache::{ImageKey, ModelEmbeddings};
use crate::input::ImageName;
use crate::model::{Checkpoint, Embeddings, ImageEncoder};
use crate::pixels::Pixels;
use crate::report::{Failure, Record};
use crate::score::{Classifier, Judgement};
use anyhow::{Context, Result};
use rayon::ThreadPool;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// How many images tell how long one takes.
const TIMED_IMAGES: usize = 8;

/// The vision tower, loaded when the first image needs it, and what judges its embeddings.
pub(super) struct Network<'a> {
    checkpoint: &'a Checkpoint,
    encoder: Option<ImageEncoder>,
    classifier: Classifier,
    judgement: Judgement,
    earlier: EarlierImages,
    keep_embeddings: bool,
    /// Dropping it waits until all is kept.
    known: Arc<ModelEmbeddings>,
    pool: Arc<ThreadPool>,
    /// Of each batch that the tower was given, its images and the milliseconds an image took.
    /// The first batch, with which the tower is loaded, is not among them.
    times: Vec<(usize, f64)>,
}

/// Where an image's embedding is: at hand, or a row of those that the network is to make.
enum Embedding {
    Known(Vec<f32>),
    Row(usize, ImageKey),
    /// That of an earlier image.
    SameAs(ImageName),
}

impl<'a> Network<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        classifier: Classifier,
        judgement: Judgement,
        known: Arc<ModelEmbeddings>,
        pool: Arc<ThreadPool>,
        keep_embeddings: bool,
    ) -> Self {
        Self {
            checkpoint,
            encoder: None,
            classifier,
            judgement,
            earlier: EarlierImages::default(),
            keep_embeddings,
            known,
            pool,
            times: Vec::new(),
        }
    }

    /// The median of what the tower took for an image, in milliseconds, once it was given
    /// [enough](TIMED_IMAGES).
    pub(super) fn ms_per_image(&self) -> Option<f64> {
        let images: usize = self.times.iter().map(|(images, _)| images).sum();
        if images < TIMED_IMAGES {
            return None;
        }
        let mut times = self.times.clone();
        times.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let mut seen = 0;
        let median = times.into_iter().find(|(count, _)| {
            seen += count;
            2 * seen >= images
        });
        median.map(|(_, ms)| ms)
    }

    /// Embeds the images of a batch that are not known, and judges all, in order.
    ///
    /// *Errors* when the network cannot run.
    pub(super) fn classify(&mut self, batch: Vec<Prepared>) -> Result<Vec<Record>> {
        let mut pixels = Vec::new();
        let mut waiting = Vec::with_capacity(batch.len());
        for Prepared { image, content, picture, may_be_linked, annotations } in batch {
            let embedding = content.map(|content| match content {
                PreparedContent::Embedding(embedding) => Embedding::Known(embedding),
                PreparedContent::Pixels(prepared, key) => {
                    pixels.push(prepared);
                    Embedding::Row(pixels.len() - 1, key)
                }
                PreparedContent::SameAs(earlier) => Embedding::SameAs(earlier),
            });
            waiting.push((image, embedding, (picture, annotations), may_be_linked));
        }
        let encoded = self.encode(&pixels)?;
        let rows: Vec<_> = encoded.iter().flat_map(Embeddings::rows).collect();
        let mut found = Vec::with_capacity(waiting.len());
        for (image, embedding, passed_on, may_be_linked) in waiting {
            let embedding = embedding.and_then(|embedding| match embedding {
                Embedding::Known(known) => Ok((Cow::Owned(known), None)),
                Embedding::Row(row, key) => Ok((Cow::Borrowed(rows[row]), Some(key))),
                Embedding::SameAs(earlier) => Ok((Cow::Owned(self.earlier.outcome(&earlier)?), None)),
            });
            if may_be_linked {
                let outcome = embedding.as_ref().map(|(embedding, _)| embedding.to_vec());
                self.earlier.keep(ImageName::clone(&image), outcome.map_err(Failure::clone));
            }
            found.push((image, embedding, passed_on));
        }
        let embeddings: Vec<_> =
            found.iter().filter_map(|(_, found, _)| Some(&*found.as_ref().ok()?.0)).collect();
        let judge = || self.classifier.judge_all(&embeddings, &self.judgement);
        let mut verdicts = self.pool.install(judge).into_iter();
        let mut records = Vec::with_capacity(found.len());
        for (image, embedding, (picture, annotations)) in found {
            let mut kept = None;
            let outcome = embedding.and_then(|(embedding, key)| {
                let verdict = verdicts.next().flatten().ok_or_else(not_a_number)?;
                if let Some(key) = key {
                    self.known.keep_image(&key, &embedding);
                }
                kept = self.keep_embeddings.then(|| embedding.into_owned());
                Ok(verdict)
            });
            records.push(Record { image, outcome, picture, embedding: kept, annotations });
        }
        Ok(records)
    }

    fn encode(&mut self, pixels: &[Pixels]) -> Result<Option<Embeddings>> {
        if pixels.is_empty() {
            return Ok(None);
        }
        let Self { checkpoint, encoder, pool, times, .. } = self;
        let is_loaded = encoder.is_some();
        let start = Instant::now();
        let encode = || {
            let encoder = match encoder {
                Some(encoder) => encoder,
                None => encoder.insert(checkpoint.image_encoder()?),
            };
            encoder.encode(pixels).context("cannot run the network")
        };
        let encoded = pool.install(encode)?;
        if is_loaded {
            times.push((pixels.len(), start.elapsed().as_secs_f64() * 1e3 / pixels.len() as f64));
        }
        Ok(Some(encoded))
    }
}

fn not_a_number() -> Failure {
    Failure {
        kind: "not_a_number",
        message: "its embedding is not made of numbers; the model may be damaged".to_owned(),
    }
}
