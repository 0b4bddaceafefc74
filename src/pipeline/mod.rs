//! The stages, joined: sources are read and decoded ahead of the network, and records come out in
//! their order.
//!
//! ```text
//! reader thread ─▶ decode tasks ─┐ in order, at most a window of them
//!                  (pool)        ▼
//!                               batch ─▶ network (pool) ─▶ score ─▶ report
//! ```
//!
//! Decoding and the network share one pool of threads, so that every core works and none is asked
//! for twice.

mod ahead;
mod interrupt;

pub use interrupt::{EXIT_CODE as INTERRUPTED_EXIT_CODE, Interrupted};

use crate::cache::{Cache, DEFAULT_LIMIT_BYTES, ImageKey, KnownPrompt, ModelKey};
use crate::hub::{self, HubOptions, ModelFiles};
use crate::input::Inputs;
use crate::labels::{Label, LabelSet};
use crate::messages::Messages;
use crate::model::device::DeviceChoice;

use crate::model::precision::Precision;
use crate::model::{Checkpoint, Embeddings, ImageEncoder};
use crate::pixels::Pixels;
use crate::report::{Done, Failure, Format, Record, Report};
use crate::score::{Classifier, Judgement, ensemble};
use ahead::{Batches, Content, Prepared, Stages};
use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// Everything a run is asked to do.
#[derive(Debug)]
pub struct Job {
    pub inputs: Inputs,
    pub labels: LabelSet,
    pub model: ModelChoice,
    /// The most images that pass through the network at a time.
    pub batch_size: usize,
    /// Threads of the whole process; one a core when absent.
    pub threads: Option<usize>,
    pub judgement: Judgement,
    pub format: Format,
    pub output: OutputChoice,
    /// The folder of embeddings kept between runs; none are when absent.
    pub cache: Option<PathBuf>,
    /// Whether pictures are drawn above their records.
    pub show: bool,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputChoice {
    Stdout,
    /// A file that appears when it is complete.
    File(PathBuf),
    /// JSON Lines of an earlier run, which is gone on with.
    Resume(PathBuf),
}

/// Which model to run, and where.
#[derive(Debug, Clone)]
pub struct ModelChoice {
    /// A repository or a folder.
    pub name: String,
    pub hub: HubOptions,
    pub device: DeviceChoice,
    pub precision: Precision,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Images that were classified.
    pub classified: usize,
    /// Images that were not.
    pub failed: usize,
}

/// Classifies all images of a job and reports them.
///
/// *Errors* when the run cannot go on; that one image fails is a record.
pub fn run(job: Job, messages: &Messages) -> Result<Summary> {
    if job.labels.labels().len() == 1 {
        messages.warning("there is only one label: its probability is always 1");
    }
    let files = hub::locate(&job.model.name, &job.model.hub, messages)?;
    // A download may be broken off at once; an output file that was begun is cleared away first.
    interrupt::watch()?;
    let names = job.labels.names().into_iter().map(str::to_owned).collect();
    let top = job.judgement.top;
    let (mut report, mut done) = match &job.output {
        OutputChoice::Stdout => (Report::open(job.format, None, names, top, messages)?, Done::default()),
        OutputChoice::File(path) => {
            (Report::open(job.format, Some(path), names, top, messages)?, Done::default())
        }
        OutputChoice::Resume(path) => Report::resume(path, names, top)?,
    };
    let done_before = done.len();
    let checkpoint = Checkpoint::open(&files, &job.model.device.open()?, job.model.precision)?;
    let pool = ThreadPoolBuilder::new().num_threads(job.threads.unwrap_or(0)).build();
    let pool = Arc::new(pool.context("cannot start threads")?);

    let cache = Arc::new(open_cache(&job, &files, &checkpoint, messages));

    let transform = checkpoint.transform().clone();
    let stages = Stages { transform, keep_picture: job.show, cache: Arc::downgrade(&cache) };
    if messages.start() && done.is_empty() && job.inputs.are_quick_to_count() {
        let (inputs, messages) = (job.inputs.clone(), messages.clone());
        thread::spawn(move || inputs.sources().map(|sources| messages.expect(sources.count() as u64)));
    }
    let sources = job.inputs.sources()?.filter(move |source| !done.take(&source.name));
    let batches = Batches::start(sources, stages, pool.clone(), job.batch_size)?;
    let classifier = pool.install(|| classifier(&checkpoint, &job.labels, &cache, messages))?;
    let mut network = Network { checkpoint: &checkpoint, encoder: None, cache: &cache, pool: &pool };

    report.begin()?;
    let mut summary = Summary::default();
    for batch in batches {
        for record in network.classify(batch, &classifier, job.judgement)? {
            match record.outcome {
                Ok(_) => summary.classified += 1,
                Err(_) => summary.failed += 1,
            }
            report.write(&record)?;
            messages.advance();
        }
    }
    if summary == Summary::default() && done_before == 0 && !interrupt::requested() {
        messages.warning("no images were found");
    }
    messages.finish(summary.classified, summary.failed);
    if interrupt::requested() {
        return Err(Interrupted.into());
    }
    report.finish()?;
    Ok(summary)
}

/// Opens what earlier runs kept of this model, unless the user wants none of it.
fn open_cache(job: &Job, files: &ModelFiles, checkpoint: &Checkpoint, messages: &Messages) -> Cache {
    let Some(folder) = &job.cache else { return Cache::off() };
    let settings = format!("{} {} {:?}", job.model.device, job.model.precision, checkpoint.transform());
    let paths = files.paths();
    let model = ModelKey { name: &files.name, files: &paths, settings: &settings, dim: checkpoint.dim() };
    let messages = messages.clone();
    Cache::open(folder, DEFAULT_LIMIT_BYTES, &model, move |trouble| messages.warning(trouble))
}

/// Embeds the labels.
fn classifier(
    checkpoint: &Checkpoint,
    labels: &LabelSet,
    cache: &Cache,
    messages: &Messages,
) -> Result<Classifier> {
    let all = labels.labels().iter().flat_map(|label| &label.prompts);
    let embeddings = embed_prompts(checkpoint, all.map(String::as_str), cache, messages)?;
    let label = |label: &Label| {
        ensemble(&label.prompts.iter().map(|prompt| &embeddings[prompt.as_str()][..]).collect::<Vec<_>>())
    };
    let values = labels.labels().iter().flat_map(label).collect();
    Ok(Classifier::new(values, checkpoint.dim(), checkpoint.logit_scale()))
}

/// The embedding of every prompt, known from earlier runs or from the text tower.
fn embed_prompts<'a>(
    checkpoint: &Checkpoint,
    all: impl Iterator<Item = &'a str>,
    cache: &Cache,
    messages: &Messages,
) -> Result<HashMap<&'a str, Vec<f32>>> {
    // Labels may share prompts.
    let mut seen = HashSet::new();
    let prompts: Vec<_> = all.filter(|prompt| seen.insert(*prompt)).collect();
    let warn = |prompt: &str| {
        messages.warning(format_args!(
            "the prompt {prompt:?} is longer than the model's context; its end is not seen"
        ));
    };
    let mut embeddings = HashMap::new();
    let mut unknown = Vec::new();
    for (&prompt, known) in prompts.iter().zip(cache.prompts(&prompts)) {
        match known {
            Some(KnownPrompt { embedding, truncated }) => {
                if truncated {
                    warn(prompt);
                }
                embeddings.insert(prompt, embedding);
            }
            None => unknown.push(prompt),
        }
    }
    if unknown.is_empty() {
        return Ok(embeddings);
    }
    let encoded = checkpoint.text_encoder()?.encode(&unknown)?;
    encoded.truncated.iter().for_each(|&prompt| warn(unknown[prompt]));
    for (i, (prompt, row)) in unknown.into_iter().zip(encoded.embeddings.rows()).enumerate() {
        cache.keep_prompt(prompt, row, encoded.truncated.contains(&i));
        embeddings.insert(prompt, row.to_vec());
    }
    Ok(embeddings)
}

