//! `clipclass eval INPUT...`: images whose truth is known → how right the labels are, and what to trust.

use super::Exit;
use super::rules::Rules;
use super::setup::{DigestUse, OpenModel, Setup};
use crate::eval::fit::{self, FitChoice};
use crate::eval::report::{EvalFormat, EvalReport};
use crate::eval::truth::{TruthSource, TruthTable, Words};
use crate::eval::{EvalSetting, Evaluation, TruthKind};
use crate::labels::{ClassifierFile, ClassifierLabel, Label};
use crate::messages::Messages;
use crate::model::Checkpoint;
use crate::pipeline::{self, Job};
use crate::report::WholeOutput;
use crate::score::Answer;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// What `clipclass eval` was asked for.
pub struct Eval {
    pub setup: Setup,
    pub rules: Rules,
    /// A file of images and their labels, instead of folders and what stands beside images.
    pub truth: Option<PathBuf>,
    /// A file of words that stand for labels.
    pub classes: Option<PathBuf>,
    pub format: EvalFormat,
    /// The longest side of the picture that is shown with a mistake, if one is.
    pub thumbnail_px: Option<u32>,
    /// Standard output when absent.
    pub output: Option<PathBuf>,
    /// What is to be learned from the images, and the classifier file that says it.
    pub fit: Option<(PathBuf, FitChoice)>,
}

impl Eval {
    pub(super) fn run(self) -> Result<Exit> {
        let setup = &self.setup;
        let messages = Messages::new(setup.quiet);
        let truth = self.truth_source()?;
        let digest = if self.fit.is_some() { DigestUse::Wanted } else { DigestUse::CacheOnly };
        let OpenModel { checkpoint, known, digest, .. } = setup.open(digest, &messages)?;
        let scoring = checkpoint.scoring();
        let has_several = self.rules.answer == Answer::Several || truth.has_several();
        let (kind, answer) = match has_several {
            false => (TruthKind::One, Answer::One),
            true if self.rules.tells_several(scoring, setup.classifier.as_ref()) => {
                (TruthKind::Several, Answer::Several)
            }
            true => (TruthKind::SeveralRanked, Answer::One),
        };
        let rules = Rules { answer, ..self.rules };
        if self.fit.is_some() && rules.has_thresholds() {
            messages.warning(
                "--threshold, --min-cosine and --min-margin are no part of what --fit learns: the report is with \
                 them, and the classifier file without",
            );
        }
        let judgement = rules.judgement(scoring, setup.labels.labels().len(), setup.classifier.as_ref())?;
        // Before the long work begins.
        let output = WholeOutput::open(self.output.as_deref())?;
        let fitted_output = self.fit.as_ref().map(|(path, _)| WholeOutput::open(Some(path))).transpose()?;
        if messages.start() {
            setup.count_inputs(&messages);
        }
        let job = Job {
            keep_embeddings: true,
            thumbnail_px: self.thumbnail_px,
            ..setup.job(&checkpoint, known, judgement)
        };
        let mut records = pipeline::records(job, &messages)?;
        let prompts = records.take_prompts().context("the prompts were not kept")?;
        let mut evaluation = Evaluation::new(EvalSetting {
            labels: &setup.labels,
            prompts: &prompts,
            scoring,
            truth: kind,
            keeps_sample: self.fit.is_some(),
        });
        for record in records {
            let record = record?;
            evaluation.add(&record, &truth.of(&record.image, &record.annotations))?;
            messages.advance();
        }
        let fitted = match &self.fit {
            Some((_, choice)) => {
                let sample = evaluation.sample().context("no images were kept to be fitted to")?;
                Some(fit::fit(sample, setup.labels.labels().len(), scoring, kind, choice)?)
            }
            None => None,
        };
        let mut report = evaluation.report();
        messages.finish(report.images as usize, report.failed as usize);
        self.check_images(&report)?;
        if let (Some(fitted), Some(file)) = (fitted, fitted_output) {
            fitted.warnings(&setup.labels).iter().for_each(|warning| messages.warning(warning));
            let digest = digest.context("the model has no digest")?.to_string();
            let text = self.classifier_file(&fitted, &checkpoint, digest).to_json()?;
            file.write(|out| Ok(out.write_all(&text)?))?;
            report.fit = Some(fitted);
        }
        output.write(|out| report.write(self.format, self.facts(rules), out))?;
        Ok(if report.failed > 0 { Exit::ImagesFailed } else { Exit::Success })
    }

