//! Labelled images → what words cannot give: a temperature, thresholds, a rule for none of these, and
//! prediction sets.
//!
//! Everything is fitted twice: to all images, which is what is kept; and to all parts of them but one,
//! for each part, which is measured on that part. So nothing is measured on images that it was fitted to.

mod conformal;
mod folds;
mod none;
mod temperature;
mod thresholds;

use conformal::images_for;
pub use conformal::set_probability;
pub use temperature::{Link, fit_temperature};
pub use thresholds::{ChosenFor, Labelled, fit_threshold};

use super::TruthKind;
use super::calibration::Calibration;
use super::classes::{ClassCount, macro_f1};
use super::interval::Share;
use super::random::SEED;
use super::sample::{Sample, SampleTruth};
use crate::labels::{LabelSet, NoneRule, SetRule, ThresholdRule};
use crate::score::{Answer, FittedThresholds, Judgement, Quantity, Scoring, Verdict, contrast, verdict};
use anyhow::{Context, Result, ensure};
use folds::{FOLDS, folds};
use rayon::prelude::*;
use serde_json::{Value, json};

/// Fewer images of a label give it no threshold of its own.
const LEAST_OF_LABEL: usize = 5;

/// Fewer images in all are fitted to by nothing.
const LEAST_IN_ALL: usize = 20;

/// Fewer images that are none of the labels give no rule for them.
const LEAST_NONE: usize = 10;

/// The log loss of images whose labels have a probability of 0.999: a temperature that goes below has found
/// nothing that is hard.
const EASY_LOSS: f64 = 1e-3;

/// What is to be fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitChoice {
    /// What the thresholds are chosen for.
    pub chosen_for: ChosenFor,
    /// The share of images whose label is to be in their prediction set; there are no sets when absent.
    pub coverage: Option<f32>,
}

/// What was fitted.
#[derive(Debug, Clone)]
pub struct Fitted {
    pub temperature: Option<f32>,
    pub thresholds: Option<FittedThresholds>,
    pub threshold_rule: Option<ThresholdRule>,
    pub none: Option<NoneRule>,
    pub sets: Option<SetRule>,
    /// What it was fitted to and how it did on other images.
    pub report: Value,
    /// Labels that have too few images, with how many they have.
    few: Vec<(usize, usize)>,
    /// Images that are none of the labels, where they are too few.
    few_none: Option<usize>,
    /// Whether images that were not fitted to lose next to nothing at the temperature.
    too_easy: bool,
}

impl Fitted {
    /// What was asked for, or could have been, and what it would need.
    pub fn warnings(&self, labels: &LabelSet) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.few.is_empty() {
            let told =
                |(label, images): &(usize, usize)| format!("{} {images}", labels.labels()[*label].name);
            let some: Vec<_> = self.few.iter().take(10).map(told).collect();
            let more = if self.few.len() > some.len() { ", …" } else { "" };
            warnings.push(format!(
                "{} labels have too few images for a threshold of their own, which needs {LEAST_OF_LABEL}, and share \
                 one: {}{more}",
                self.few.len(),
                some.join(", ")
            ));
        }
        if let Some(temperature) = self.temperature.filter(|_| self.too_easy) {
            warnings.push(format!(
                "with the temperature {temperature} nearly all probabilities are 0 or 1: these images are too easy to \
                 tell how sure to be of others"
            ));
        }
        if let Some(images) = self.few_none {
            warnings.push(format!(
                "{images} images are called none, too few for a rule that tells them, which needs {LEAST_NONE}"
            ));
        }
        warnings
    }
}

