//! JSON Lines: one object an image.

use super::{Failure, Record, RecordShape, Spelling};
use crate::input::ImageName;
use crate::score::Score;
use anyhow::Result;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::io::Write;

pub(super) struct Json;

impl Spelling for Json {
    fn write(&mut self, record: &Record, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer(&mut *out, &JsonLine { record, shape })?;
        Ok(out.write_all(b"\n")?)
    }
}

struct JsonLine<'a> {
    record: &'a Record,
    shape: &'a RecordShape,
}

impl Serialize for JsonLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        serialize_name(&self.record.image, &mut line)?;
        match &self.record.outcome {
            Ok(verdict) => {
                let names = |labels: &[usize]| -> Vec<_> {
                    labels.iter().map(|label| self.shape.name(*label)).collect()
                };
                if let Some(predictions) = &verdict.predictions {
                    line.serialize_entry("predictions", &names(predictions))?;
                }
                line.serialize_entry("prediction", &verdict.prediction.map(|label| self.shape.name(label)))?;
                if let Some(rejection) = &verdict.rejection {
                    line.serialize_entry("rejected", rejection.rule.name())?;
                }
                line.serialize_entry("probability", &verdict.probability)?;
                if let Some(scoring) = self.shape.told_scoring() {
                    line.serialize_entry("scoring", scoring)?;
                }
                if let Some(set) = &verdict.set {
                    line.serialize_entry("prediction_set", &names(set))?;
                }
                let spell = |score: &Score| LabelScore {
                    label: self.shape.name(score.label),
                    decoy: (score.label >= self.shape.labels.len()).then_some(true),
                    probability: score.probability,
                    cosine: score.cosine,
                    logit: score.logit,
                };
                let scores = verdict.scores.iter().chain(&verdict.decoys).map(spell);
                line.serialize_entry("scores", &scores.collect::<Vec<_>>())?;
            }
            Err(Failure { kind, message }) => line.serialize_entry("error", &ErrorField { kind, message })?,
        }
        line.end()
    }
}

/// `image`, and `image_bytes` in hexadecimal where the name is not Unicode and `image` only looks
/// like it.
fn serialize_name<M: SerializeMap>(name: &ImageName, line: &mut M) -> Result<(), M::Error> {
    let name = name.as_os_str();
    line.serialize_entry("image", &name.to_string_lossy())?;
    match name.to_str() {
        Some(_) => Ok(()),
        None => line.serialize_entry("image_bytes", &hexadecimal(name.as_encoded_bytes())),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Serialize)]
struct LabelScore<'a> {
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoy: Option<bool>,
    probability: f32,
    cosine: f32,
    logit: f32,
}

#[derive(Serialize)]
struct ErrorField<'a> {
    kind: &'a str,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{Answer, Classifier, Judgement, Scoring, Verdict};

    fn line_of(shape: &RecordShape, image: &str, outcome: Result<Verdict, Failure>) -> String {
        let record = Record::of(ImageName::new(image), outcome);
        let mut out = Vec::new();
        Json.write(&record, shape, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn line(image: &str, outcome: Result<Verdict, Failure>) -> String {
        line_of(&RecordShape::of_labels(&["a \"cat\""]), image, outcome)
    }

    /// The verdict on a picture whose cosine with the only label is 1, and with the only decoy 0.
    fn verdict(scoring: Scoring, judgement: &Judgement) -> Verdict {
        let classifier = Classifier::new(vec![1.0, 0.0], 2, scoring).with_decoys(vec![0.0, 1.0]);
        classifier.judge(&[1.0, 0.0], judgement).unwrap()
    }

    #[test]
    fn a_verdict_is_one_line_with_numbers_as_f32() {
        let score = Score { label: 0, cosine: 0.1, logit: 10.0, probability: 0.9973 };
        let judged = verdict(Scoring::Softmax { scale: 1.0 }, &Judgement::default());
        let verdict = Verdict { probability: 0.9973, scores: vec![score], decoys: vec![], ..judged };
        let expected = r#"{"image":"a.jpg","prediction":"a \"cat\"","probability":0.9973,"#.to_owned()
            + r#""scores":[{"label":"a \"cat\"","probability":0.9973,"cosine":0.1,"logit":10.0}]}"#
            + "\n";
        assert_eq!(line("a.jpg", Ok(verdict)), expected);
    }

    #[test]
    fn no_prediction_is_null_and_the_rule_is_named() {
        let shape = RecordShape { decoys: vec!["junk".into()], ..RecordShape::of_labels(&["a"]) };
        let judgement = Judgement { threshold: 0.9, min_cosine: Some(2.0), ..Default::default() };
        let verdict = verdict(Scoring::Softmax { scale: 0.0 }, &judgement);
        let expected = concat!(
            r#"{"image":"a.jpg","prediction":null,"rejected":"threshold","probability":0.5,"scores":["#,
            r#"{"label":"a","probability":0.5,"cosine":1.0,"logit":0.0},"#,
            r#"{"label":"junk","decoy":true,"probability":0.5,"cosine":0.0,"logit":0.0}]}"#,
            "\n"
        );
        assert_eq!(line_of(&shape, "a.jpg", Ok(verdict)), expected);
    }

    #[test]
    fn several_labels_a_set_and_a_sigmoid_have_keys_of_their_own() {
        let scoring = Scoring::Sigmoid { scale: 0.0, bias: 0.0 };
        let shape = RecordShape {
            decoys: vec!["junk".into()],
            scoring,
            answer: Answer::Several,
            ..RecordShape::of_labels(&["a"])
        };
        let judgement =
            Judgement { answer: Answer::Several, set_probability: Some(0.5), ..Default::default() };
        let line = line_of(&shape, "a.jpg", Ok(verdict(scoring, &judgement)));
        let expected = concat!(
            r#"{"image":"a.jpg","predictions":["a"],"prediction":"a","probability":0.5,"#,
            r#""scoring":"sigmoid","prediction_set":["a"],"scores":["#
        );
        assert!(line.starts_with(expected), "{line}");
    }

    #[test]
    fn a_failure_has_its_kind_and_message() {
        let failure = Failure { kind: "decode", message: "unexpected end of file".to_owned() };
        assert_eq!(
            line("a\nb.jpg", Err(failure)),
            "{\"image\":\"a\\nb.jpg\",\"error\":{\"kind\":\"decode\",\"message\":\"unexpected end of file\"}}\n"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_unicode_keeps_its_bytes() {
        use std::os::unix::ffi::OsStringExt;
        let image = ImageName::new(std::ffi::OsString::from_vec(b"caf\xe9.jpg".to_vec()));
        let failure = Failure { kind: "decode", message: String::new() };
        let mut out = Vec::new();
        let record = Record::of(image, Err(failure));
        Json.write(&record, &RecordShape::of_labels(&[]), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("\"image\":\"caf\u{fffd}.jpg\",\"image_bytes\":\"636166e92e6a7067\""), "{out}");
    }
}