/// The vision tower, loaded when the first image needs it.
struct Network<'a> {
    checkpoint: &'a Checkpoint,
    encoder: Option<ImageEncoder>,
    cache: &'a Cache,
    pool: &'a ThreadPool,
}

impl Network<'_> {
    /// Embeds the images of a batch that are not known, and judges all.
    fn classify(
        &mut self,
        batch: Vec<Prepared>,
        classifier: &Classifier,
        judgement: Judgement,
    ) -> Result<Vec<Record>> {
        let mut pixels = Vec::new();
        let mut waiting = Vec::with_capacity(batch.len());
        for Prepared { image, content, picture } in batch {
            let embedding = content.map(|content| match content {
                Content::Embedding(embedding) => Embedding::Known(embedding),
                Content::Pixels(prepared, key) => {
                    pixels.push(prepared);
                    Embedding::Row(pixels.len() - 1, key)
                }
            });
            waiting.push((image, embedding, picture));
        }
        let encoded = self.encode(&pixels)?;
        let rows: Vec<_> = encoded.iter().flat_map(Embeddings::rows).collect();
        let record = |(image, embedding, picture): (_, Result<Embedding, Failure>, _)| {
            let outcome = embedding.and_then(|embedding| {
                let verdict = match &embedding {
                    Embedding::Known(row) => classifier.judge(row, judgement),
                    Embedding::Row(row, _) => classifier.judge(rows[*row], judgement),
                };
                if let (Some(_), Embedding::Row(row, key)) = (&verdict, &embedding) {
                    self.cache.keep_image(key, rows[*row]);
                }
                verdict.ok_or_else(|| Failure {
                    kind: "not_a_number",
                    message: "its embedding is not made of numbers; the model may be damaged".to_owned(),
                })
            });
            Record { image, outcome, picture }
        };
        Ok(waiting.into_iter().map(record).collect())
    }

    fn encode(&mut self, pixels: &[Pixels]) -> Result<Option<Embeddings>> {
        if pixels.is_empty() {
            return Ok(None);
        }
        let Self { checkpoint, encoder, pool, .. } = self;
        let encode = || {
            let encoder = match encoder {
                Some(encoder) => encoder,
                None => encoder.insert(checkpoint.image_encoder()?),
            };
            encoder.encode(pixels).context("cannot run the network")
        };
        pool.install(encode).map(Some)
    }
}

/// An image's embedding, known or a row of those that the network just made.
enum Embedding {
    Known(Vec<f32>),
    Row(usize, ImageKey),
}