/// Fits to the images of a sample.
///
/// *Errors* when there are too few of them, or a choice does not go with what they show.
pub fn fit(
    sample: &Sample,
    labels: usize,
    scoring: Scoring,
    truth: TruthKind,
    choice: &FitChoice,
) -> Result<Fitted> {
    let fitting = Fitting { sample, labels, scoring, is_single: truth == TruthKind::One, choice: *choice };
    let (known, none): (Vec<_>, Vec<_>) =
        (0..sample.len()).partition(|&image| *sample.truth(image) != SampleTruth::None);
    ensure!(
        known.len() >= LEAST_IN_ALL,
        "cannot fit to {} images that have a label: at least {LEAST_IN_ALL} are needed",
        known.len()
    );
    ensure!(
        fitting.is_single || choice.coverage.is_none(),
        "--coverage is for images of one label each, and these have several"
    );
    let all: Vec<_> = (0..sample.len()).collect();
    let folds = folds(sample);
    let quantities: &[Quantity] = match (fitting.is_single, scoring) {
        (true, _) => &[Quantity::Margin],
        (false, Scoring::Sigmoid { .. }) => &[Quantity::Probability],
        (false, Scoring::Softmax { .. }) => &[Quantity::Cosine, Quantity::Probability],
    };
    // Of several quantities that one is taken which does best on images that it was not fitted to.
    let mut best: Option<(Quantity, Measured)> = None;
    for &quantity in quantities {
        let measured = fitting.measure(&folds, quantity)?;
        if best.as_ref().is_none_or(|(_, best)| measured.macro_f1() > best.macro_f1()) {
            best = Some((quantity, measured));
        }
    }
    let (quantity, measured) = best.context("there is nothing to threshold")?;
    let parts = fitting.fit_parts(&all, quantity)?;
    let few = |label: usize| {
        let images = known.iter().filter(|&&image| sample.has(image, label)).count();
        (images < LEAST_OF_LABEL).then_some((label, images))
    };
    let chosen_for = match choice.chosen_for {
        ChosenFor::F1 => "f1".to_owned(),
        ChosenFor::Precision(precision) => format!("precision {precision}"),
    };
    let mut fitted = Fitted {
        temperature: Some(parts.temperature),
        thresholds: Some(parts.thresholds),
        threshold_rule: Some(ThresholdRule { of: quantity.name().to_owned(), chosen_for }),
        none: parts.none,
        sets: choice
            .coverage
            .zip(parts.set_probability)
            .map(|(coverage, min_probability)| SetRule { coverage, min_probability }),
        report: Value::Null,
        few: (0..labels).filter_map(few).collect(),
        too_easy: measured.after.log_loss().is_some_and(|loss| loss < EASY_LOSS),
        few_none: (!none.is_empty() && none.len() < LEAST_NONE).then_some(none.len()),
    };
    fitted.report = report(sample, &fitted, &measured, known.len(), none.len());
    Ok(fitted)
}

/// The images, and how they are judged.
struct Fitting<'a> {
    sample: &'a Sample,
    labels: usize,
    scoring: Scoring,
    /// Whether each image has one label.
    is_single: bool,
    choice: FitChoice,
}

/// What was fitted to some of the images.
struct Parts {
    temperature: f32,
    thresholds: FittedThresholds,
    none: Option<NoneRule>,
    set_probability: Option<f32>,
}

impl Parts {
    fn judgement(&self, answer: Answer) -> Judgement {
        let none = self.none.unwrap_or_default();
        Judgement {
            temperature: Some(self.temperature),
            threshold: none.threshold.unwrap_or(0.0),
            min_cosine: none.min_cosine,
            min_contrast: none.min_contrast,
            min_margin: none.min_margin,
            fitted: Some(self.thresholds.clone()),
            set_probability: self.set_probability,
            answer,
            ..Default::default()
        }
    }
}

