//! Scores and the rules that the user set → what the image is, or why it is none of the labels.

use super::{Score, best_labels};
use std::sync::Arc;

/// What is asked of a verdict.
///
/// The rules are looked at in this order, and the first that rejects the best label is named: a decoy that
/// is more probable, the threshold, the cosine, the contrast, the margin.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judgement {
    /// The most scores to give, best first; all in the order of the labels when absent.
    pub top: Option<usize>,
    /// What logits are divided by; 1 when absent.
    pub temperature: Option<f32>,
    /// Least probability of a prediction, 0 to 1.
    pub threshold: f32,
    /// Least cosine of a prediction.
    pub min_cosine: Option<f32>,
    /// Least [`contrast`] of the labels.
    pub min_contrast: Option<f32>,
    /// Least probability of a prediction less that of the next best label or decoy.
    pub min_margin: Option<f32>,
    /// Thresholds that were fitted, one a label.
    pub fitted: Option<FittedThresholds>,
    /// Least probability of a label in the prediction set; there is no set when absent.
    pub set_probability: Option<f32>,
    pub answer: Answer,
}

/// How many labels an image may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// The best one, or none.
    #[default]
    One,
    /// Every label that passes the rules.
    Several,
}

/// A threshold for each label.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedThresholds {
    /// What has to reach the threshold.
    pub quantity: Quantity,
    /// *Shape* `[L]`.
    pub least: Arc<[f32]>,
}

/// What a fitted threshold is a threshold of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    Probability,
    Cosine,
    /// The label's probability less that of the best other one, label or decoy: below 0 where another
    /// is better.
    Margin,
}

/// A rule that can reject the best label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A decoy is better.
    Decoy,
    /// Its probability, or what its fitted threshold is of, is too low.
    Threshold,
    /// Its cosine is too low.
    Cosine,
    /// Its cosine is too low, compared with those of the other labels.
    Contrast,
    /// It is not far enough above the next.
    Margin,
}

/// Why an image is none of the labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rejection {
    pub rule: Rule,
    /// The best candidate, a decoy where that is the reason.
    pub best: Score,
    /// What was too low, and the least that it had to be; of a decoy, both probabilities.
    pub value: f32,
    pub least: f32,
}

/// What an image is, as far as the labels go.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Position of the best label, absent when a rule rejected it.
    pub prediction: Option<usize>,
    /// Every label that passed, best first, where several are asked for.
    pub predictions: Option<Vec<usize>>,
    /// Which rule rejected the best label, where one did.
    pub rejection: Option<Rejection>,
    /// Probability of the best candidate, label or decoy.
    pub probability: f32,
    /// That, less the probability of the next best.
    pub margin: f32,
    /// Positions of the labels of the prediction set, best first, where it is asked for.
    pub set: Option<Vec<usize>>,
    /// All labels in order, or the best first where only some were asked for.
    pub scores: Vec<Score>,
    /// All decoys in order; their positions follow those of the labels.
    pub decoys: Vec<Score>,
}

impl Verdict {
    /// Positions of the labels that the image has, best first: the prediction, or every label that passed.
    pub fn given(&self) -> &[usize] {
        self.predictions.as_deref().unwrap_or(self.prediction.as_slice())
    }
}

impl Rule {
    /// The word for it in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decoy => "decoy",
            Self::Threshold => "threshold",
            Self::Cosine | Self::Contrast => "cosine",
            Self::Margin => "margin",
        }
    }
}

impl Quantity {
    /// Every quantity.
    pub const ALL: [Self; 3] = [Self::Probability, Self::Cosine, Self::Margin];

    /// The name that it goes by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Cosine => "cosine",
            Self::Margin => "margin",
        }
    }
}

/// The scores of an image, labels first and decoys after them.
pub(super) struct Candidates<'a> {
    pub labels: usize,
    pub cosines: &'a [f32],
    pub logits: &'a [f32],
    pub probabilities: &'a [f32],
}