    /// *Errors* when there is nothing that the report could be of.
    fn check_images(&self, report: &EvalReport) -> Result<()> {
        if report.images > 0 {
            return Ok(());
        }
        let left_out = &report.left_out;
        if left_out.outside + left_out.unknown == 0 {
            bail!("nothing to evaluate: no images were found, or all {} failed", report.failed);
        }
        if let Some(file) = self.truth.as_ref().filter(|_| left_out.outside == 0) {
            bail!(
                "nothing to evaluate: {} names none of the {} images; it names them as records do, or as below an \
                 input",
                file.display(),
                left_out.unknown
            );
        }
        let words: Vec<_> = left_out.words.keys().take(5).map(|word| format!("{word:?}")).collect();
        let words = if words.is_empty() { String::new() } else { format!(" ({}, …)", words.join(", ")) };
        bail!(
            "nothing to evaluate: of {} images it is said that they show what is no label{words}, and of {} \
             nothing; put images into folders that are named after labels, or say what they show with --truth or \
             --classes",
            left_out.outside,
            left_out.unknown
        )
    }

    fn truth_source(&self) -> Result<TruthSource> {
        let mut words = Words::new(&self.setup.labels.names());
        let read = |path: &Path| fs::read(path).map_err(anyhow::Error::from);
        if let Some(path) = &self.classes {
            let with_classes = || words.clone().with_classes(&read(path)?);
            words = with_classes()
                .with_context(|| format!("cannot use the file of classes {}", path.display()))?;
        }
        let table = self.truth.as_ref().map(|path| {
            let parse = || TruthTable::parse(&read(path)?, &words);
            parse().with_context(|| format!("cannot use the truth file {}", path.display()))
        });
        let table = table.transpose()?;
        Ok(TruthSource::new(words, table, &self.setup.inputs.paths))
    }

    /// What the report is of, for those who read it without the command beside it.
    fn facts(&self, rules: Rules) -> Vec<(&'static str, String)> {
        const MOST_INPUTS: usize = 5;
        let setup = &self.setup;
        let mut facts = vec![("model", format!("{}, {}", setup.model, setup.precision))];
        let files = setup.inputs.files_from.as_ref().map(|list| &list.file);
        let inputs: Vec<_> =
            setup.inputs.paths.iter().chain(files).map(|path| path.to_string_lossy()).collect();
        let more = inputs.len().saturating_sub(MOST_INPUTS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        facts.push(("inputs", inputs[..inputs.len().min(MOST_INPUTS)].join(", ") + &more));
        if let Some(part) = &setup.inputs.part {
            facts.push(("part", part.to_string()));
        }
        let of_file = |path: &PathBuf| path.display().to_string();
        facts.extend(self.truth.as_ref().map(|path| ("truth", of_file(path))));
        facts.extend(self.classes.as_ref().map(|path| ("classes", of_file(path))));
        let templates: Vec<_> = setup.labels.templates().iter().map(|template| template.text()).collect();
        let told = match templates.as_slice() {
            [] => String::new(),
            [template] => format!(", {template:?}"),
            several => format!(", {} templates", several.len()),
        };
        facts.push(("labels", format!("{}{told}", setup.labels.labels().len())));
        if !setup.labels.decoys().is_empty() {
            facts.push(("decoys", setup.labels.decoys().len().to_string()));
        }
        let told = rules.told();
        if !told.is_empty() {
            facts.push(("rules", told.join(", ")));
        }
        if setup.classifier.is_some() {
            facts.push(("classifier", "temperature, thresholds and rules of a classifier file".to_owned()));
        }
        facts.extend(self.fit.as_ref().map(|(path, _)| ("fitted to", of_file(path))));
        facts.push(("made by", concat!("clipclass ", env!("CARGO_PKG_VERSION")).to_owned()));
        facts
    }

    fn classifier_file(
        &self,
        fitted: &fit::Fitted,
        checkpoint: &Checkpoint,
        digest: String,
    ) -> ClassifierFile {
        let labels = &self.setup.labels;
        let given = |label: &Label, threshold| ClassifierLabel {
            label: label.name.clone(),
            prompts: label.prompts.clone(),
            threshold,
        };
        let threshold = |i: usize| fitted.thresholds.as_ref().map(|thresholds| thresholds.least[i]);
        ClassifierFile {
            clipclass_classifier: ClassifierFile::FORMAT,
            model: self.setup.model.clone(),
            digest,
            precision: self.setup.precision.to_string(),
            text_cleaning: checkpoint.unusual_text_cleaning().map(|cleaning| cleaning.to_string()),
            labels: labels.labels().iter().enumerate().map(|(i, label)| given(label, threshold(i))).collect(),
            decoys: labels.decoys().iter().map(|decoy| given(decoy, None)).collect(),
            temperature: fitted.temperature,
            thresholds: fitted.threshold_rule.clone(),
            none: fitted.none,
            prediction_sets: fitted.sets,
            fitted: fitted.report.clone(),
        }
    }
}
