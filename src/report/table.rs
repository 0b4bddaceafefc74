//! Tables: one row an image, as CSV for programs or Markdown for people.
//!
//! The columns are the image, its prediction and probability, and a probability for each label; or
//! pairs of label and probability, best first, where only the best were asked for; then one for each
//! decoy.

use super::{Failure, Record, RecordShape, Spelling};
use crate::messages::Messages;
use crate::score::{Answer, Verdict};
use anyhow::Result;
use std::io::Write;

/// What stands between the labels that an image has.
const SEPARATOR: &str = "|";

/// What a cell of a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Words,
    Number,
}

/// The columns of scores, with what they hold.
fn score_columns(shape: &RecordShape) -> Vec<(String, Cell)> {
    let mut columns: Vec<_> = match shape.top {
        None => shape.labels.iter().map(|label| (label.clone(), Cell::Number)).collect(),
        Some(top) => {
            let pair = |i| [(format!("label_{i}"), Cell::Words), (format!("probability_{i}"), Cell::Number)];
            (1..=top.min(shape.labels.len())).flat_map(pair).collect()
        }
    };
    columns.extend(shape.decoys.iter().map(|decoy| (format!("decoy: {decoy}"), Cell::Number)));
    columns
}

/// The cells of scores, with probabilities spelled so.
fn score_cells(verdict: &Verdict, shape: &RecordShape, spell: impl Fn(f32) -> String) -> Vec<String> {
    let mut cells = Vec::new();
    for score in &verdict.scores {
        if shape.top.is_some() {
            cells.push(shape.name(score.label).to_owned());
        }
        cells.push(spell(score.probability));
    }
    cells.extend(verdict.decoys.iter().map(|decoy| spell(decoy.probability)));
    cells
}

fn joined(labels: &[usize], shape: &RecordShape) -> String {
    let names = labels.iter().map(|label| shape.name(*label));
    names.collect::<Vec<_>>().join(SEPARATOR)
}

pub(super) struct Csv<'a> {
    pub messages: &'a Messages,
}

impl Csv<'_> {
    /// What comes before the scores, after the image.
    fn columns(shape: &RecordShape) -> Vec<&'static str> {
        let mut columns = vec!["prediction", "probability"];
        columns.extend((shape.answer == Answer::Several).then_some("predictions"));
        columns.extend(shape.has_rules.then_some("rejected"));
        columns.extend(shape.told_scoring().is_some().then_some("scoring"));
        columns.extend(shape.has_sets.then_some("prediction_set"));
        columns
    }

    fn cells(verdict: &Verdict, shape: &RecordShape) -> Vec<String> {
        let prediction = verdict.prediction.map_or("", |label| shape.name(label));
        let mut cells = vec![prediction.to_owned(), verdict.probability.to_string()];
        if shape.answer == Answer::Several {
            cells.push(joined(verdict.predictions.as_deref().unwrap_or_default(), shape));
        }
        if shape.has_rules {
            cells.push(verdict.rejection.map_or("", |rejection| rejection.rule.name()).to_owned());
        }
        cells.extend(shape.told_scoring().map(str::to_owned));
        if shape.has_sets {
            cells.push(joined(verdict.set.as_deref().unwrap_or_default(), shape));
        }
        cells.extend(score_cells(verdict, shape, |probability| probability.to_string()));
        cells
    }
}

impl Spelling for Csv<'_> {
    fn begin(&mut self, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        let fixed = std::iter::once("image").chain(Self::columns(shape)).map(str::to_owned);
        write_csv(fixed.chain(score_columns(shape).into_iter().map(|(name, _)| name)), out)
    }

    fn write(&mut self, record: &Record, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        let image = record.image.as_os_str().as_encoded_bytes().to_vec();
        let cells = match &record.outcome {
            Ok(verdict) => Self::cells(verdict, shape),
            // There is no column for it, and the row must not look like a verdict.
            Err(failure) => {
                self.messages.failure(&record.image, failure);
                vec![String::new(); Self::columns(shape).len() + score_columns(shape).len()]
            }
        };
        write_csv(std::iter::once(image).chain(cells.into_iter().map(String::into_bytes)), out)
    }
}

fn write_csv(cells: impl IntoIterator<Item = impl AsRef<[u8]>>, out: &mut dyn Write) -> Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(cells)?;
    Ok(writer.flush()?)
}

pub(super) struct Markdown;

impl Markdown {
    /// What is said of an image, in the last column.
    fn conclusion(verdict: &Verdict, shape: &RecordShape) -> String {
        let mut conclusion = match (&verdict.predictions, verdict.prediction, &verdict.rejection) {
            (Some(labels), Some(_), _) => {
                labels.iter().map(|label| shape.name(*label)).collect::<Vec<_>>().join(", ")
            }
            (_, Some(label), _) => shape.name(label).to_owned(),
            (_, None, Some(rejection)) => format!("none ({})", rejection.rule.name()),
            (_, None, None) => "none".to_owned(),
        };
        if let Some(set) = &verdict.set {
            let names: Vec<_> = set.iter().map(|label| shape.name(*label)).collect();
            conclusion += &format!(" (set: {})", names.join(", "));
        }
        conclusion
    }
}

impl Spelling for Markdown {
    fn begin(&mut self, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        let columns = score_columns(shape);
        let names: Vec<_> = columns.iter().map(|(name, _)| name.clone()).collect();
        let last = if shape.answer == Answer::Several { "predictions" } else { "prediction" };
        let last = match shape.told_scoring() {
            Some(scoring) => format!("{last} ({scoring})"),
            None => last.to_owned(),
        };
        write_markdown("image", &names, &last, out)?;
        let rules = columns.iter().map(|(_, cell)| match cell {
            Cell::Words => "---",
            Cell::Number => "---:",
        });
        Ok(writeln!(out, "| --- | {} | --- |", rules.collect::<Vec<_>>().join(" | "))?)
    }