impl Candidates<'_> {
    fn score(&self, label: usize) -> Score {
        Score {
            label,
            cosine: self.cosines[label],
            logit: self.logits[label],
            probability: self.probabilities[label],
        }
    }

    pub(super) fn verdict(&self, judgement: &Judgement) -> Verdict {
        let logits = &self.logits[..self.labels];
        // The two best of all tell the margin of any.
        let leaders = best_labels(self.logits, 2);
        let best = if leaders[0] < self.labels { leaders[0] } else { best_labels(logits, 1)[0] };
        let mut rejection = self.rejection(best, &leaders, judgement);
        let predictions = match judgement.answer {
            Answer::One => None,
            Answer::Several if matches!(rejection, Some(Rejection { rule: Rule::Decoy, .. })) => {
                Some(Vec::new())
            }
            Answer::Several => {
                let ordered = best_labels(logits, logits.len()).into_iter();
                Some(ordered.filter(|&label| self.passes(label, &leaders, judgement)).collect::<Vec<_>>())
            }
        };
        let prediction = match &predictions {
            None => rejection.is_none().then_some(best),
            Some(predictions) => predictions.first().copied(),
        };
        if prediction.is_some() {
            rejection = None;
        }
        let scores = match judgement.top {
            Some(top) => best_labels(logits, top).into_iter().map(|label| self.score(label)).collect(),
            None => (0..self.labels).map(|label| self.score(label)).collect(),
        };
        let set = judgement.set_probability.map(|least| {
            let ordered = best_labels(logits, logits.len()).into_iter();
            ordered.filter(|&label| self.probabilities[label] >= least).collect()
        });
        Verdict {
            prediction,
            predictions,
            rejection,
            probability: self.probabilities[leaders[0]],
            margin: self.margin(leaders[0], &leaders),
            set,
            scores,
            decoys: (self.labels..self.logits.len()).map(|decoy| self.score(decoy)).collect(),
        }
    }

    /// Which rule rejects the best label first.
    fn rejection(&self, best: usize, leaders: &[usize], judgement: &Judgement) -> Option<Rejection> {
        let probability = self.probabilities[best];
        let leader = leaders[0];
        let rejected = |rule, value, least| Some(Rejection { rule, best: self.score(best), value, least });
        if leader >= self.labels {
            let least = self.probabilities[leader];
            return Some(Rejection {
                rule: Rule::Decoy,
                best: self.score(leader),
                value: probability,
                least,
            });
        }
        if let Some((value, least)) = self.below_threshold(best, leaders, judgement) {
            return rejected(Rule::Threshold, value, least);
        }
        if let Some(least) = judgement.min_cosine.filter(|least| self.cosines[best] < *least) {
            return rejected(Rule::Cosine, self.cosines[best], least);
        }
        if let Some(least) = judgement.min_contrast {
            let contrast = contrast(&self.cosines[..self.labels]);
            if contrast < least {
                return rejected(Rule::Contrast, contrast, least);
            }
        }
        let margin = self.margin(best, leaders);
        judgement
            .min_margin
            .filter(|least| margin < *least)
            .and_then(|least| rejected(Rule::Margin, margin, least))
    }

    /// Whether a label is one of several that the image has.
    fn passes(&self, label: usize, leaders: &[usize], judgement: &Judgement) -> bool {
        self.below_threshold(label, leaders, judgement).is_none()
            && judgement.min_cosine.is_none_or(|least| self.cosines[label] >= least)
    }

    /// What of a label is below its threshold, and the threshold.
    fn below_threshold(&self, label: usize, leaders: &[usize], judgement: &Judgement) -> Option<(f32, f32)> {
        let probability = self.probabilities[label];
        if probability < judgement.threshold {
            return Some((probability, judgement.threshold));
        }
        let FittedThresholds { quantity, least } = judgement.fitted.as_ref()?;
        let value = match quantity {
            Quantity::Probability => probability,
            Quantity::Cosine => self.cosines[label],
            Quantity::Margin => self.margin(label, leaders),
        };
        (value < least[label]).then_some((value, least[label]))
    }

    /// A label's probability less that of the best other candidate; of one that is alone, all of it.
    fn margin(&self, label: usize, leaders: &[usize]) -> f32 {
        let other = leaders.iter().find(|&&leader| leader != label);
        self.probabilities[label] - other.map_or(0.0, |&other| self.probabilities[other])
    }
}

