//! Embeddings of images and prompts → how right each template or prompt is alone, and how right the
//! ensemble is without it.
//!
//! Nothing is embedded again: the ensemble without a prompt points along the sum of all prompts less that
//! one, so its cosine follows from those of the prompts.

use super::interval::Share;
use crate::labels::LabelSet;
use crate::pipeline::PromptEmbeddings;
use crate::score::cosines;
use rayon::prelude::*;
use serde::Serialize;

/// Cosines held at a time.
const BLOCK: usize = 1 << 21;

/// How right a template or prompt is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromptResult {
    /// The template, or the prompt where a label has prompts of its own.
    pub template: String,
    /// The label whose prompt it is; of a template, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// With it alone: for every label where it is a template, for its own where it is a prompt.
    pub accuracy: Option<f64>,
    /// With all others.
    pub without: Option<f64>,
}

/// A trial of the prompts of a label set, an image at a time.
pub struct PromptTrial {
    /// *Shape* `[P, D]`, those of a label together.
    rows: Vec<f32>,
    dim: usize,
    /// The prompts of each label, of which there is at least one.
    labels: Vec<LabelPrompts>,
    kind: Kind,
    /// Alone and without, for each template or prompt.
    alone: Vec<Share>,
    without: Vec<Share>,
    waiting: Vec<f32>,
    truths: Vec<Vec<usize>>,
}

/// Where the prompts of a label are, and what its ensemble is without each.
struct LabelPrompts {
    first: usize,
    count: usize,
    /// Length of the sum of its prompts.
    length: f32,
    /// Length of the sum without each prompt.
    lengths: Vec<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The prompts of one place are one template's.
    Templates,
    /// Each prompt is its label's own.
    Prompts,
}

impl PromptTrial {
    /// A trial of the prompts of these labels; none where no label has several.
    pub fn new(labels: &LabelSet, prompts: &PromptEmbeddings) -> Option<Self> {
        if labels.labels().iter().all(|label| label.prompts.len() < 2) {
            return None;
        }
        let dim = prompts.dim();
        let (mut rows, mut of_labels) = (Vec::new(), Vec::new());
        for label in labels.labels() {
            let own = prompts.of_label(label);
            let mut sum = vec![0.0; dim];
            own.iter().for_each(|row| sum.iter_mut().zip(*row).for_each(|(sum, x)| *sum += x));
            let length = |row: Option<&[f32]>| {
                let rest = |(i, sum): (usize, &f32)| row.map_or(*sum, |row| sum - row[i]);
                sum.iter().enumerate().map(rest).map(|x| x * x).sum::<f32>().sqrt()
            };
            of_labels.push(LabelPrompts {
                first: rows.len() / dim,
                count: own.len(),
                length: length(None),
                lengths: own.iter().map(|row| length(Some(row))).collect(),
            });
            own.iter().for_each(|row| rows.extend_from_slice(row));
        }
        let kind = if labels.templates().is_empty() { Kind::Prompts } else { Kind::Templates };
        let results = match kind {
            Kind::Templates => labels.templates().len(),
            Kind::Prompts => rows.len() / dim,
        };
        Some(Self {
            rows,
            dim,
            labels: of_labels,
            kind,
            alone: vec![Share::default(); results],
            without: vec![Share::default(); results],
            waiting: Vec::new(),
            truths: Vec::new(),
        })
    }

    /// Adds an image that is one of `truth`, which go by one name.
    ///
    /// *Shape* `embedding [D]`, unit length.
    pub fn add(&mut self, embedding: &[f32], truth: &[usize]) {
        self.waiting.extend_from_slice(embedding);
        self.truths.push(truth.to_vec());
        if self.truths.len() * (self.rows.len() / self.dim) >= BLOCK || self.truths.len() == 256 {
            self.judge();
        }
    }

