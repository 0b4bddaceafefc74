//! Tables: one row an image, as CSV for programs or Markdown for people.
//!
//! The columns are the image, its prediction and probability, and a probability for each label; or
//! pairs of label and probability, best first, where only the best were asked for.

use super::{Failure, Record, Spelling};
use crate::messages::Messages;
use anyhow::Result;
use std::io::Write;

/// What a table has a column for, beside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    /// Every label, in order.
    Labels,
    /// So many of the best.
    Best(usize),
}

impl Columns {
    pub(super) fn new(top: Option<usize>, labels: usize) -> Self {
        top.map_or(Self::Labels, |top| Self::Best(top.min(labels)))
    }

    fn names(self, labels: &[String]) -> Vec<String> {
        match self {
            Self::Labels => labels.to_vec(),
            Self::Best(count) => {
                (1..=count).flat_map(|i| [format!("label_{i}"), format!("probability_{i}")]).collect()
            }
        }
    }
}

pub(super) struct Csv<'a> {
    pub columns: Columns,
    pub messages: &'a Messages,
}

impl Spelling for Csv<'_> {
    fn begin(&mut self, labels: &[String], out: &mut dyn Write) -> Result<()> {
        let fixed = ["image", "prediction", "probability"].map(str::to_owned);
        write_csv(fixed.into_iter().chain(self.columns.names(labels)), out)
    }

    fn write(&mut self, record: &Record, labels: &[String], out: &mut dyn Write) -> Result<()> {
        let image = record.image.as_os_str().as_encoded_bytes().to_vec();
        let cells = match &record.outcome {
            Ok(verdict) => {
                let prediction = verdict.prediction.map_or("", |label| &labels[label]);
                let mut cells = vec![prediction.to_owned(), verdict.probability.to_string()];
                for score in &verdict.scores {
                    if self.columns != Columns::Labels {
                        cells.push(labels[score.label].clone());
                    }
                    cells.push(score.probability.to_string());
                }
                cells
            }
            // There is no column for it, and the row must not look like a verdict.
            Err(failure) => {
                self.messages.failure(&record.image, failure);
                vec![String::new(); 2 + self.columns.names(labels).len()]
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

pub(super) struct Markdown {
    pub columns: Columns,
}

impl Spelling for Markdown {
    fn begin(&mut self, labels: &[String], out: &mut dyn Write) -> Result<()> {
        let names = self.columns.names(labels);
        write_markdown("image", &names, "prediction", out)?;
        let numbers = names.iter().map(|name| match self.columns {
            Columns::Best(_) if name.starts_with("label") => "---",
            _ => "---:",
        });
        Ok(writeln!(out, "| --- | {} | --- |", numbers.collect::<Vec<_>>().join(" | "))?)
    }

    fn write(&mut self, record: &Record, labels: &[String], out: &mut dyn Write) -> Result<()> {
        let (cells, prediction) = match &record.outcome {
            Ok(verdict) => {
                let cells = verdict.scores.iter().flat_map(|score| {
                    let label = (self.columns != Columns::Labels).then(|| labels[score.label].clone());
                    label.into_iter().chain([format!("{:.4}", score.probability)])
                });
                (cells.collect(), verdict.prediction.map_or("none", |label| &labels[label]).to_owned())
            }
            Err(Failure { message, .. }) => {
                (vec![String::new(); self.columns.names(labels).len()], format!("failed: {message}"))
            }
        };
        write_markdown(&record.image.to_string(), &cells, &prediction, out)
    }
}

fn write_markdown(image: &str, cells: &[String], prediction: &str, out: &mut dyn Write) -> Result<()> {
    let cells: Vec<_> = std::iter::once(image)
        .chain(cells.iter().map(String::as_str))
        .chain([prediction])
        .map(|cell| cell.replace(['\n', '\r'], " ").replace('|', "\\|"))
        .collect();
    Ok(writeln!(out, "| {} |", cells.join(" | "))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::ImageName;
    use crate::score::{Score, Verdict};

    fn spell(mut spelling: impl Spelling) -> String {
        let labels = ["a cat".to_owned(), "a dog, or | wolf".to_owned()];
        let score = |label, probability| Score { label, cosine: 0.0, logit: 0.0, probability };
        let verdict =
            Verdict { prediction: Some(1), probability: 0.75, scores: vec![score(0, 0.25), score(1, 0.75)] };
        let failure = Failure { kind: "decode", message: "cut off".to_owned() };
        let mut out = Vec::new();
        spelling.begin(&labels, &mut out).unwrap();
        for (image, outcome) in [("a.jpg", Ok(verdict)), ("b.jpg", Err(failure))] {
            let record = Record { image: ImageName::new(image), outcome, picture: None };
            spelling.write(&record, &labels, &mut out).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_has_a_column_for_each_label() {
        let messages = Messages::new(true);
        assert_eq!(
            spell(Csv { columns: Columns::Labels, messages: &messages }),
            "image,prediction,probability,a cat,\"a dog, or | wolf\"\n\
             a.jpg,\"a dog, or | wolf\",0.75,0.25,0.75\n\
             b.jpg,,,,\n"
        );
    }

    #[test]
    fn csv_of_the_best_has_pairs_of_columns() {
        let messages = Messages::new(true);
        let csv = spell(Csv { columns: Columns::new(Some(9), 2), messages: &messages });
        assert!(csv.starts_with(
            "image,prediction,probability,label_1,probability_1,label_2,probability_2\n\
             a.jpg,\"a dog, or | wolf\",0.75,a cat,0.25,\"a dog, or | wolf\",0.75\n"
        ));
    }

    #[test]
    fn markdown_is_a_table_with_the_prediction_last() {
        assert_eq!(
            spell(Markdown { columns: Columns::Labels }),
            "| image | a cat | a dog, or \\| wolf | prediction |\n\
             | --- | ---: | ---: | --- |\n\
             | a.jpg | 0.2500 | 0.7500 | a dog, or \\| wolf |\n\
             | b.jpg |  |  | failed: cut off |\n"
        );
    }
}
