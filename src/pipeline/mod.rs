//! A [`Job`] → the [`Record`] of every image, in the order of the inputs.
//!
//! ```text
//! reader thread ─▶ decode tasks ─┐ in order, at most a window of them
//!     └─▶ fetchers ─▶ (pool)     ▼
//!                          batches ─▶ network (pool) ─▶ score ─▶ records
//! ```
//!
//! Decoding and the network share one pool of threads, so that every core works and none is asked
//! for twice.

mod earlier;
mod fetchers;
mod network;
mod prepare;
mod prompts;
mod reader;
mod space;
mod stop;

pub use prompts::PromptEmbeddings;
pub use space::{digest, key as space_key};
pub use stop::Interrupted;

use crate::cache::ModelEmbeddings;
use crate::input::{ImageName, Inputs};
use crate::labels::LabelSet;
use crate::messages::Messages;
use crate::model::Checkpoint;
use crate::report::Record;
use crate::score::Judgement;
use anyhow::{Context, Result};
use network::Network;
use prepare::Stages;
use rayon::{ThreadPool, ThreadPoolBuilder};
use reader::Batches;
use std::sync::Arc;
use stop::Stop;

/// Everything that says which records come.
pub struct Job<'a> {
    pub inputs: Inputs,
    /// Whether an image is to be passed over, asked once for each in order.
    pub skip: Box<dyn FnMut(&ImageName) -> bool + Send>,
    pub labels: &'a LabelSet,
    pub checkpoint: &'a Checkpoint,
    pub judgement: Judgement,
    /// Embeddings of earlier runs.
    pub known: ModelEmbeddings,
    /// The most images that pass through the network at a time.
    pub batch_size: usize,
    /// Threads of the whole process; one a core when absent.
    pub threads: Option<usize>,
    /// The longest side in pixels of the picture that a record has, if it has one.
    pub thumbnail_px: Option<u32>,
    /// Whether records have their embeddings, and the run those of its prompts.
    pub keep_embeddings: bool,
}

/// Lets Ctrl-C and SIGTERM end the runs of this process in an orderly way from now on: as an
/// [`Interrupted`] error.
///
/// *Errors* when the system does not allow it.
pub fn watch_for_signals() -> Result<()> {
    Stop::watch().map(drop)
}

/// Begins to classify the images of a job. Its prompts are embedded before this returns.
///
/// *Errors* when the run cannot begin.
pub fn records<'a>(job: Job<'a>, messages: &Messages) -> Result<Records<'a>> {
    let Job { inputs, mut skip, labels, checkpoint, judgement, known, batch_size, threads, .. } = job;
    let (thumbnail_px, keep_embeddings) = (job.thumbnail_px, job.keep_embeddings);
    let pool = Arc::new(pool(threads)?);
    let known = Arc::new(known);
    let transform = checkpoint.transform().clone();
    let stages = Stages { transform, thumbnail_px, known: Arc::downgrade(&known) };
    let sources = inputs.sources()?.filter(move |source| !skip(&source.name));
    let batches = Batches::start(sources, stages, pool.clone(), batch_size, Stop::watch()?)?;
    let prompts = pool.install(|| PromptEmbeddings::new(checkpoint, labels, &known, messages))?;
    let classifier = prompts.classifier(labels, checkpoint.scoring());
    let network = Network::new(checkpoint, classifier, judgement, known, pool, keep_embeddings);
    let prompts = keep_embeddings.then_some(prompts);
    Ok(Records { batches, network, prompts, ready: Vec::new().into_iter(), has_ended: false })
}

/// The threads of a process: so many, or one a core.
///
/// *Errors* when the system gives none.
pub fn pool(threads: Option<usize>) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    pool.context("cannot start threads")
}

/// The records of a run, each as soon as it and those before it are ready.
///
/// The last item of a run that cannot go on says why, as an error; [`Interrupted`] when the user ended
/// it. Dropping it waits until the embedding cache is written.
pub struct Records<'a> {
    batches: Batches,
    network: Network<'a>,
    prompts: Option<PromptEmbeddings>,
    ready: std::vec::IntoIter<Record>,
    has_ended: bool,
}

impl Records<'_> {
    /// Hands over the embeddings of the prompts, where they are to be kept, once.
    pub fn take_prompts(&mut self) -> Option<PromptEmbeddings> {
        self.prompts.take()
    }

    /// The median time that the network took for an image so far, in milliseconds, if it was given
    /// enough images for that to mean something. Reading and decoding are not counted.
    pub fn ms_per_image(&self) -> Option<f64> {
        self.network.ms_per_image()
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        loop {
            if let Some(record) = self.ready.next() {
                return Some(Ok(record));
            }
            if self.has_ended {
                return None;
            }
            match self
                .batches
                .next()
                .and_then(|batch| batch.map(|batch| self.network.classify(batch)).transpose())
            {
                Ok(Some(records)) => self.ready = records.into_iter(),
                Ok(None) => self.has_ended = true,
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
