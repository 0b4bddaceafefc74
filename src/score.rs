//! Embeddings → cosines → logits → probabilities → a [`Verdict`].
//!
//! Plain slices: whatever computed the embeddings, or kept them, the same numbers come out.

mod judgement;

pub use judgement::{Answer, FittedThresholds, Judgement, Quantity, Rejection, Rule, Verdict, contrast};

use crate::kernels::{Weight, collect, matmul, softmax};
use judgement::Candidates;
use rayon::prelude::*;

/// How well one label fits an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Position of the label.
    pub label: usize,
    /// Cosine of the angle between the image's embedding and the label's.
    pub cosine: f32,
    /// What the probability is made of: the cosine, scaled, and shifted where the model was trained so.
    pub logit: f32,
    /// What the model's [`Scoring`] makes of the logits, 0 to 1.
    pub probability: f32,
}

/// How cosines become logits and these probabilities, with what was trained for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scoring {
    /// The logit is the cosine times `scale`; labels and decoys share a probability of 1.
    Softmax { scale: f32 },
    /// The logit is the cosine times `scale` plus `bias`; each label has a probability of its own, its
    /// sigmoid.
    Sigmoid { scale: f32, bias: f32 },
}

impl Scoring {
    /// The name that it goes by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax { .. } => "softmax",
            Self::Sigmoid { .. } => "sigmoid",
        }
    }

    /// The scoring whose logits are these, divided by a temperature.
    fn at_temperature(self, temperature: f32) -> Self {
        match self {
            Self::Softmax { scale } => Self::Softmax { scale: scale / temperature },
            Self::Sigmoid { scale, bias } => {
                Self::Sigmoid { scale: scale / temperature, bias: bias / temperature }
            }
        }
    }

    /// What the probability of a label of this cosine is made of.
    pub fn logit(self, cosine: f32) -> f32 {
        match self {
            Self::Softmax { scale } => scale * cosine,
            Self::Sigmoid { scale, bias } => scale * cosine + bias,
        }
    }

    fn probabilities(self, logits: &[f32]) -> Vec<f32> {
        let mut probabilities = logits.to_vec();
        match self {
            Self::Softmax { .. } => softmax(&mut probabilities),
            Self::Sigmoid { .. } => probabilities.iter_mut().for_each(|logit| *logit = sigmoid(*logit)),
        }
        probabilities
    }
}

/// In f64, so that the most improbable labels of an f32 keep their digits.
fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + f64::from(-logit).exp())) as f32
}

/// The embeddings of the labels, and how a cosine is scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// Those of the labels, and after them those of the decoys.
    candidates: Vec<f32>,
    /// How many of them are labels.
    labels: usize,
    dim: usize,
    scoring: Scoring,
}

impl Classifier {
    /// *Shape* `labels [L, D]`, unit length; `dim` is `D`.
    pub fn new(labels: Vec<f32>, dim: usize, scoring: Scoring) -> Self {
        assert!(
            dim > 0 && !labels.is_empty() && labels.len().is_multiple_of(dim),
            "labels are rows of {dim}"
        );
        Self { labels: labels.len() / dim, candidates: labels, dim, scoring }
    }

    /// Adds labels that compete with the others and are never predicted.
    ///
    /// *Shape* `decoys [decoys, D]`, unit length.
    #[must_use]
    pub fn with_decoys(mut self, decoys: Vec<f32>) -> Self {
        assert!(decoys.len().is_multiple_of(self.dim), "decoys are rows of {}", self.dim);
        self.candidates.extend(decoys);
        self
    }

    /// Scores all labels for one image, and judges.
    ///
    /// Absent when the embedding is not made of numbers, as that of a damaged model may be.
    ///
    /// *Shape* `image [D]`, unit length.
    pub fn judge(&self, image: &[f32], judgement: &Judgement) -> Option<Verdict> {
        self.judge_all(&[image], judgement).pop().flatten()
    }