impl Fitting<'_> {
    fn answer(&self) -> Answer {
        if self.is_single { Answer::One } else { Answer::Several }
    }

    fn judge(&self, image: usize, judgement: &Judgement) -> Result<Verdict> {
        verdict(self.sample.cosines(image), self.labels, self.scoring, judgement)
            .context("an embedding is not made of numbers")
    }

    fn judge_all(&self, images: &[usize], judgement: &Judgement) -> Result<Vec<Verdict>> {
        images.par_iter().map(|&image| self.judge(image, judgement)).collect()
    }

    fn label(&self, image: usize) -> Option<usize> {
        match self.sample.truth(image) {
            SampleTruth::Labels(labels) => labels.first().map(|&label| label as usize),
            SampleTruth::None => None,
        }
    }

    /// Fits everything to some of the images.
    fn fit_parts(&self, images: &[usize], quantity: Quantity) -> Result<Parts> {
        let temperature = self.fit_temperature(images);
        let judgement = Judgement { temperature: Some(temperature), ..Default::default() };
        let verdicts = self.judge_all(images, &judgement)?;
        // Where there is a rule for none, it tells those images, and thresholds for F1 would lose known
        // images to do the same. A precision has to hold in spite of them.
        let none_images = images.iter().filter(|&&image| self.label(image).is_none()).count();
        let are_told = self.is_single && none_images >= LEAST_NONE && self.choice.chosen_for == ChosenFor::F1;
        let counts = |image: &usize| !are_told || self.label(*image).is_some();
        let (counting, counted): (Vec<_>, Vec<_>) = images
            .iter()
            .zip(&verdicts)
            .filter(|(image, _)| counts(image))
            .map(|(&image, verdict)| (image, verdict))
            .unzip();
        let thresholds = self.fit_thresholds(&counting, &counted, quantity);
        let with_thresholds = Judgement { fitted: Some(thresholds.clone()), ..judgement };
        let none = if self.is_single { self.fit_none(images, &with_thresholds)? } else { None };
        let own =
            |(&image, verdict): (&usize, &Verdict)| Some(verdict.scores[self.label(image)?].probability);
        let probabilities = || images.iter().zip(&verdicts).filter_map(own).collect::<Vec<_>>();
        let set_probability = match self.choice.coverage {
            None => None,
            Some(coverage) => {
                let probabilities = probabilities();
                let images = probabilities.len();
                Some(set_probability(probabilities, coverage).with_context(|| {
                    // A fifth of all is held out in turn.
                    let needed = (images_for(coverage) * FOLDS).div_ceil(FOLDS - 1);
                    format!(
                        "{images} images are too few for prediction sets with --coverage {coverage}, which need \
                         about {needed} in all"
                    )
                })?)
            }
        };
        Ok(Parts { temperature, thresholds, none, set_probability })
    }

    fn fit_temperature(&self, images: &[usize]) -> f32 {
        let known: Vec<_> =
            images.iter().copied().filter(|&image| *self.sample.truth(image) != SampleTruth::None).collect();
        // Of images of several labels a softmax has no likelihood.
        let link = match self.scoring {
            Scoring::Softmax { .. } if !self.is_single => return 1.0,
            Scoring::Softmax { .. } => Link::Softmax,
            Scoring::Sigmoid { .. } => Link::Sigmoid,
        };
        let count = if link == Link::Softmax { usize::MAX } else { self.labels };
        let logits = |image: usize| {
            let logit = |(i, cosine): (usize, &f32)| {
                let is_own = match self.is_single {
                    true => self.label(image) == Some(i),
                    false => i < self.labels && self.sample.has(image, i),
                };
                (f64::from(self.scoring.logit(*cosine)), is_own)
            };
            self.sample.cosines(image).iter().take(count).enumerate().map(logit).collect()
        };
        fit_temperature(&known, link, logits) as f32
    }

    fn fit_thresholds(
        &self,
        images: &[usize],
        verdicts: &[&Verdict],
        quantity: Quantity,
    ) -> FittedThresholds {
        let values: Vec<Vec<f32>> = verdicts.par_iter().map(|verdict| quantity.of_labels(verdict)).collect();
        let of_label = |label: usize| -> Vec<Labelled> {
            let labelled =
                |(&image, values): (&usize, &Vec<f32>)| (values[label], self.sample.has(image, label));
            images.iter().zip(&values).map(labelled).collect()
        };
        // The best label is the prediction unless images say otherwise.
        let usual = self.is_single.then_some(0.0);
        let own = |label: usize| {
            let images = of_label(label);
            let having = images.iter().filter(|image| image.1).count();
            (having >= LEAST_OF_LABEL).then(|| fit_threshold(images, usual, self.choice.chosen_for))
        };
        let own: Vec<_> = (0..self.labels).into_par_iter().map(own).collect();
        let shared = own.iter().any(Option::is_none).then(|| {
            let all = (0..self.labels).flat_map(of_label).collect();
            fit_threshold(all, usual, self.choice.chosen_for)
        });
        let least: Vec<_> = own.into_iter().map(|own| own.or(shared).unwrap_or_default()).collect();
        FittedThresholds { quantity, least: least.into() }
    }

    fn fit_none(&self, images: &[usize], judgement: &Judgement) -> Result<Option<NoneRule>> {
        let (mut known, mut none, mut known_in_all, mut none_in_all) = (Vec::new(), Vec::new(), 0, 0);
        for (&image, verdict) in images.iter().zip(self.judge_all(images, judgement)?) {
            let is_known = self.label(image).is_some();
            if is_known {
                known_in_all += 1;
            } else {
                none_in_all += 1;
            }
            let Some(best) = verdict.prediction else { continue };
            let score = verdict.scores[best];
            let margin = Quantity::Margin.of_labels(&verdict)[best];
            let contrast = contrast(&self.sample.cosines(image)[..self.labels]);
            let best_label = [score.probability, score.cosine, contrast, margin];
            if is_known { &mut known } else { &mut none }.push(best_label);
        }
        if none_in_all < LEAST_NONE {
            return Ok(None);
        }
        Ok(Some(none::fit_none(&known, &none, known_in_all - known.len(), known_in_all)))
    }

    /// Fits to all parts but one, for each, and measures on that.
    fn measure(&self, folds: &[usize], quantity: Quantity) -> Result<Measured> {
        let mut measured = Measured::new(self.labels);
        for fold in 0..FOLDS {
            let (held_out, fitted): (Vec<_>, Vec<_>) =
                (0..self.sample.len()).partition(|&image| folds[image] == fold);
            let judgement = self.fit_parts(&fitted, quantity)?.judgement(self.answer());
            let after = self.judge_all(&held_out, &judgement)?;
            let before = self.judge_all(&held_out, &Judgement::default())?;
            for ((&image, before), after) in held_out.iter().zip(&before).zip(&after) {
                measured.add(self, image, before, after);
            }
        }
        Ok(measured)
    }
}

