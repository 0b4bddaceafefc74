//! Records + truth → how right a classifier is, and what to trust.
//!
//! ```text
//! truth.rs ─┐
//! record ───┴▶ Evaluation ─▶ classes · calibration · ranking · mistakes · prompts · lookover ─▶ EvalReport
//!                   └─▶ sample ─▶ fit/ ─▶ a classifier file
//! ```
//!
//! Everything is summed up in passing, so that a million images take no more memory than a hundred; what
//! needs them all at once has a [`Sample`], which is bounded.

pub mod calibration;
pub mod classes;
pub mod fit;
mod interval;
mod lookover;
mod mistakes;
mod prompts;
pub mod random;
pub mod ranking;
pub mod report;
mod sample;
pub mod truth;

pub use interval::{Interval, Share};
pub use lookover::{LabelFindings, NearPair};
pub use mistakes::Mistake;
pub use prompts::PromptResult;
pub use sample::{Sample, SampleTruth};

use crate::labels::LabelSet;
use crate::pipeline::PromptEmbeddings;
use crate::report::{Failure, Record};
use crate::score::{Scoring, Verdict};
use anyhow::Result;
use calibration::Calibration;
use classes::{ClassCount, Confusion};
use mistakes::Mistakes;
use prompts::PromptTrial;
use report::{EvalReport, FailedImage, LeftOut};
use std::collections::BTreeMap;
use truth::Truth;

/// The most failed images, and the most words of images that were left out, that are kept.
const MOST_TOLD: usize = 100;

/// How many labels an image has, and whether it is said which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruthKind {
    /// One, or none of the labels.
    One,
    /// Any number; a rule says which pass.
    Several,
    /// Any number, and there is no rule: labels only rank the images.
    SeveralRanked,
}

/// What is evaluated, and how.
pub struct EvalSetting<'a> {
    pub labels: &'a LabelSet,
    pub prompts: &'a PromptEmbeddings,
    pub scoring: Scoring,
    pub truth: TruthKind,
    /// Whether the images are to be fitted to.
    pub keeps_sample: bool,
}

/// Images and what they show, summed up in passing.
pub struct Evaluation<'a> {
    setting: EvalSetting<'a>,
    names: Vec<&'a str>,
    images: u64,
    right: Share,
    top5: Share,
    /// Of images of one label.
    confusion: Confusion,
    /// Of images of several.
    classes: Vec<ClassCount>,
    calibration: Calibration,
    mistakes: Mistakes,
    trial: Option<PromptTrial>,
    sample: Option<Sample>,
    failed: u64,
    failures: Vec<FailedImage>,
    outside: BTreeMap<String, u64>,
    left_out: LeftOut,
}

/// How many of the best labels are looked at beside the first.
const TOP: usize = 5;

impl<'a> Evaluation<'a> {
    /// Begins an evaluation.
    pub fn new(setting: EvalSetting<'a>) -> Self {
        let labels = setting.labels;
        let width = labels.labels().len() + labels.decoys().len();
        let keeps_sample = setting.keeps_sample || setting.truth != TruthKind::One;
        Self {
            names: labels.names(),
            images: 0,
            right: Share::default(),
            top5: Share::default(),
            confusion: Confusion::default(),
            classes: vec![ClassCount::default(); labels.labels().len()],
            calibration: Calibration::default(),
            mistakes: Mistakes::default(),
            trial: if setting.truth == TruthKind::One {
                PromptTrial::new(labels, setting.prompts)
            } else {
                None
            },
            sample: keeps_sample.then(|| Sample::new(width)),
            failed: 0,
            failures: Vec::new(),
            outside: BTreeMap::new(),
            left_out: LeftOut::default(),
            setting,
        }
    }

    /// Adds a record, which has all scores and its embedding.
    ///
    /// *Errors* when the image has several labels where each is to have one, or its picture cannot be
    /// encoded.
    pub fn add(&mut self, record: &Record, truth: &Truth) -> Result<()> {
        let verdict = match &record.outcome {
            Ok(verdict) => verdict,
            Err(failure) => {
                self.add_failure(record, failure);
                return Ok(());
            }
        };
        let labels = match truth {
            Truth::Outside(word) => {
                self.left_out.outside += 1;
                if self.outside.len() < MOST_TOLD || self.outside.contains_key(word) {
                    *self.outside.entry(word.clone()).or_default() += 1;
                }
                return Ok(());
            }
            Truth::Unknown => {
                self.left_out.unknown += 1;
                return Ok(());
            }
            Truth::None => &[],
            Truth::Labels(labels) => &labels[..],
        };
        self.images += 1;
        match self.setting.truth {
            TruthKind::One if labels.is_empty() => self.add_none(record, verdict),
            TruthKind::One => self.add_single(record, verdict, &truth::single(labels, &record.image)?),
            TruthKind::Several | TruthKind::SeveralRanked => self.add_several(record, verdict, labels),
        }
    }