    fn judge(&mut self) {
        let images: Vec<_> = self.waiting.chunks(self.dim).collect();
        let cosines = cosines(&images, &self.rows, self.dim);
        let count = self.rows.len() / self.dim;
        let judge = |(cosines, truth): (&[f32], &Vec<usize>)| match self.kind {
            Kind::Templates => self.judge_templates(cosines, truth),
            Kind::Prompts => self.judge_prompts(cosines, truth),
        };
        let judged: Vec<_> = cosines.par_chunks(count).zip(&self.truths).map(judge).collect();
        for (i, (alone, without)) in judged.into_iter().flat_map(|image| image.into_iter().enumerate()) {
            self.alone[i].add(alone);
            self.without[i].add(without);
        }
        self.waiting.clear();
        self.truths.clear();
    }

    /// Whether an image is right with each template alone, and without it.
    fn judge_templates(&self, cosines: &[f32], truth: &[usize]) -> Vec<(bool, bool)> {
        let templates = self.alone.len();
        let sums: Vec<f32> = cosines.chunks(templates).map(|own| own.iter().sum()).collect();
        let is_right =
            |cosine: &dyn Fn(usize) -> f32| truth.contains(&best((0..self.labels.len()).map(cosine)));
        let of_template = |template: usize| {
            let own = |label: usize| cosines[label * templates + template];
            let without = |label: usize| (sums[label] - own(label)) / self.labels[label].lengths[template];
            (is_right(&own), is_right(&without))
        };
        (0..templates).map(of_template).collect()
    }

    /// Whether an image is right with each prompt alone for its label, and without it.
    fn judge_prompts(&self, cosines: &[f32], truth: &[usize]) -> Vec<(bool, bool)> {
        let own = |label: &LabelPrompts| &cosines[label.first..][..label.count];
        let sums: Vec<f32> = self.labels.iter().map(|label| own(label).iter().sum()).collect();
        let ensembles: Vec<f32> =
            self.labels.iter().zip(&sums).map(|(label, sum)| sum / label.length).collect();
        let first = best(ensembles.iter().copied());
        let rest = ensembles
            .iter()
            .enumerate()
            .map(|(i, cosine)| if i == first { f32::NEG_INFINITY } else { *cosine });
        let second = best(rest);
        let mut results = Vec::with_capacity(cosines.len());
        for (i, label) in self.labels.iter().enumerate() {
            let other = if i == first { second } else { first };
            let is_right = |cosine: f32| {
                let is_best = self.labels.len() == 1
                    || cosine > ensembles[other]
                    || (cosine == ensembles[other] && i < other);
                truth.contains(if is_best { &i } else { &other })
            };
            for (cosine, length) in own(label).iter().zip(&label.lengths) {
                // A label without its only prompt has none, and its result is the ensemble's.
                let without = if label.count == 1 { ensembles[i] } else { (sums[i] - cosine) / length };
                results.push((is_right(*cosine), is_right(without)));
            }
        }
        results
    }

    /// What came of it, in the order of the templates or prompts.
    pub fn results(mut self, labels: &LabelSet) -> Vec<PromptResult> {
        self.judge();
        let names: Vec<_> = match self.kind {
            Kind::Templates => labels.templates().iter().map(|t| (t.text().to_owned(), None)).collect(),
            Kind::Prompts => {
                let all = labels.labels().iter();
                all.flat_map(|label| label.prompts.iter().map(|p| (p.clone(), Some(label.name.clone()))))
                    .collect()
            }
        };
        let shares = self.alone.iter().zip(&self.without);
        let result = |((template, label), (alone, without)): ((String, Option<String>), (&Share, &Share))| {
            PromptResult { template, label, accuracy: alone.value(), without: without.value() }
        };
        names.into_iter().zip(shares).map(result).collect()
    }
}

/// The position of the largest value, the first of equals.
fn best(values: impl Iterator<Item = f32>) -> usize {
    let better = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    values.enumerate().fold((0, f32::NEG_INFINITY), better).0
}