/// The largest cosine less the mean of all but the two largest: how the best label stands out from the labels,
/// whether or not one of them resembles it. Pictures that are none of the labels are told better by that
/// than by probabilities, which compare the best with the next. Of two labels it is their difference, of
/// one it is 0.
///
/// *Shape* `cosines [L]`, without decoys.
pub fn contrast(cosines: &[f32]) -> f32 {
    let (mut first, mut second, mut sum) = (f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0);
    for &cosine in cosines {
        sum += cosine;
        (first, second) = if cosine > first { (cosine, first) } else { (first, second.max(cosine)) };
    }
    match cosines.len() {
        0 | 1 => 0.0,
        2 => first - second,
        labels => first - (sum - first - second) / (labels - 2) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{Classifier, Scoring};

    /// The verdict on an image whose cosines with the labels, and after them with the decoys, are given.
    fn judge(scoring: Scoring, labels: &[f32], decoys: &[f32], judgement: Judgement) -> Verdict {
        let row = |cosine: &f32| [*cosine, (1.0 - cosine * cosine).sqrt()];
        let classifier = Classifier::new(labels.iter().flat_map(row).collect(), 2, scoring)
            .with_decoys(decoys.iter().flat_map(row).collect());
        classifier.judge(&[1.0, 0.0], &judgement).unwrap()
    }

    const SOFTMAX: Scoring = Scoring::Softmax { scale: 10.0 };
    const SIGMOID: Scoring = Scoring::Sigmoid { scale: 10.0, bias: -5.0 };

    fn rejected_by(labels: &[f32], decoys: &[f32], judgement: Judgement) -> Option<&'static str> {
        let verdict = judge(SOFTMAX, labels, decoys, judgement);
        assert_eq!(verdict.prediction.is_none(), verdict.rejection.is_some());
        verdict.rejection.map(|rejection| rejection.rule.name())
    }

    #[test]
    fn each_rule_rejects_what_is_too_low_and_is_named() {
        let labels = [0.5, 0.3];
        assert_eq!(rejected_by(&labels, &[], Judgement::default()), None);
        let threshold = |threshold| Judgement { threshold, ..Default::default() };
        // The best of the two has 1 / (1 + exp(-2)) = 0.88, and a margin of 0.76.
        assert_eq!(rejected_by(&labels, &[], threshold(0.88)), None);
        assert_eq!(rejected_by(&labels, &[], threshold(0.89)), Some("threshold"));
        let cosine = |least| Judgement { min_cosine: Some(least), ..Default::default() };
        assert_eq!(rejected_by(&labels, &[], cosine(0.49)), None);
        assert_eq!(rejected_by(&labels, &[], cosine(0.51)), Some("cosine"));
        let margin = |least| Judgement { min_margin: Some(least), ..Default::default() };
        assert_eq!(rejected_by(&labels, &[], margin(0.76)), None);
        assert_eq!(rejected_by(&labels, &[], margin(0.77)), Some("margin"));
        assert_eq!(rejected_by(&labels, &[0.6], Judgement::default()), Some("decoy"));
        assert_eq!(rejected_by(&labels, &[0.4], Judgement::default()), None);
    }

    #[test]
    fn a_label_that_does_not_stand_out_from_the_others_is_rejected_for_its_cosine() {
        let least = |least| Judgement { min_contrast: Some(least), ..Default::default() };
        // Those after the two best have a mean of 0.2; the decoy does not count.
        let labels = [0.1, 0.5, 0.45, 0.3];
        assert_eq!(rejected_by(&labels, &[0.4], least(0.299)), None);
        assert_eq!(rejected_by(&labels, &[0.4], least(0.301)), Some("cosine"));
        let Rejection { rule, value, .. } = judge(SOFTMAX, &labels, &[], least(0.4)).rejection.unwrap();
        assert!(rule == Rule::Contrast && (value - 0.3).abs() < 1e-6);
        assert_eq!((contrast(&[0.5]), contrast(&[0.25, 0.5])), (0.0, 0.25));
        assert_eq!([contrast(&[0.5, 0.5, 0.25]), contrast(&[0.25, 0.5, 0.5])], [0.25; 2]);
    }

    #[test]
    fn of_several_rules_the_first_in_order_is_named() {
        let mut all = Judgement {
            threshold: 0.99,
            min_cosine: Some(0.9),
            min_margin: Some(0.99),
            ..Default::default()
        };
        assert_eq!(rejected_by(&[0.5, 0.3], &[0.6], all.clone()), Some("decoy"));
        assert_eq!(rejected_by(&[0.5, 0.3], &[], all.clone()), Some("threshold"));
        all.threshold = 0.0;
        assert_eq!(rejected_by(&[0.5, 0.3], &[], all.clone()), Some("cosine"));
        all.min_cosine = None;
        assert_eq!(rejected_by(&[0.5, 0.3], &[], all), Some("margin"));
    }

    #[test]
    fn decoys_share_the_probability_and_come_apart() {
        let with = judge(SOFTMAX, &[0.5, 0.3], &[0.6], Judgement { top: Some(1), ..Default::default() });
        let probability = |logit: f64| logit.exp() / (5.0f64.exp() + 3.0f64.exp() + 6.0f64.exp());
        assert_eq!((with.scores.len(), with.decoys.len(), with.decoys[0].label), (1, 1, 2));
        assert!((f64::from(with.scores[0].probability) - probability(5.0)).abs() < 1e-6);
        assert!((f64::from(with.probability) - probability(6.0)).abs() < 1e-6);
        let rejection = with.rejection.unwrap();
        assert_eq!((rejection.best.label, rejection.value), (2, with.scores[0].probability));
    }

    #[test]
    fn a_decoy_counts_for_the_margin() {
        let margin = Judgement { min_margin: Some(0.5), ..Default::default() };
        assert_eq!(rejected_by(&[0.5, 0.1], &[], margin.clone()), None);
        assert_eq!(rejected_by(&[0.5, 0.1], &[0.45], margin), Some("margin"));
    }

    #[test]
    fn every_label_that_passes_is_given_best_first() {
        let several = |threshold, min_cosine| Judgement {
            threshold,
            min_cosine,
            answer: Answer::Several,
            ..Default::default()
        };
        let labels = [0.55, 0.2, 0.7];
        let given = |verdict: Verdict| (verdict.predictions.unwrap(), verdict.prediction);
        assert_eq!(given(judge(SIGMOID, &labels, &[], several(0.5, None))), (vec![2, 0], Some(2)));
        assert_eq!(given(judge(SIGMOID, &labels, &[], several(0.5, Some(0.6)))), (vec![2], Some(2)));
        assert_eq!(given(judge(SOFTMAX, &labels, &[], several(0.0, Some(0.3)))), (vec![2, 0], Some(2)));
        let none = judge(SIGMOID, &labels, &[], several(0.9, None));
        assert_eq!(none.rejection.unwrap().rule, Rule::Threshold);
        assert_eq!(given(none), (vec![], None));
        let decoy = judge(SIGMOID, &labels, &[0.8], several(0.5, None));
        assert_eq!(decoy.rejection.unwrap().rule, Rule::Decoy);
        assert_eq!(given(decoy), (vec![], None));
    }

    #[test]
    fn a_fitted_threshold_is_of_its_own_label() {
        let fitted = |quantity, least: &[f32], answer| Judgement {
            fitted: Some(FittedThresholds { quantity, least: least.into() }),
            answer,
            ..Default::default()
        };
        let labels = [0.5, 0.3, 0.45];
        let several = |quantity, least: &[f32]| {
            judge(SOFTMAX, &labels, &[], fitted(quantity, least, Answer::Several)).predictions.unwrap()
        };
        assert_eq!(several(Quantity::Cosine, &[0.6, 0.2, 0.4]), [2, 1]);
        // Of the three probabilities, 0.57, 0.08 and 0.35.
        assert_eq!(several(Quantity::Probability, &[0.5, 0.05, 0.4]), [0, 1]);
        assert_eq!(several(Quantity::Margin, &[0.3, -0.55, -0.3]), [2, 1]);
        let one = judge(SOFTMAX, &labels, &[], fitted(Quantity::Margin, &[0.3, 0.0, 0.0], Answer::One));
        assert_eq!(one.rejection.unwrap().rule, Rule::Threshold);
        let one = judge(SOFTMAX, &labels, &[], fitted(Quantity::Margin, &[0.2, 0.9, 0.9], Answer::One));
        assert_eq!(one.prediction, Some(0));
    }

    #[test]
    fn the_prediction_set_has_every_label_that_is_probable_enough() {
        let sets = |least| {
            let judgement = Judgement { set_probability: Some(least), threshold: 0.9, ..Default::default() };
            judge(SOFTMAX, &[0.5, 0.3, 0.45], &[], judgement).set.unwrap()
        };
        assert_eq!(sets(0.3), [0, 2]);
        assert_eq!(sets(0.01), [0, 2, 1]);
        assert!(sets(0.9).is_empty());
    }
}
