//! The rules that the user set, and those that a classifier file brings → a [`Judgement`].

use crate::labels::{ClassifierFile, ClassifierLabel, NoneRule};
use crate::score::{Answer, FittedThresholds, Judgement, Quantity, Scoring};
use anyhow::{Context, Result, ensure};

/// Where a label of a sigmoid passes unless the user says otherwise.
const SIGMOID_THRESHOLD: f32 = 0.5;

/// What the user asked of a verdict. What is absent, a classifier file may give.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rules {
    /// The most scores to give, best first; all when absent.
    pub top: Option<usize>,
    /// Least probability of a prediction.
    pub threshold: Option<f32>,
    /// Least cosine of a prediction.
    pub min_cosine: Option<f32>,
    /// Least probability of a prediction less that of the next.
    pub min_margin: Option<f32>,
    pub answer: Answer,
}

impl Rules {
    /// Whether the user set a threshold.
    pub(super) fn has_thresholds(self) -> bool {
        self.threshold.is_some() || self.min_cosine.is_some() || self.min_margin.is_some()
    }

    /// Whether it is said which of its labels an image has.
    pub(super) fn tells_several(self, scoring: Scoring, classifier: Option<&ClassifierFile>) -> bool {
        match scoring {
            Scoring::Sigmoid { .. } => true,
            Scoring::Softmax { .. } => {
                self.min_cosine.is_some() || classifier.is_some_and(|file| file.thresholds.is_some())
            }
        }
    }

    /// The options that the user set, for people.
    pub(super) fn told(self) -> Vec<String> {
        let least = [
            ("--threshold", self.threshold),
            ("--min-cosine", self.min_cosine),
            ("--min-margin", self.min_margin),
        ];
        let told = least.into_iter().filter_map(|(name, least)| Some(format!("{name} {}", least?)));
        told.chain((self.answer == Answer::Several).then(|| "--multi".to_owned())).collect()
    }

    /// The rules for a model that scores so; those that the user set go before those of a classifier file.
    ///
    /// *Errors* when several labels are asked for and no rule tells which, or the file makes no sense.
    pub(super) fn judgement(
        self,
        scoring: Scoring,
        labels: usize,
        classifier: Option<&ClassifierFile>,
    ) -> Result<Judgement> {
        let fitted = classifier.map(|file| fitted_thresholds(file, labels)).transpose()?.flatten();
        let none = classifier.and_then(|file| file.none).unwrap_or_default();
        let several = self.answer == Answer::Several;
        ensure!(
            !several || self.tells_several(scoring, classifier),
            "--multi needs --min-cosine with this model, or a --classifier with fitted thresholds: its \
             probabilities are shares of 1, and do not say which labels fit"
        );
        // The rule for none was fitted to the best label.
        let none = if several { NoneRule::default() } else { none };
        let default = match scoring {
            Scoring::Sigmoid { .. } if several && fitted.is_none() => SIGMOID_THRESHOLD,
            _ => 0.0,
        };
        Ok(Judgement {
            top: self.top,
            temperature: classifier.and_then(|file| file.temperature),
            threshold: self.threshold.or(none.threshold).unwrap_or(default),
            min_cosine: self.min_cosine.or(none.min_cosine),
            min_contrast: none.min_contrast,
            min_margin: self.min_margin.or(none.min_margin),
            fitted,
            set_probability: classifier
                .and_then(|file| file.prediction_sets)
                .map(|sets| sets.min_probability),
            answer: self.answer,
        })
    }
}

fn fitted_thresholds(file: &ClassifierFile, labels: usize) -> Result<Option<FittedThresholds>> {
    let Some(rule) = &file.thresholds else { return Ok(None) };
    let quantity = Quantity::ALL.into_iter().find(|quantity| quantity.name() == rule.of);
    let quantity = quantity.with_context(|| {
        format!("the classifier file has thresholds of {:?}, which is not known", rule.of)
    })?;
    let threshold = |label: &ClassifierLabel| label.threshold.context("a label has no threshold");
    let least: Vec<_> = file.labels.iter().map(threshold).collect::<Result<_>>()?;
    ensure!(least.len() == labels, "the classifier file has thresholds of other labels");
    Ok(Some(FittedThresholds { quantity, least: least.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOFTMAX: Scoring = Scoring::Softmax { scale: 100.0 };
    const SIGMOID: Scoring = Scoring::Sigmoid { scale: 100.0, bias: -10.0 };

    #[test]
    fn several_labels_of_a_softmax_need_a_rule_that_tells_which() {
        let several = Rules { answer: Answer::Several, ..Default::default() };
        let told = several.judgement(SOFTMAX, 2, None).unwrap_err().to_string();
        assert!(told.contains("--min-cosine") && told.contains("--classifier"), "{told}");
        let threshold = Rules { threshold: Some(0.5), ..several };
        assert!(threshold.judgement(SOFTMAX, 2, None).is_err());
        let cosine = Rules { min_cosine: Some(0.2), ..several };
        assert_eq!(cosine.judgement(SOFTMAX, 2, None).unwrap().min_cosine, Some(0.2));
        assert_eq!(several.judgement(SIGMOID, 2, None).unwrap().threshold, 0.5);
        assert_eq!(threshold.judgement(SIGMOID, 2, None).unwrap().threshold, 0.5);
        assert_eq!(Rules::default().judgement(SIGMOID, 2, None).unwrap().threshold, 0.0);
    }

    #[test]
    fn what_the_user_sets_goes_before_what_the_file_says() {
        let text = r#"{"clipclass_classifier": 1, "model": "m", "digest": "0", "precision": "f32",
            "labels": [{"label": "a", "prompts": ["a"], "threshold": 0.25},
                       {"label": "b", "prompts": ["b"], "threshold": 0.5}],
            "temperature": 2.0, "thresholds": {"of": "margin", "chosen_for": "f1"},
            "none": {"threshold": 0.3, "min_cosine": 0.2, "min_margin": null},
            "prediction_sets": {"coverage": 0.9, "min_probability": 0.1}, "fitted": {}}"#;
        let file = ClassifierFile::parse(text.as_bytes()).unwrap();
        let judgement = Rules::default().judgement(SOFTMAX, 2, Some(&file)).unwrap();
        assert_eq!((judgement.threshold, judgement.min_cosine, judgement.min_margin), (0.3, Some(0.2), None));
        assert_eq!((judgement.temperature, judgement.set_probability), (Some(2.0), Some(0.1)));
        let fitted = judgement.fitted.unwrap();
        assert_eq!((fitted.quantity, &fitted.least[..]), (Quantity::Margin, &[0.25, 0.5][..]));
        let rules = Rules { threshold: Some(0.0), ..Default::default() };
        let judgement = rules.judgement(SOFTMAX, 2, Some(&file)).unwrap();
        assert_eq!((judgement.threshold, judgement.min_cosine), (0.0, Some(0.2)));
    }
}
