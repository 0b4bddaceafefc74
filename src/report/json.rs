//! JSON Lines: one object an image.

use super::{Failure, Record, Spelling};
use crate::input::ImageName;
use crate::score::Score;
use anyhow::Result;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::io::Write;

pub(super) struct Json;

impl Spelling for Json {
    fn write(&mut self, record: &Record, labels: &[String], out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer(&mut *out, &JsonLine { record, labels })?;
        Ok(out.write_all(b"\n")?)
    }
}

struct JsonLine<'a> {
    record: &'a Record,
    labels: &'a [String],
}

impl Serialize for JsonLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        serialize_name(&self.record.image, &mut line)?;
        match &self.record.outcome {
            Ok(verdict) => {
                line.serialize_entry("prediction", &verdict.prediction.map(|label| &self.labels[label]))?;
                line.serialize_entry("probability", &verdict.probability)?;
                let scores = verdict.scores.iter().map(|&Score { label, cosine, logit, probability }| {
                    LabelScore { label: &self.labels[label], probability, cosine, logit }
                });
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
    use crate::score::Verdict;

    fn line(image: &str, outcome: Result<Verdict, Failure>) -> String {
        let record = Record { image: ImageName::new(image), outcome, picture: None };
        let mut out = Vec::new();
        Json.write(&record, &["a \"cat\"".to_owned()], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_verdict_is_one_line_with_numbers_as_f32() {
        let score = Score { label: 0, cosine: 0.1, logit: 10.0, probability: 0.9973 };
        let verdict = Verdict { prediction: Some(0), probability: 0.9973, scores: vec![score] };
        let expected = r#"{"image":"a.jpg","prediction":"a \"cat\"","probability":0.9973,"#.to_owned()
            + r#""scores":[{"label":"a \"cat\"","probability":0.9973,"cosine":0.1,"logit":10.0}]}"#
            + "\n";
        assert_eq!(line("a.jpg", Ok(verdict)), expected);
    }

    #[test]
    fn no_prediction_is_null() {
        let verdict = Verdict { prediction: None, probability: 0.5, scores: vec![] };
        assert!(line("a.jpg", Ok(verdict)).contains(r#""prediction":null,"probability":0.5"#));
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
        Json.write(&Record { image, outcome: Err(failure), picture: None }, &[], &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("\"image\":\"caf\u{fffd}.jpg\",\"image_bytes\":\"636166e92e6a7067\""), "{out}");
    }
}