    fn add_failure(&mut self, record: &Record, Failure { kind, message }: &Failure) {
        self.failed += 1;
        if self.failures.len() < MOST_TOLD {
            let (image, message) = (record.image.to_string(), message.clone());
            self.failures.push(FailedImage { image, kind, message });
        }
    }

    /// Adds an image that is none of the labels.
    fn add_none(&mut self, record: &Record, verdict: &Verdict) -> Result<()> {
        let none = self.names.len();
        self.right.add(verdict.prediction.is_none());
        self.confusion.add(none, verdict.prediction.unwrap_or(none));
        self.offer(verdict, SampleTruth::None);
        if verdict.prediction.is_some() {
            let best = best_label(verdict);
            self.add_mistake(record, verdict, truth::NONE, None, verdict.scores[best].logit)?;
        }
        Ok(())
    }

    /// Adds an image of one label, which stands at these positions.
    fn add_single(&mut self, record: &Record, verdict: &Verdict, positions: &[usize]) -> Result<()> {
        let best = best_label(verdict);
        let own = |label: usize| if positions.contains(&label) { label } else { positions[0] };
        let prediction = verdict.prediction.unwrap_or(self.names.len());
        let truth = own(prediction);
        self.right.add(prediction == truth);
        self.confusion.add(truth, prediction);
        let logits: Vec<f32> = all_scores(verdict).map(|score| score.logit).collect();
        let labels = self.names.len();
        let logit = logits[truth];
        // Of equal logits the first label comes first.
        let before = |(i, l): (usize, &f32)| *l > logit || (*l == logit && i < truth);
        let rank = logits[..labels].iter().enumerate().filter(|label| before(*label)).count();
        self.top5.add(rank < TOP);
        match self.setting.scoring {
            Scoring::Softmax { .. } => self.calibration.add_softmax(&logits, labels, own(best), best),
            Scoring::Sigmoid { .. } => {
                self.calibration.add_sigmoid(&logits[..labels], |label| label == own(best), Some(best));
            }
        }
        if let (Some(trial), Some(embedding)) = (&mut self.trial, &record.embedding) {
            trial.add(embedding, positions);
        }
        self.offer(verdict, SampleTruth::Labels([own(best) as u32].into()));
        if prediction != truth {
            let gap = verdict.scores[best].logit - logit;
            let probability = Some(verdict.scores[truth].probability);
            self.add_mistake(record, verdict, self.names[truth], probability, gap)?;
        }
        Ok(())
    }

    /// Adds an image of any number of labels.
    fn add_several(&mut self, record: &Record, verdict: &Verdict, labels: &[Vec<usize>]) -> Result<()> {
        let mut has: Vec<_> = labels.iter().flatten().map(|&label| label as u32).collect();
        has.sort_unstable();
        has.dedup();
        let is_one = |label: usize| has.binary_search(&(label as u32)).is_ok();
        if let Scoring::Sigmoid { .. } = self.setting.scoring {
            let logits: Vec<f32> = verdict.scores.iter().map(|score| score.logit).collect();
            self.calibration.add_sigmoid(&logits, is_one, None);
        }
        has.iter().for_each(|&label| self.classes[label as usize].support += 1);
        if let Some(predictions) = &verdict.predictions {
            for &label in predictions {
                self.classes[label].predicted += 1;
                self.classes[label].right += u64::from(is_one(label));
            }
            let is_right = predictions.len() == has.len() && predictions.iter().all(|&label| is_one(label));
            self.right.add(is_right);
            if !is_right {
                // The worst label that was missed, or taken for one.
                let missed = |label: usize| is_one(label) != predictions.contains(&label);
                let best = verdict.scores[best_label(verdict)].logit;
                let gaps =
                    verdict.scores.iter().filter(|score| missed(score.label)).map(|score| {
                        if is_one(score.label) { best - score.logit } else { score.logit - best }
                    });
                let gap = gaps.fold(f32::NEG_INFINITY, f32::max);
                let names: Vec<_> = has.iter().map(|&label| self.names[label as usize]).collect();
                let label = if names.is_empty() { truth::NONE.to_owned() } else { names.join("|") };
                self.add_mistake(record, verdict, &label, None, gap)?;
            }
        }
        self.offer(verdict, SampleTruth::Labels(has.into()));
        Ok(())
    }

