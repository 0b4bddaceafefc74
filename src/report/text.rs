//! Text for people.

use super::{Record, RecordShape, Spelling, picture};
use crate::messages::{Messages, stdout_has_colour};
use crate::score::{Answer, Rejection, Rule, Score, Verdict};
use crate::terminal::{columns, shows_unicode};
use anyhow::Result;
use std::io::Write;
use unicode_width::UnicodeWidthStr;

/// The most cells of the bar of a certain label, and the least that are worth a bar.
const MOST_BAR_CELLS: usize = 30;
const LEAST_BAR_CELLS: usize = 4;

/// What a terminal that does not say its width is taken for.
const WIDE_ENOUGH: usize = 80;

/// Blocks of one to eight eighths of a cell.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

const BOLD: anstyle::Style = anstyle::Style::new().bold();
const FAINT: anstyle::Style = anstyle::Style::new().dimmed();
const PLAIN: anstyle::Style = anstyle::Style::new();

pub(super) struct Text<'a> {
    messages: &'a Messages,
    terminal: bool,
    colour: bool,
    /// The width that bars have to fit in, where bars can be shown.
    columns: Option<usize>,
    first: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(terminal: bool, messages: &'a Messages) -> Self {
        let colour = terminal && stdout_has_colour();
        let bars = terminal && shows_unicode();
        let columns = bars.then(|| columns().unwrap_or(WIDE_ENOUGH));
        Self { messages, terminal, colour, columns, first: true }
    }

    fn style(&self, style: anstyle::Style) -> anstyle::Style {
        if self.colour { style } else { PLAIN }
    }

    fn write_verdict(&self, verdict: &Verdict, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        let scores: Vec<_> = verdict.scores.iter().chain(&verdict.decoys).collect();
        let name = |score: &&Score| {
            let name = self.name(shape.name(score.label));
            if score.label < shape.labels.len() { name } else { format!("{name} (decoy)") }
        };
        let names: Vec<_> = scores.iter().map(name).collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        for (Score { label, probability, .. }, name) in scores.into_iter().zip(&names) {
            let padding = width - name.width();
            let style = self.style(if verdict.given().contains(label) { BOLD } else { PLAIN });
            write!(out, "{style}  {name}{:padding$}  {probability:.4}{style:#}", "")?;
            if let Some(cells) = self.bar_cells(width) {
                write!(out, "  {}", bar(*probability, cells))?;
            }
            writeln!(out)?;
        }
        if let Some(scoring) = shape.told_scoring() {
            writeln!(out, "scoring: {scoring}, each label by itself")?;
        }
        let style = self.style(BOLD);
        let what = if shape.answer == Answer::Several { "predictions" } else { "prediction" };
        write!(out, "{what}: {style}{}{style:#}", self.names(verdict.given(), shape))?;
        match &verdict.rejection {
            Some(rejection) => writeln!(out, " ({})", self.reason(rejection, shape))?,
            None => writeln!(out)?,
        }
        if let Some(set) = &verdict.set {
            writeln!(out, "prediction set: {}", self.names(set, shape))?;
        }
        Ok(())
    }

    /// How long bars may be beside names of this width; no terminal, or too narrow a one, has none.
    fn bar_cells(&self, names_width: usize) -> Option<usize> {
        let columns = self.columns?;
        // Two spaces before each of three columns, and a probability.
        let rest = columns.saturating_sub(names_width + 12);
        (rest >= LEAST_BAR_CELLS).then_some(rest.min(MOST_BAR_CELLS))
    }

    fn names(&self, labels: &[usize], shape: &RecordShape) -> String {
        let names: Vec<_> = labels.iter().map(|label| self.name(shape.name(*label))).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Why there is no prediction.
    fn reason(&self, rejection: &Rejection, shape: &RecordShape) -> String {
        let Rejection { rule, best, value, least } = *rejection;
        let name = self.name(shape.name(best.label));
        let probability =
            below(best.probability, if rule == Rule::Threshold { least } else { f32::INFINITY });
        let why = match rule {
            Rule::Decoy => "a decoy".to_owned(),
            // A fitted threshold may be of another quantity.
            Rule::Threshold if value == best.probability => format!("below {least}"),
            Rule::Threshold => format!("{} below its threshold, {least}", below(value, least)),
            Rule::Cosine => format!("cosine {} below {least}", below(value, least)),
            Rule::Contrast => {
                format!("cosine {} above the other labels, below {least}", below(value, least))
            }
            Rule::Margin => format!("margin {} below {least}", below(value, least)),
        };
        format!("best: {name}, {probability}, {why}")
    }

    /// A label as it is, or without what would steer a terminal.
    fn name(&self, label: &str) -> String {
        if self.terminal && label.contains(char::is_control) {
            label
                .chars()
                .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
                .collect()
        } else {
            label.to_owned()
        }
    }
}