impl Quantity {
    /// The quantity of each label of a verdict that has all scores.
    fn of_labels(self, verdict: &Verdict) -> Vec<f32> {
        match self {
            Self::Probability => verdict.scores.iter().map(|score| score.probability).collect(),
            Self::Cosine => verdict.scores.iter().map(|score| score.cosine).collect(),
            Self::Margin => {
                let all = || verdict.scores.iter().chain(&verdict.decoys);
                let better = |best: usize, (i, logit): (usize, f32)| {
                    if all().nth(best).is_some_and(|score| logit > score.logit) { i } else { best }
                };
                let best = all().map(|score| score.logit).enumerate().fold(0, better);
                let others =
                    all().enumerate().filter(|(i, _)| *i != best).map(|(_, score)| score.probability);
                let (first, second) = (verdict.probability, others.fold(0.0, f32::max));
                let margin = |(i, score): (usize, &crate::score::Score)| {
                    score.probability - if i == best { second } else { first }
                };
                verdict.scores.iter().enumerate().map(margin).collect()
            }
        }
    }
}

/// How what was fitted does on images that it was not fitted to.
struct Measured {
    before: Calibration,
    after: Calibration,
    classes_before: Vec<ClassCount>,
    classes_after: Vec<ClassCount>,
    rejected_none: Share,
    lost: Share,
    covered: Share,
    labels_in_sets: usize,
    empty_sets: usize,
}

impl Measured {
    fn new(labels: usize) -> Self {
        Self {
            before: Calibration::default(),
            after: Calibration::default(),
            classes_before: vec![ClassCount::default(); labels],
            classes_after: vec![ClassCount::default(); labels],
            rejected_none: Share::default(),
            lost: Share::default(),
            covered: Share::default(),
            labels_in_sets: 0,
            empty_sets: 0,
        }
    }

    fn macro_f1(&self) -> Option<f64> {
        macro_f1(&self.classes_after)
    }

