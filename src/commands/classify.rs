//! `clipclass INPUT...`: images and labels → a record of each image.

use super::Exit;
use super::rules::Rules;
use super::setup::{DigestUse, OpenModel, Setup};
use crate::cache;
use crate::hub::ModelDigest;
use crate::messages::Messages;
use crate::model::Checkpoint;
use crate::pipeline::{self, Job};
use crate::report::{
    self, Done, EarlierFailures, FittedRecipe, Format, LabelRecipe, Recipe, RecordShape, Sink,
};
use crate::score::{Answer, Judgement};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// What `clipclass` was asked for without a verb.
pub struct Classify {
    pub setup: Setup,
    pub rules: Rules,
    pub format: Format,
    pub output: OutputChoice,
    /// The longest side of the picture that is shown with a record, if one is.
    pub thumbnail_px: Option<u32>,
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
        let setup = &self.setup;
        let messages = Messages::new(setup.quiet);
        let digest = match self.output {
            OutputChoice::Resume(..) => DigestUse::Wanted,
            OutputChoice::Stdout | OutputChoice::File(_) => DigestUse::CacheOnly,
        };
        let OpenModel { name, checkpoint, known, digest } = setup.open(digest, &messages)?;
        let judgement = self.rules.judgement(
            checkpoint.scoring(),
            setup.labels.labels().len(),
            setup.classifier.as_ref(),
        )?;
        let (mut sink, mut done) = self.open_sink(digest, &checkpoint, &judgement, &messages)?;
        let (done_before, failed_before) = (done.len(), done.failed());
        if messages.start() && done.is_empty() {
            setup.count_inputs(&messages);
        }
        let job = Job {
            skip: Box::new(move |image| done.take(image)),
            thumbnail_px: self.thumbnail_px,
            ..setup.job(&checkpoint, known, judgement)
        };
        let mut records = pipeline::records(job, &messages)?;
        sink.begin()?;
        let (mut classified, mut failed) = (0, 0);
        for record in &mut records {
            let record = record?;
            match record.outcome {
                Ok(_) => classified += 1,
                Err(_) => failed += 1,
            }
            sink.record(&record)?;
            messages.advance();
        }
        sink.end()?;
        if let (Some(folder), Some(ms)) = (&setup.cache, records.ms_per_image()) {
            let (device, precision) = (checkpoint.device_name(), setup.precision.name());
            // A folder that cannot be written to was told of when it was opened.
            let _ = cache::keep_speed(folder, &name, &device, precision, ms);
        }
        if done_before + classified + failed == 0 {
            messages.warning("no images were found");
        }
        messages.finish(classified, failed);
        Ok(if failed_before + failed > 0 { Exit::ImagesFailed } else { Exit::Success })
    }

    fn open_sink<'a>(
        &self,
        digest: Option<ModelDigest>,
        checkpoint: &Checkpoint,
        judgement: &Judgement,
        messages: &'a Messages,
    ) -> Result<(Box<dyn Sink + 'a>, Done)> {
        let labels = &self.setup.labels;
        let shape = RecordShape {
            labels: labels.names().into_iter().map(str::to_owned).collect(),
            decoys: labels.decoys().iter().map(|decoy| decoy.name.clone()).collect(),
            top: judgement.top,
            scoring: checkpoint.scoring(),
            answer: judgement.answer,
            has_rules: judgement.min_cosine.is_some()
                || judgement.min_contrast.is_some()
                || judgement.min_margin.is_some()
                || judgement.fitted.is_some()
                || !labels.decoys().is_empty(),
            has_sets: judgement.set_probability.is_some(),
        };
        let open = |file| report::open(self.format, file, shape.clone(), messages);
        Ok(match &self.output {
            OutputChoice::Stdout => (open(None)?, Done::default()),
            OutputChoice::File(path) => (open(Some(path))?, Done::default()),
            OutputChoice::Resume(path, failures) => {
                let digest = digest.context("the model has no digest")?;
                report::resume(path, shape, &self.recipe(&digest, checkpoint, judgement), *failures)?
            }
        })
    }

    fn recipe(&self, digest: &ModelDigest, checkpoint: &Checkpoint, judgement: &Judgement) -> Recipe {
        let label = |label: &crate::labels::Label| LabelRecipe {
            label: label.name.clone(),
            prompts: label.prompts.clone(),
        };
        let labels = &self.setup.labels;
        let fitted = self.setup.classifier.as_ref().map(|_| FittedRecipe {
            temperature: judgement.temperature,
            quantity: judgement.fitted.as_ref().map(|fitted| fitted.quantity.name().to_owned()),
            thresholds: judgement.fitted.as_ref().map_or(Vec::new(), |fitted| fitted.least.to_vec()),
            min_contrast: judgement.min_contrast,
            set_probability: judgement.set_probability,
        });
        Recipe {
            model: self.setup.model.clone(),
            digest: digest.to_string(),
            precision: self.setup.precision.to_string(),
            text_cleaning: checkpoint.unusual_text_cleaning().map(|cleaning| cleaning.to_string()),
            labels: labels.labels().iter().map(label).collect(),
            top: judgement.top,
            threshold: judgement.threshold,
            min_cosine: judgement.min_cosine,
            min_margin: judgement.min_margin,
            decoys: labels.decoys().iter().map(label).collect(),
            multi: judgement.answer == Answer::Several,
            fitted,
        }
    }
}