impl Spelling for Text<'_> {
    fn write(&mut self, record: &Record, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        let verdict = match &record.outcome {
            Ok(verdict) => verdict,
            Err(failure) => {
                self.messages.failure(&record.image, failure);
                return Ok(());
            }
        };
        if !std::mem::take(&mut self.first) {
            writeln!(out)?;
        }
        if let Some(picture) = &record.picture {
            out.flush()?;
            picture::show(picture)?;
        }
        if self.terminal {
            let style = self.style(FAINT);
            writeln!(out, "{style}{}{style:#}", record.image)?;
        } else {
            out.write_all(record.image.as_os_str().as_encoded_bytes())?;
            writeln!(out)?;
        }
        self.write_verdict(verdict, shape, out)
    }
}

/// A value that is less than a limit, in as few digits as show that.
fn below(value: f32, limit: f32) -> String {
    let spelled = [2, 4].map(|digits| format!("{value:.digits$}")).into_iter();
    let shows = |text: &String| text.parse::<f32>().is_ok_and(|shown| shown < limit);
    spelled.into_iter().find(shows).unwrap_or_else(|| value.to_string())
}

/// A bar as long as a probability, to an eighth of a cell; that of a certain label has so many cells.
fn bar(probability: f32, cells: usize) -> String {
    let eighths = (probability * cells as f32 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).map(|i| EIGHTHS[i]));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::ImageName;
    use crate::score::{Classifier, Judgement, Scoring};

    /// What is said of a picture whose cosine with the labels is 0.5 and 0.3, and with the decoy as given.
    fn conclusion(shape: &RecordShape, decoy: &[f32], judgement: Judgement) -> String {
        let row = |cosine: &f32| [*cosine, (1.0 - cosine * cosine).sqrt()];
        let classifier = Classifier::new([0.5, 0.3].iter().flat_map(row).collect(), 2, shape.scoring)
            .with_decoys(decoy.iter().flat_map(row).collect());
        let outcome = Ok(classifier.judge(&[1.0, 0.0], &judgement).unwrap());
        let record = Record::of(ImageName::new("a.jpg"), outcome);
        let mut out = Vec::new();
        let messages = Messages::new(true);
        Text::new(false, &messages).write(&record, shape, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let scores = 1 + 2 + decoy.len();
        text.lines().skip(scores).collect::<Vec<_>>().join("\n")
    }

    fn shape() -> RecordShape {
        let scoring = Scoring::Softmax { scale: 10.0 };
        RecordShape { scoring, decoys: vec!["junk".into()], ..RecordShape::of_labels(&["a cat", "a dog"]) }
    }

    #[test]
    fn it_is_said_why_there_is_no_prediction() {
        let threshold = Judgement { threshold: 0.9, ..Default::default() };
        assert_eq!(conclusion(&shape(), &[], threshold), "prediction: none (best: a cat, 0.88, below 0.9)");
        let close = Judgement { threshold: 0.881, ..Default::default() };
        assert_eq!(conclusion(&shape(), &[], close), "prediction: none (best: a cat, 0.88, below 0.881)");
        let closer = Judgement { threshold: 0.8800, ..Default::default() };
        assert_eq!(conclusion(&shape(), &[], closer), "prediction: a cat");
        let cosine = Judgement { min_cosine: Some(0.55), ..Default::default() };
        let expected = "prediction: none (best: a cat, 0.88, cosine 0.50 below 0.55)";
        assert_eq!(conclusion(&shape(), &[], cosine), expected);
        let margin = Judgement { min_margin: Some(0.8), ..Default::default() };
        let expected = "prediction: none (best: a cat, 0.88, margin 0.76 below 0.8)";
        assert_eq!(conclusion(&shape(), &[], margin), expected);
        let expected = "prediction: none (best: junk, 0.71, a decoy)";
        assert_eq!(conclusion(&shape(), &[0.6], Judgement::default()), expected);
    }

    #[test]
    fn a_value_has_the_digits_that_show_what_it_is_below() {
        assert_eq!(below(0.4961, 0.5), "0.4961");
        assert_eq!(below(0.49999, 0.5), "0.49999");
        assert_eq!(below(0.41, 0.5), "0.41");
    }

    #[test]
    fn bars_fit_beside_the_names() {
        let messages = Messages::new(true);
        let cells = |columns, names| Text { columns, ..Text::new(false, &messages) }.bar_cells(names);
        assert_eq!(cells(Some(80), 8), Some(30));
        assert_eq!(cells(Some(40), 8), Some(20));
        assert_eq!((cells(Some(40), 25), cells(Some(40), 60), cells(None, 8)), (None, None, None));
        assert_eq!((bar(1.0, 20).as_str(), bar(0.55, 2).as_str()), ("█".repeat(20).as_str(), "█▏"));
    }

    #[test]
    fn several_labels_a_set_and_a_sigmoid_have_lines_of_their_own() {
        let scoring = Scoring::Sigmoid { scale: 10.0, bias: -2.0 };
        let shape = RecordShape { scoring, answer: Answer::Several, ..shape() };
        let judgement = Judgement {
            threshold: 0.5,
            set_probability: Some(0.8),
            answer: Answer::Several,
            ..Default::default()
        };
        let expected =
            "scoring: sigmoid, each label by itself\npredictions: a cat, a dog\nprediction set: a cat";
        assert_eq!(conclusion(&shape, &[], judgement), expected);
    }
}