    /// The verdict on each of many images: the same digits as one by one, but faster.
    ///
    /// *Shape* `images [N]` of `[D]`, unit length.
    pub fn judge_all(&self, images: &[&[f32]], judgement: &Judgement) -> Vec<Option<Verdict>> {
        /// Cosines held at a time.
        const BLOCK: usize = 1 << 21;
        let candidates = self.candidates.len() / self.dim;
        let mut verdicts = Vec::with_capacity(images.len());
        for images in images.chunks((BLOCK / candidates).max(1)) {
            let cosines = cosines(images, &self.candidates, self.dim);
            let judged = cosines
                .par_chunks(candidates)
                .map(|cosines| verdict(cosines, self.labels, self.scoring, judgement));
            verdicts.par_extend(judged);
        }
        verdicts
    }
}

/// The verdict on an image whose cosines are known; absent when they are not made of numbers.
///
/// *Shape* `cosines [L + decoys]`, of which `labels` are labels.
pub fn verdict(cosines: &[f32], labels: usize, scoring: Scoring, judgement: &Judgement) -> Option<Verdict> {
    let scoring = judgement.temperature.map_or(scoring, |temperature| scoring.at_temperature(temperature));
    let logits: Vec<_> = cosines.iter().map(|cosine| scoring.logit(*cosine)).collect();
    let probabilities = scoring.probabilities(&logits);
    // All of them, whatever the first ones are: that is what vectors can do.
    if !probabilities.iter().fold(true, |finite, probability| finite & probability.is_finite()) {
        return None;
    }
    let (logits, probabilities) = (&logits[..], &probabilities[..]);
    Some(Candidates { labels, cosines, logits, probabilities }.verdict(judgement))
}

/// The cosines of images with labels, or with whatever else is embedded.
///
/// *Shape* `images [N]` of `[D]`, `rows [R, D]`, unit length → `[N, R]`; `dim` is `D`.
pub fn cosines(images: &[&[f32]], rows: &[f32], dim: usize) -> Vec<f32> {
    assert!(images.iter().all(|image| image.len() == dim), "embeddings of one width");
    let weight = Weight { values: rows, bias: None, inputs: dim };
    collect(images.len() * (rows.len() / dim), |y| matmul(&images.concat(), &[weight], None, y))
}

/// The positions of the `count` largest logits, largest first; of equals the first, as with numpy's argmax.
fn best_labels(logits: &[f32], count: usize) -> Vec<usize> {
    let better = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    // Compared at a time, with vectors: most logits are below those that are kept.
    const CHUNK: usize = 64;
    // A few more than are asked for, thinned out now and then.
    let room = 2 * count + 16;
    let mut best = Vec::with_capacity(room.min(logits.len()));
    let mut least = f32::NAN;
    for (n, chunk) in logits.chunks(CHUNK).enumerate() {
        // All of them, whatever the first ones are: that is what vectors can do.
        if chunk.iter().fold(true, |below, logit| below & (*logit <= least)) {
            continue;
        }
        for (label, logit) in (n * CHUNK..).zip(chunk) {
            if *logit <= least {
                continue;
            }
            best.push(label);
            if best.len() == room && count > 0 {
                best.select_nth_unstable_by(count - 1, better);
                best.truncate(count);
                least = logits[best[count - 1]];
            }
        }
    }
    best.sort_unstable_by(better);
    best.truncate(count);
    best
}

/// The embedding of a label with several prompts: their mean, scaled to unit length again. One
/// alone stays as it is.
///
/// *Shape* rows `[D]`, unit length → `[D]`, unit length.
pub fn ensemble(prompts: &[&[f32]]) -> Vec<f32> {
    let mut sum = prompts[0].to_vec();
    if prompts.len() > 1 {
        for row in &prompts[1..] {
            sum.iter_mut().zip(*row).for_each(|(sum, x)| *sum += x);
        }
        // The length of the mean and that of the sum differ by a factor that scaling takes away.
        let length = length(&sum);
        sum.iter_mut().for_each(|x| *x /= length);
    }
    sum
}

