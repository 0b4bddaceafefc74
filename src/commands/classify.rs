//! `clipclass INPUT...`: images and labels → a record of each image.

use super::Exit;
use crate::cache::{DEFAULT_LIMIT_BYTES, EmbeddingCache, ModelEmbeddings};
use crate::hub::{self, HubOptions, ModelDigest};
use crate::input::Inputs;
use crate::labels::LabelSet;
use crate::messages::Messages;
use crate::model::Checkpoint;
use crate::model::device::DeviceChoice;
use crate::model::precision::Precision;
use crate::pipeline::{self, Job};
use crate::report::{self, Done, EarlierFailures, Format, LabelRecipe, Recipe, Sink};
use crate::score::Judgement;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::thread;

/// What `clipclass` was asked for without a verb.
pub struct Classify {
    pub inputs: Inputs,
    pub labels: LabelSet,
    /// A repository or a folder.
    pub model: String,
    pub hub: HubOptions,
    pub device: DeviceChoice,
    pub precision: Precision,
    /// The most images that pass through the network at a time.
    pub batch_size: usize,
    /// Threads of the whole process; one a core when absent.
    pub threads: Option<usize>,
    /// The folder of embeddings kept between runs; none are when absent.
    pub cache: Option<PathBuf>,
    pub judgement: Judgement,
    pub format: Format,
    pub output: OutputChoice,
    /// Whether pictures are drawn above their records.
    pub show: bool,
    /// Whether warnings and progress are left out.
    pub quiet: bool,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputChoice {
    Stdout,
    /// A file that appears when it is complete.
    File(PathBuf),
    /// JSON Lines of an earlier run, which is gone on with.
    Resume(PathBuf, EarlierFailures),
}

impl Classify {
    pub(super) fn run(self) -> Result<Exit> {
        let messages = Messages::new(self.quiet);
        if self.labels.labels().len() == 1 {
            messages.warning("there is only one label: its probability is always 1");
        }
        let repeated = self.labels.repeated_names();
        if !repeated.is_empty() {
            messages.warning(format_args!(
                "labels given more than once are kept as classes of the same name: {}",
                repeated.join(", ")
            ));
        }
        let files = hub::locate(&self.model, &self.hub, &messages)?;
        // A download may be broken off at once; an output file that was begun is cleared away first.
        pipeline::watch_for_signals()?;
        let checkpoint = Checkpoint::open(&files, &self.device.open()?, self.precision)?;
        let (known, digest) = self.open_cache(&files.name, &checkpoint, &messages)?;
        let (mut sink, mut done) = self.open_sink(digest, &messages)?;
        let (done_before, failed_before) = (done.len(), done.failed());
        if messages.start() && done.is_empty() {
            self.count_inputs(&messages);
        }
        let job = Job {
            inputs: self.inputs,
            skip: Box::new(move |image| done.take(image)),
            labels: &self.labels,
            checkpoint: &checkpoint,
            judgement: self.judgement,
            known,
            batch_size: self.batch_size,
            threads: self.threads,
            keep_pictures: self.show,
        };
        let records = pipeline::records(job, &messages)?;
        sink.begin()?;
        let (mut classified, mut failed) = (0, 0);
        for record in records {
            let record = record?;
            match record.outcome {
                Ok(_) => classified += 1,
                Err(_) => failed += 1,
            }
            sink.record(&record)?;
            messages.advance();
        }
        sink.end()?;
        if done_before + classified + failed == 0 {
            messages.warning("no images were found");
        }
        messages.finish(classified, failed);
        Ok(if failed_before + failed > 0 { Exit::ImagesFailed } else { Exit::Success })
    }

    /// Opens what earlier runs kept of this model, unless the user wants none of it; and tells the
    /// digest of the model where something depends on it.
    fn open_cache(
        &self,
        name: &str,
        checkpoint: &Checkpoint,
        messages: &Messages,
    ) -> Result<(ModelEmbeddings, Option<ModelDigest>)> {
        let messages = messages.clone();
        let warn = move |trouble: &str| messages.warning(trouble);
        let cache = match (&self.cache, &self.output) {
            (Some(folder), _) => EmbeddingCache::open(folder, DEFAULT_LIMIT_BYTES, warn),
            (None, OutputChoice::Resume(..)) => EmbeddingCache::off(),
            (None, _) => return Ok((ModelEmbeddings::off(), None)),
        };
        let digest = pipeline::digest(checkpoint, &cache)?;
        let known = cache.of_model(name, checkpoint.dim(), pipeline::space_key(checkpoint, &digest));
        Ok((known, Some(digest)))
    }

    fn open_sink<'a>(
        &self,
        digest: Option<ModelDigest>,
        messages: &'a Messages,
    ) -> Result<(Box<dyn Sink + 'a>, Done)> {
        let names = || self.labels.names().into_iter().map(str::to_owned).collect();
        let open = |file| report::open(self.format, file, names(), self.judgement.top, messages);
        Ok(match &self.output {
            OutputChoice::Stdout => (open(None)?, Done::default()),
            OutputChoice::File(path) => (open(Some(path))?, Done::default()),
            OutputChoice::Resume(path, failures) => {
                let digest = digest.context("the model has no digest")?;
                report::resume(path, &self.recipe(&digest), *failures)?
            }
        })
    }

    fn recipe(&self, digest: &ModelDigest) -> Recipe {
        let label = |label: &crate::labels::Label| LabelRecipe {
            label: label.name.clone(),
            prompts: label.prompts.clone(),
        };
        Recipe {
            model: self.model.clone(),
            digest: digest.to_string(),
            precision: self.precision.to_string(),
            labels: self.labels.labels().iter().map(label).collect(),
            top: self.judgement.top,
            threshold: self.judgement.threshold,
        }
    }

    /// Counts the images beside the run, for its progress.
    fn count_inputs(&self, messages: &Messages) {
        let (inputs, messages) = (self.inputs.clone(), messages.clone());
        let count = move || inputs.count_by_name().map(|images| messages.expect(images));
        // Without a thread to spare progress goes without an end.
        let _ = thread::Builder::new().spawn(count);
    }
}
