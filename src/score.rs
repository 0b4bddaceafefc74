//! Embeddings → cosines → logits → probabilities → a [`Verdict`].
//!
//! Plain slices: whatever computed the embeddings, or kept them, the same numbers come out.

/// How well one label fits an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Position of the label.
    pub label: usize,
    /// Cosine of the angle between the image's embedding and the label's.
    pub cosine: f32,
    /// What the probability is made of: the cosine, scaled.
    pub logit: f32,
    /// Softmax of the logits over all labels, 0 to 1.
    pub probability: f32,
}

/// What an image is, as far as the labels go.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Position of the most probable label, absent when it stays below the threshold.
    pub prediction: Option<usize>,
    /// Probability of the most probable label.
    pub probability: f32,
    /// All labels in order, or the best first where only some were asked for.
    pub scores: Vec<Score>,
}

/// What is asked of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Judgement {
    /// The most scores to give, best first; all in the order of the labels when absent.
    pub top: Option<usize>,
    /// Least probability of a prediction, 0 to 1.
    pub threshold: f32,
}

/// How cosines become logits and these probabilities, with what was trained for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scoring {
    /// The logit is the cosine times `scale`; the labels share a probability of 1.
    Softmax { scale: f32 },
}

/// The embeddings of the labels, and how a cosine is scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    labels: Vec<f32>,
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
        Self { labels, dim, scoring }
    }

    /// Scores all labels for one image, and judges.
    ///
    /// Absent when the embedding is not made of numbers, as that of a damaged model may be.
    ///
    /// *Shape* `image [D]`, unit length.
    pub fn judge(&self, image: &[f32], judgement: Judgement) -> Option<Verdict> {
        let mut scores = self.scores(image);
        if scores.iter().any(|score| !score.probability.is_finite()) {
            return None;
        }
        // Of equals the first wins, as with numpy's argmax.
        let better = |a: &Score, b: &Score| b.logit.total_cmp(&a.logit).then(a.label.cmp(&b.label));
        let best = *scores.iter().min_by(|a, b| better(a, b))?;
        if let Some(top) = judgement.top {
            scores.sort_unstable_by(better);
            scores.truncate(top);
        }
        let prediction = (best.probability >= judgement.threshold).then_some(best.label);
        Some(Verdict { prediction, probability: best.probability, scores })
    }

    fn scores(&self, image: &[f32]) -> Vec<Score> {
        let Scoring::Softmax { scale } = self.scoring;
        let rows = self.labels.chunks_exact(self.dim).enumerate();
        let score = |(label, row)| {
            let cosine = dot(image, row);
            Score { label, cosine, logit: scale * cosine, probability: 0.0 }
        };
        let mut scores: Vec<_> = rows.map(score).collect();
        let largest = scores.iter().map(|score| score.logit).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for score in &mut scores {
            score.probability = (score.logit - largest).exp();
            sum += score.probability;
        }
        scores.iter_mut().for_each(|score| score.probability /= sum);
        scores
    }
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
        let length = dot(&sum, &sum).sqrt();
        sum.iter_mut().for_each(|x| *x /= length);
    }
    sum
}

/// Partial sums kept side by side, which a compiler makes vectors of.
const LANES: usize = 16;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "embeddings of one model have one width");
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn softmax(scale: f32) -> Scoring {
        Scoring::Softmax { scale }
    }

    fn judge(judgement: Judgement) -> Verdict {
        let labels = vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8];
        Classifier::new(labels, 2, softmax(10.0)).judge(&[0.8, 0.6], judgement).unwrap()
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
        assert_eq!(classifier.judge(&[1.0, 0.0], Judgement::default()).unwrap().prediction, Some(1));
    }

    #[test]
    fn an_embedding_that_is_not_a_number_gives_no_verdict() {
        let classifier = Classifier::new(vec![0.0, 1.0], 2, softmax(100.0));
        assert_eq!(classifier.judge(&[f32::NAN, 0.0], Judgement::default()), None);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let classifier = Classifier::new(vec![1.0, 0.0, -1.0, 0.0], 2, softmax(1e4));
        let verdict = classifier.judge(&[1.0, 0.0], Judgement::default()).unwrap();
        assert_eq!((verdict.scores[0].probability, verdict.scores[1].probability), (1.0, 0.0));
    }

    #[test]
    fn an_ensemble_is_the_normalised_mean() {
        let mean = ensemble(&[&[1.0, 0.0], &[0.0, 1.0]]);
        assert!(mean.iter().all(|x| (x - 0.5f32.sqrt()).abs() < 1e-7), "{mean:?}");
        assert_eq!(ensemble(&[&[0.6, 0.8]]), [0.6, 0.8]);
    }

    #[test]
    fn every_element_of_an_odd_width_counts() {
        let x: Vec<f32> = (1..=37).map(|i| i as f32).collect();
        assert_eq!(dot(&x, &[1.0; 37]), (37 * 38 / 2) as f32);
    }
}