    fn add(&mut self, fitting: &Fitting, image: usize, before: &Verdict, after: &Verdict) {
        let given = |verdict: &Verdict| match &verdict.predictions {
            Some(predictions) => predictions.clone(),
            None => verdict.prediction.into_iter().collect(),
        };
        count(&mut self.classes_before, fitting, image, &given(before));
        count(&mut self.classes_after, fitting, image, &given(after));
        if *fitting.sample.truth(image) == SampleTruth::None {
            self.rejected_none.add(after.prediction.is_none());
            return;
        }
        self.lost.add(after.prediction.is_none());
        for (calibration, verdict) in [(&mut self.before, before), (&mut self.after, after)] {
            let logits: Vec<_> = super::all_scores(verdict).map(|score| score.logit).collect();
            let best = super::best_label(verdict);
            match (fitting.scoring, fitting.label(image)) {
                (Scoring::Softmax { .. }, Some(label)) if fitting.is_single => {
                    calibration.add_softmax(&logits, fitting.labels, label, best);
                }
                (Scoring::Softmax { .. }, _) => {}
                (Scoring::Sigmoid { .. }, _) => {
                    let has = |label: usize| fitting.sample.has(image, label);
                    calibration.add_sigmoid(
                        &logits[..fitting.labels],
                        has,
                        fitting.is_single.then_some(best),
                    );
                }
            }
        }
        if let (Some(set), Some(label)) = (&after.set, fitting.label(image)) {
            self.covered.add(set.contains(&label));
            self.labels_in_sets += set.len();
            self.empty_sets += usize::from(set.is_empty());
        }
    }
}

fn count(classes: &mut [ClassCount], fitting: &Fitting, image: usize, given: &[usize]) {
    if let SampleTruth::Labels(labels) = fitting.sample.truth(image) {
        labels.iter().for_each(|&label| classes[label as usize].support += 1);
    }
    for &label in given {
        classes[label].predicted += 1;
        classes[label].right += u64::from(fitting.sample.has(image, label));
    }
}

/// What is said of a fit, in the classifier file and to people.
fn report(sample: &Sample, fitted: &Fitted, measured: &Measured, known: usize, none: usize) -> Value {
    let mut report = serde_json::Map::new();
    let mut say = |part: &str, value: Value| drop(report.insert(part.to_owned(), value));
    say("images", known.into());
    if none > 0 {
        say("none_images", none.into());
    }
    if sample.seen() > sample.len() as u64 {
        say("drawn_from", sample.seen().into());
    }
    say("parts", FOLDS.into());
    say("seed", SEED.into());
    if measured.before.ece().is_some() {
        say(
            "temperature",
            json!({
                "temperature": fitted.temperature.map(f64::from),
                "log_loss_before": measured.before.log_loss(), "log_loss": measured.after.log_loss(),
                "ece_before": measured.before.ece(), "ece": measured.after.ece(),
            }),
        );
    }
    if let Some(rule) = &fitted.threshold_rule {
        let precision =
            measured.classes_after.iter().filter(|class| class.predicted > 0).map(|class| class.precision());
        let precisions: Vec<_> = precision.collect();
        say(
            "thresholds",
            json!({
                "of": rule.of, "chosen_for": rule.chosen_for,
                "macro_f1_of_the_best_label": macro_f1(&measured.classes_before), "macro_f1": measured.macro_f1(),
                "mean_precision": precisions.iter().sum::<f64>() / precisions.len().max(1) as f64,
                "labels_that_share_one": fitted.few.len(),
            }),
        );
    }
    if fitted.none.is_some() {
        say(
            "none",
            json!({ "rejected": measured.rejected_none.value(), "known_images_lost": measured.lost.value() }),
        );
    }
    if let Some(sets) = &fitted.sets {
        let images = measured.covered.of.max(1) as f64;
        say(
            "prediction_sets",
            json!({
                "coverage": f64::from(sets.coverage), "covered": measured.covered.value(),
                "mean_labels": measured.labels_in_sets as f64 / images,
                "empty": measured.empty_sets as f64 / images,
            }),
        );
    }
    Value::Object(report)
}