    fn write(&mut self, record: &Record, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        let (cells, conclusion) = match &record.outcome {
            Ok(verdict) => (
                score_cells(verdict, shape, |probability| format!("{probability:.4}")),
                Self::conclusion(verdict, shape),
            ),
            Err(Failure { message, .. }) => {
                (vec![String::new(); score_columns(shape).len()], format!("failed: {message}"))
            }
        };
        write_markdown(&record.image.to_string(), &cells, &conclusion, out)
    }
}

fn write_markdown(image: &str, cells: &[String], conclusion: &str, out: &mut dyn Write) -> Result<()> {
    let cells: Vec<_> = std::iter::once(image)
        .chain(cells.iter().map(String::as_str))
        .chain([conclusion])
        .map(|cell| cell.replace(['\n', '\r'], " ").replace('|', "\\|"))
        .collect();
    Ok(writeln!(out, "| {} |", cells.join(" | "))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::ImageName;
    use crate::score::{Classifier, Judgement, Scoring};

    /// The table of a picture that is the second label rather than the first, and of one that fails.
    fn spell(mut spelling: impl Spelling, shape: &RecordShape, judgement: &Judgement) -> String {
        let decoys = [0.0, 1.0].repeat(shape.decoys.len());
        let classifier = Classifier::new(vec![0.0, 1.0, 1.0, 0.0], 2, shape.scoring).with_decoys(decoys);
        let verdict = classifier.judge(&[1.0, 0.0], judgement).unwrap();
        let failure = Failure { kind: "decode", message: "cut off".to_owned() };
        let mut out = Vec::new();
        spelling.begin(shape, &mut out).unwrap();
        for (image, outcome) in [("a.jpg", Ok(verdict)), ("b.jpg", Err(failure))] {
            let record = Record::of(ImageName::new(image), outcome);
            spelling.write(&record, shape, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    /// So sharp that the second label has all of the probability.
    fn shape() -> RecordShape {
        let scoring = Scoring::Softmax { scale: 1000.0 };
        RecordShape { scoring, ..RecordShape::of_labels(&["a cat", "a dog, or | wolf"]) }
    }

    #[test]
    fn csv_has_a_column_for_each_label() {
        let messages = Messages::new(true);
        assert_eq!(
            spell(Csv { messages: &messages }, &shape(), &Judgement::default()),
            "image,prediction,probability,a cat,\"a dog, or | wolf\"\n\
             a.jpg,\"a dog, or | wolf\",1,0,1\n\
             b.jpg,,,,\n"
        );
    }

    #[test]
    fn csv_of_the_best_has_pairs_of_columns() {
        let messages = Messages::new(true);
        let shape = RecordShape { top: Some(9), ..shape() };
        let judgement = Judgement { top: Some(9), ..Default::default() };
        let csv = spell(Csv { messages: &messages }, &shape, &judgement);
        assert!(
            csv.starts_with(
                "image,prediction,probability,label_1,probability_1,label_2,probability_2\n\
             a.jpg,\"a dog, or | wolf\",1,\"a dog, or | wolf\",1,a cat,0\n"
            ),
            "{csv}"
        );
    }

    #[test]
    fn csv_has_columns_for_all_that_was_asked_for() {
        let messages = Messages::new(true);
        let shape = RecordShape {
            decoys: vec!["junk".to_owned()],
            scoring: Scoring::Sigmoid { scale: 0.0, bias: 0.0 },
            answer: Answer::Several,
            has_rules: true,
            has_sets: true,
            ..shape()
        };
        let several = Judgement { answer: Answer::Several, set_probability: Some(0.5), ..Default::default() };
        let columns = "image,prediction,probability,predictions,rejected,scoring,prediction_set,\
                       a cat,\"a dog, or | wolf\",decoy: junk\n";
        let both = "\"a cat|a dog, or | wolf\"";
        assert_eq!(
            spell(Csv { messages: &messages }, &shape, &several),
            format!("{columns}a.jpg,a cat,0.5,{both},,sigmoid,{both},0.5,0.5,0.5\nb.jpg,,,,,,,,,\n")
        );
        let none = Judgement { threshold: 0.6, ..several };
        assert_eq!(
            spell(Csv { messages: &messages }, &shape, &none),
            format!("{columns}a.jpg,,0.5,,threshold,sigmoid,{both},0.5,0.5,0.5\nb.jpg,,,,,,,,,\n")
        );
    }

    #[test]
    fn markdown_is_a_table_with_the_prediction_last() {
        assert_eq!(
            spell(Markdown, &shape(), &Judgement::default()),
            "| image | a cat | a dog, or \\| wolf | prediction |\n\
             | --- | ---: | ---: | --- |\n\
             | a.jpg | 0.0000 | 1.0000 | a dog, or \\| wolf |\n\
             | b.jpg |  |  | failed: cut off |\n"
        );
    }

    #[test]
    fn markdown_says_how_it_was_scored_and_what_rejected() {
        let scoring = Scoring::Sigmoid { scale: 0.0, bias: 0.0 };
        let shape = RecordShape { top: Some(1), scoring, ..shape() };
        let judgement = Judgement { top: Some(1), threshold: 0.6, ..Default::default() };
        assert!(spell(Markdown, &shape, &judgement).starts_with(
            "| image | label_1 | probability_1 | prediction (sigmoid) |\n\
             | --- | --- | ---: | --- |\n\
             | a.jpg | a cat | 0.5000 | none (threshold) |\n"
        ));
    }
}
