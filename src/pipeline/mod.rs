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

use crate::input::Inputs;
use crate::labels::LabelSet;
use crate::model::device::DeviceChoice;
use crate::model::hub::{self, HubOptions};
use crate::model::{Checkpoint, ImageEncoder, TextEncoder};
use crate::report::{Done, Failure, Format, Messages, Record, Report};
use crate::score::{Classifier, Judgement, ensemble};
use ahead::{Batches, Prepared, Stages};
use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

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
    let names = job.labels.names().into_iter().map(str::to_owned).collect();
    let top = job.judgement.top;
    let (mut report, mut done) = match &job.output {
        OutputChoice::Stdout => (Report::open(job.format, None, names, top, messages)?, Done::default()),
        OutputChoice::File(path) => {
            (Report::open(job.format, Some(path), names, top, messages)?, Done::default())
        }
        OutputChoice::Resume(path) => Report::resume(path, names, top)?,
    };
    let files = hub::locate(&job.model.name, &job.model.hub)?;
    let checkpoint = Checkpoint::open(&files, &job.model.device.open()?)?;
    let pool = ThreadPoolBuilder::new().num_threads(job.threads.unwrap_or(0)).build();
    let pool = Arc::new(pool.context("cannot start threads")?);

    let stages = Stages { transform: checkpoint.transform().clone(), keep_picture: job.show };
    interrupt::watch()?;
    let sources = job.inputs.sources()?.filter(move |source| !done.take(&source.name));
    let batches = Batches::start(sources, stages, pool.clone(), job.batch_size)?;
    let classifier = pool.install(|| classifier(&checkpoint, &job.labels, messages))?;
    let encoder = pool.install(|| checkpoint.image_encoder())?;

    report.begin()?;
    messages.start(None);
    let mut summary = Summary::default();
    for batch in batches {
        for record in classify(batch, &encoder, &classifier, job.judgement, &pool)? {
            match record.outcome {
                Ok(_) => summary.classified += 1,
                Err(_) => summary.failed += 1,
            }
            report.write(&record)?;
            messages.advance();
        }
    }
    messages.finish(summary.classified, summary.failed);
    if interrupt::requested() {
        return Err(Interrupted.into());
    }
    report.finish()?;
    Ok(summary)
}

/// Embeds the labels.
fn classifier(checkpoint: &Checkpoint, labels: &LabelSet, messages: &Messages) -> Result<Classifier> {
    // Labels may share prompts.
    let mut prompts = Vec::new();
    let mut rows = HashMap::new();
    for prompt in labels.labels().iter().flat_map(|label| &label.prompts) {
        rows.entry(prompt.as_str()).or_insert_with(|| {
            prompts.push(prompt.as_str());
            prompts.len() - 1
        });
    }
    let encoder: TextEncoder = checkpoint.text_encoder()?;
    let encoded = encoder.encode(&prompts)?;
    for &prompt in &encoded.truncated {
        messages.warning(format_args!(
            "the prompt {:?} is longer than the model's context; its end is not seen",
            prompts[prompt]
        ));
    }
    let embeddings: Vec<_> = encoded.embeddings.rows().collect();
    let label = |prompts: &[String]| {
        ensemble(&prompts.iter().map(|prompt| embeddings[rows[prompt.as_str()]]).collect::<Vec<_>>())
    };
    let values = labels.labels().iter().flat_map(|l| label(&l.prompts)).collect();
    Ok(Classifier::new(values, encoded.embeddings.dim, checkpoint.logit_scale()))
}

/// Passes a batch through the network and judges its images.
fn classify(
    batch: Vec<Prepared>,
    encoder: &ImageEncoder,
    classifier: &Classifier,
    judgement: Judgement,
    pool: &ThreadPool,
) -> Result<Vec<Record>> {
    let mut pixels = Vec::with_capacity(batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for Prepared { image, pixels: prepared, picture } in batch {
        let prepared = prepared.map(|prepared| pixels.push(prepared));
        waiting.push((image, prepared, picture));
    }
    let embeddings = if pixels.is_empty() {
        None
    } else {
        let encode = || encoder.encode(&pixels);
        Some(pool.install(encode).context("cannot run the network")?)
    };
    let mut rows = embeddings.iter().flat_map(|embeddings| embeddings.rows());
    let record = |(image, prepared, picture): (_, Result<(), Failure>, _)| {
        let outcome = prepared.and_then(|()| {
            let row = rows.next().expect("every prepared image has an embedding");
            classifier.judge(row, judgement).ok_or_else(|| Failure {
                kind: "not_a_number",
                message: "its embedding is not made of numbers; the model may be damaged".to_owned(),
            })
        });
        Record { image, outcome, picture }
    };
    Ok(waiting.into_iter().map(record).collect())
}
