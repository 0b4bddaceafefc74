//! Text for people.

use super::{Record, Spelling, picture};
use crate::messages::{Messages, stdout_has_colour};
use crate::score::{Score, Verdict};
use anyhow::Result;
use std::io::Write;
use unicode_width::UnicodeWidthStr;

/// Cells of the bar of a certain label.
const BAR_CELLS: f32 = 30.0;

/// Blocks of one to eight eighths of a cell.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

const BOLD: anstyle::Style = anstyle::Style::new().bold();
const FAINT: anstyle::Style = anstyle::Style::new().dimmed();
const PLAIN: anstyle::Style = anstyle::Style::new();

pub(super) struct Text<'a> {
    messages: &'a Messages,
    terminal: bool,
    colour: bool,
    first: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(terminal: bool, messages: &'a Messages) -> Self {
        let colour = terminal && stdout_has_colour();
        Self { messages, terminal, colour, first: true }
    }

    fn style(&self, style: anstyle::Style) -> anstyle::Style {
        if self.colour { style } else { PLAIN }
    }

    fn write_verdict(&self, verdict: &Verdict, labels: &[String], out: &mut dyn Write) -> Result<()> {
        let names: Vec<_> = verdict.scores.iter().map(|score| self.name(&labels[score.label])).collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        for (Score { label, probability, .. }, name) in verdict.scores.iter().zip(&names) {
            let padding = width - name.width();
            let style = self.style(if Some(*label) == verdict.prediction { BOLD } else { PLAIN });
            write!(out, "{style}  {name}{:padding$}  {probability:.4}{style:#}", "")?;
            if self.terminal {
                write!(out, "  {}", bar(*probability))?;
            }
            writeln!(out)?;
        }
        let prediction = verdict.prediction.map(|label| self.name(&labels[label]));
        let style = self.style(BOLD);
        writeln!(out, "prediction: {style}{}{style:#}", prediction.as_deref().unwrap_or("none"))?;
        Ok(())
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
    fn write(&mut self, record: &Record, labels: &[String], out: &mut dyn Write) -> Result<()> {
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
        self.write_verdict(verdict, labels, out)
    }
}

/// A bar as long as a probability, to an eighth of a cell.
fn bar(probability: f32) -> String {
    let eighths = (probability * BAR_CELLS * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).map(|i| EIGHTHS[i]));
    bar
}