    fn offer(&mut self, verdict: &Verdict, truth: SampleTruth) {
        if let Some(sample) = &mut self.sample {
            sample.offer(all_scores(verdict).map(|score| score.cosine), truth);
        }
    }

    fn add_mistake(
        &mut self,
        record: &Record,
        verdict: &Verdict,
        label: &str,
        label_probability: Option<f32>,
        logit_gap: f32,
    ) -> Result<()> {
        let names =
            |labels: &[usize]| labels.iter().map(|&label| self.names[label]).collect::<Vec<_>>().join("|");
        let prediction = match &verdict.predictions {
            Some(labels) => (!labels.is_empty()).then(|| names(labels)),
            None => verdict.prediction.map(|label| self.names[label].to_owned()),
        };
        let (image, label, probability) = (record.image.to_string(), label.to_owned(), verdict.probability);
        let thumbnail = None;
        let mistake =
            Mistake { image, label, prediction, probability, label_probability, logit_gap, thumbnail };
        self.mistakes.add(mistake, record.picture.as_ref())
    }

    /// The images that were kept to be fitted to.
    pub fn sample(&self) -> Option<&Sample> {
        self.sample.as_ref()
    }

    /// Sums up.
    pub fn report(mut self) -> EvalReport {
        let (labels, names) = (self.setting.labels, self.names.clone());
        let is_single = self.setting.truth == TruthKind::One;
        let decides = self.setting.truth != TruthKind::SeveralRanked;
        let all = if is_single { self.confusion.classes(names.len() + 1) } else { self.classes.clone() };
        // Pictures that are none of the labels are a class of their own where there are any.
        let has_none = is_single && all[names.len()].support > 0;
        let counted = if has_none { &all[..] } else { &all[..names.len()] };
        let mut told = names.clone();
        told.push(truth::NONE);
        let rows: Vec<f32> = labels
            .labels()
            .iter()
            .flat_map(|label| crate::score::ensemble(&self.setting.prompts.of_label(label)))
            .collect();
        let average_precisions =
            if is_single { None } else { self.sample.as_ref().map(|sample| self.average_precisions(sample)) };
        let dim = self.setting.prompts.dim();
        let mut findings = lookover::look_over(&names, &rows, dim, &all[..names.len()]);
        if !decides {
            findings.never_predicted.clear();
        }
        let reliable = self.calibration.ece().is_some();
        self.left_out.words = std::mem::take(&mut self.outside);
        EvalReport {
            images: self.images,
            failed: self.failed,
            accuracy: self.right,
            top5: is_single.then_some(self.top5),
            balanced_accuracy: if is_single { classes::balanced_accuracy(counted) } else { None },
            macro_f1: if decides { classes::macro_f1(counted) } else { None },
            micro_f1: if is_single || !decides { None } else { classes::micro_f1(counted) },
            average_precisions,
            sampled: self
                .sample
                .as_ref()
                .filter(|sample| sample.seen() > sample.len() as u64)
                .map(Sample::len),
            calibration: reliable.then_some(self.calibration),
            class_names: told[..counted.len()].iter().map(|&name| name.to_owned()).collect(),
            classes: counted.to_vec(),
            decides,
            confusion: is_single.then_some(self.confusion),
            templates: self.trial.map_or(Vec::new(), |trial| trial.results(labels)),
            mistakes: self.mistakes,
            findings,
            failures: self.failures,
            left_out: self.left_out,
            label_count: names.len(),
            is_sigmoid: matches!(self.setting.scoring, Scoring::Sigmoid { .. }),
            fit: None,
        }
    }

    /// The average precision of each label, by its cosine, of which the probability of a sigmoid is a
    /// monotone function.
    fn average_precisions(&self, sample: &Sample) -> Vec<Option<f64>> {
        let of_label = |label: usize| {
            let images =
                (0..sample.len()).map(|image| (sample.cosines(image)[label], sample.has(image, label)));
            ranking::average_precision(images.collect())
        };
        (0..self.names.len()).map(of_label).collect()
    }
}

/// The scores of labels, and of decoys after them.
fn all_scores(verdict: &Verdict) -> impl Iterator<Item = &crate::score::Score> {
    verdict.scores.iter().chain(&verdict.decoys)
}

/// The position of the best label, whatever the rules say.
fn best_label(verdict: &Verdict) -> usize {
    let better = |best: usize, label: usize| {
        if verdict.scores[label].logit > verdict.scores[best].logit { label } else { best }
    };
    (0..verdict.scores.len()).fold(0, better)
}
