//! What every verb that judges images is given → an open model, and what is known of it.

use crate::cache::{DEFAULT_LIMIT_BYTES, EmbeddingCache, ModelEmbeddings};
use crate::hub::{self, HubOptions, ModelDigest};
use crate::input::Inputs;
use crate::labels::{ClassifierFile, LabelSet};
use crate::messages::Messages;
use crate::model::Checkpoint;
use crate::model::device::DeviceChoice;
use crate::model::precision::Precision;
use crate::model::tokenizer::cleaning::TextCleaning;
use crate::pipeline::{self, Job};
use crate::score::{Judgement, Scoring};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::thread;

/// Images, labels, a model, and how it runs.
pub struct Setup {
    pub inputs: Inputs,
    pub labels: LabelSet,
    /// What was learned of these labels, where they come from a classifier file.
    pub classifier: Option<ClassifierFile>,
    /// A repository or a folder.
    pub model: String,
    pub hub: HubOptions,
    pub device: DeviceChoice,
    pub precision: Precision,
    /// How prompts are cleaned; as the model's family was trained when absent.
    pub text_cleaning: Option<TextCleaning>,
    /// The most images that pass through the network at a time.
    pub batch_size: usize,
    /// Threads of the whole process; one a core when absent.
    pub threads: Option<usize>,
    /// The folder of embeddings kept between runs; none are when absent.
    pub cache: Option<PathBuf>,
    /// Whether warnings and progress are left out.
    pub quiet: bool,
}

/// Whether the digest of the model is asked for though no cache needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DigestUse {
    Wanted,
    CacheOnly,
}

/// A model that is open, and what earlier runs kept of it.
pub(super) struct OpenModel {
    pub name: String,
    pub checkpoint: Checkpoint,
    pub known: ModelEmbeddings,
    /// Absent where nothing asks for it.
    pub digest: Option<ModelDigest>,
}

impl Setup {
    /// Tells what the labels may mean that the user did not, finds the model and opens it.
    ///
    /// *Errors* when that cannot be done, or the classifier file was made with another model.
    pub(super) fn open(&self, digest: DigestUse, messages: &Messages) -> Result<OpenModel> {
        let repeated = self.labels.repeated_names();
        if !repeated.is_empty() {
            messages.warning(format_args!(
                "labels given more than once are kept as classes of the same name: {}",
                repeated.join(", ")
            ));
        }
        let files = hub::locate(&self.model, &self.hub, messages)?;
        // A download may be broken off at once; an output file that was begun is cleared away first.
        pipeline::watch_for_signals()?;
        let checkpoint = Checkpoint::open(&files, &self.device.open()?, self.precision)?
            .with_text_cleaning(self.text_cleaning);
        let is_alone = self.labels.labels().len() == 1 && self.labels.decoys().is_empty();
        if is_alone && matches!(checkpoint.scoring(), Scoring::Softmax { .. }) {
            messages.warning("there is only one label: its probability is always 1");
        }
        let is_wanted = digest == DigestUse::Wanted || self.classifier.is_some();
        let (known, digest) = self.open_cache(&files.name, &checkpoint, is_wanted, messages)?;
        if let Some(classifier) = &self.classifier {
            self.check_model(classifier, &checkpoint, digest.as_ref())?;
        }
        Ok(OpenModel { name: files.name, checkpoint, known, digest })
    }

    /// Opens what earlier runs kept of this model, unless the user wants none of it; and tells the
    /// digest of the model where something depends on it.
    fn open_cache(
        &self,
        name: &str,
        checkpoint: &Checkpoint,
        digest_is_wanted: bool,
        messages: &Messages,
    ) -> Result<(ModelEmbeddings, Option<ModelDigest>)> {
        let messages = messages.clone();
        let warn = move |trouble: &str| messages.warning(trouble);
        let cache = match &self.cache {
            Some(folder) => EmbeddingCache::open(folder, DEFAULT_LIMIT_BYTES, warn),
            None if digest_is_wanted => EmbeddingCache::off(),
            None => return Ok((ModelEmbeddings::off(), None)),
        };
        let digest = pipeline::digest(checkpoint, &cache)?;
        let mut known = cache.of_model(name, checkpoint.dim(), pipeline::space_key(checkpoint, &digest));
        if let Some(cleaning) = checkpoint.unusual_text_cleaning() {
            known = known.with_prompts_taken(cleaning.name());
        }
        Ok((known, Some(digest)))
    }

    /// *Errors* when what a classifier file says was learned with another model, precision or cleaning of prompts.
    fn check_model(
        &self,
        classifier: &ClassifierFile,
        checkpoint: &Checkpoint,
        digest: Option<&ModelDigest>,
    ) -> Result<()> {
        let digest = digest.context("the model has no digest")?.to_string();
        let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
        ensure!(
            digest == classifier.digest,
            "the classifier file was fitted with the model {} ({}), and this is {} ({}): give that model, or fit \
             it again with this one",
            classifier.model,
            short(&classifier.digest),
            self.model,
            short(&digest)
        );
        let precision = self.precision.to_string();
        ensure!(
            precision == classifier.precision,
            "the classifier file was fitted with --precision {}, and this is {precision}: give that precision, or \
             fit it again with this one",
            classifier.precision
        );
        let cleaning = checkpoint.unusual_text_cleaning().map(|cleaning| cleaning.to_string());
        let told = |cleaning: &Option<String>| match cleaning {
            Some(cleaning) => format!("--text-cleaning {cleaning}"),
            None => "no other --text-cleaning than is usual".to_owned(),
        };
        ensure!(
            cleaning == classifier.text_cleaning,
            "the classifier file was fitted with {}, and this is {}: give the same, or fit it again",
            told(&classifier.text_cleaning),
            told(&cleaning)
        );
        Ok(())
    }

    /// All images that `skip` does not pass over, to be judged.
    pub(super) fn job<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
        known: ModelEmbeddings,
        judgement: Judgement,
    ) -> Job<'a> {
        Job {
            inputs: self.inputs.clone(),
            skip: Box::new(|_| false),
            labels: &self.labels,
            checkpoint,
            judgement,
            known,
            batch_size: self.batch_size,
            threads: self.threads,
            thumbnail_px: None,
            keep_embeddings: false,
        }
    }

    /// Counts the images beside the run, for its progress.
    pub(super) fn count_inputs(&self, messages: &Messages) {
        let (inputs, messages) = (self.inputs.clone(), messages.clone());
        let count = move || inputs.count_by_name().map(|images| messages.expect(images));
        // Without a thread to spare progress goes without an end.
        let _ = thread::Builder::new().spawn(count);
    }
}