fn length(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn softmax(scale: f32) -> Scoring {
        Scoring::Softmax { scale }
    }

    fn judge(judgement: Judgement) -> Verdict {
        let labels = vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8];
        Classifier::new(labels, 2, softmax(10.0)).judge(&[0.8, 0.6], &judgement).unwrap()
    }

    #[test]
    fn probabilities_are_the_softmax_of_the_scaled_cosines() {
        let verdict = judge(Judgement::default());
        let logits = [8.0f64, 6.0, 9.6];
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        for (score, logit) in verdict.scores.iter().zip(logits) {
            // f32 keeps seven digits.
            assert!((f64::from(score.probability) - logit.exp() / sum).abs() < 1e-6);
            assert!((f64::from(score.logit) - logit).abs() < 1e-5);
        }
        assert_eq!(verdict.prediction, Some(2));
        assert_eq!(verdict.probability, verdict.scores[2].probability);
    }

    #[test]
    fn with_a_sigmoid_each_label_has_a_probability_of_its_own() {
        let scoring = Scoring::Sigmoid { scale: 10.0, bias: -8.0 };
        let classifier = Classifier::new(vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8], 2, scoring);
        let verdict =
            classifier.judge(&[0.8, 0.6], &Judgement { top: Some(2), ..Default::default() }).unwrap();
        let expected = [(2, 1.6f64), (0, 0.0)];
        for (score, (label, logit)) in verdict.scores.iter().zip(expected) {
            assert_eq!(score.label, label);
            // f32 keeps seven digits.
            assert!((f64::from(score.logit) - logit).abs() < 1e-5);
            assert!((f64::from(score.probability) - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6);
        }
        assert_eq!((verdict.prediction, verdict.probability), (Some(2), verdict.scores[0].probability));
    }

    #[test]
    fn a_sigmoid_of_large_logits_neither_overflows_nor_loses_the_improbable() {
        let scoring = Scoring::Sigmoid { scale: 1e4, bias: 0.0 };
        let judge = |cosine| {
            let classifier = Classifier::new(vec![cosine, 0.0], 2, scoring);
            classifier.judge(&[1.0, 0.0], &Judgement::default()).unwrap().probability
        };
        assert_eq!((judge(1.0), judge(-1.0), judge(0.0)), (1.0, 0.0, 0.5));
        assert!((judge(-0.008) / (-80.0f32).exp() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_temperature_divides_the_logits() {
        for scoring in [Scoring::Softmax { scale: 10.0 }, Scoring::Sigmoid { scale: 10.0, bias: -3.0 }] {
            let logit = |temperature| {
                let classifier = Classifier::new(vec![1.0, 0.0], 2, scoring);
                let judgement = Judgement { temperature, ..Default::default() };
                classifier.judge(&[0.8, 0.6], &judgement).unwrap().scores[0].logit
            };
            assert!((logit(None) / 2.0 - logit(Some(2.0))).abs() < 1e-6);
        }
    }

    #[test]
    fn the_best_come_first_when_only_some_are_asked_for() {
        let labels = |top| -> Vec<_> {
            judge(Judgement { top, ..Default::default() }).scores.iter().map(|s| s.label).collect()
        };
        assert_eq!(labels(None), [0, 1, 2]);
        assert_eq!(labels(Some(2)), [2, 0]);
        assert_eq!(labels(Some(9)), [2, 0, 1]);
    }

    #[test]
    fn below_the_threshold_there_is_no_prediction() {
        let verdict = judge(Judgement { threshold: 0.9, ..Default::default() });
        assert_eq!(verdict.prediction, None);
        assert!(verdict.probability > 0.5);
    }

    #[test]
    fn of_equal_labels_the_first_is_predicted() {
        let classifier = Classifier::new(vec![0.0, 1.0, 1.0, 0.0, 1.0, 0.0], 2, softmax(100.0));
        assert_eq!(classifier.judge(&[1.0, 0.0], &Judgement::default()).unwrap().prediction, Some(1));
    }

    #[test]
    fn an_embedding_that_is_not_a_number_gives_no_verdict() {
        let classifier = Classifier::new(vec![0.0, 1.0], 2, softmax(100.0));
        assert_eq!(classifier.judge(&[f32::NAN, 0.0], &Judgement::default()), None);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let classifier = Classifier::new(vec![1.0, 0.0, -1.0, 0.0], 2, softmax(1e4));
        let verdict = classifier.judge(&[1.0, 0.0], &Judgement::default()).unwrap();
        assert_eq!((verdict.scores[0].probability, verdict.scores[1].probability), (1.0, 0.0));
    }

    #[test]
    fn an_ensemble_is_the_normalised_mean() {
        let mean = ensemble(&[&[1.0, 0.0], &[0.0, 1.0]]);
        assert!(mean.iter().all(|x| (x - 0.5f32.sqrt()).abs() < 1e-7), "{mean:?}");
        assert_eq!(ensemble(&[&[0.6, 0.8]]), [0.6, 0.8]);
    }

    /// Labels and images of unit length.
    fn random_rows(rows: usize, dim: usize, seed: u32) -> Vec<f32> {
        let mut values = crate::world::random::random(rows * dim, seed);
        for row in values.chunks_exact_mut(dim) {
            let length = length(row);
            row.iter_mut().for_each(|x| *x /= length);
        }
        values
    }

    #[test]
    fn every_element_of_an_odd_width_counts() {
        let image: Vec<f32> = (1..=37).map(|i| i as f32).collect();
        let verdict = Classifier::new(vec![1.0; 37], 37, Scoring::Softmax { scale: 1.0 })
            .judge(&image, &Judgement::default())
            .unwrap();
        assert_eq!(verdict.scores[0].cosine, (37 * 38 / 2) as f32);
    }

    #[test]
    fn images_judged_together_have_the_same_digits_as_one_by_one() {
        for (labels, dim, images) in [(1, 5, 3), (3, 64, 40), (1000, 48, 9), (30_000, 4, 150)] {
            let classifier =
                Classifier::new(random_rows(labels, dim, 1), dim, Scoring::Softmax { scale: 100.0 });
            let rows = random_rows(images, dim, 2);
            let rows: Vec<_> = rows.chunks_exact(dim).collect();
            let judgement = Judgement { top: Some(5), threshold: 0.1, ..Default::default() };
            let together = classifier.judge_all(&rows, &judgement);
            let alone: Vec<_> = rows.iter().map(|row| classifier.judge(row, &judgement)).collect();
            assert!(together == alone, "{labels} labels");
        }
    }

    #[test]
    fn embedding_that_is_not_a_number_spares_those_beside_it() {
        let classifier = Classifier::new(vec![0.0, 1.0], 2, Scoring::Softmax { scale: 100.0 });
        let verdicts =
            classifier.judge_all(&[&[1.0, 0.0], &[f32::NAN, 0.0], &[0.0, 1.0]], &Judgement::default());
        let found: Vec<_> = verdicts.iter().map(Option::is_some).collect();
        assert_eq!(found, [true, false, true]);
    }

    #[test]
    fn selection_is_what_sorting_gives() {
        // Few values, so that many are equal.
        let logits: Vec<_> =
            crate::world::random::random(3000, 7).iter().map(|x| (x * 20.0).round()).collect();
        let mut sorted: Vec<_> = (0..logits.len()).collect();
        sorted.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        for count in [0, 1, 2, 17, 500, 2999, 3000, 4000] {
            assert_eq!(best_labels(&logits, count), sorted[..count.min(3000)], "{count}");
        }
    }
}
