//! Text for people: as much as fits a few screens, and what was left out.

use super::EvalReport;
use crate::eval::calibration::Calibration;
use crate::eval::interval::{Interval, Share};
use anyhow::Result;
use serde_json::Value;
use std::io::Write;
use unicode_width::UnicodeWidthStr;

/// The most rows of any table.
const MOST_ROWS: usize = 20;

/// Fewer images of a class say little about it.
const FEW_IMAGES: u64 = 10;

pub(super) fn write(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    write_summary(report, out)?;
    write_classes(report, out)?;
    write_confusions(report, out)?;
    write_calibration(report, out)?;
    write_templates(report, out)?;
    write_findings(report, out)?;
    write_mistakes(report, out)?;
    write_failures(report, out)?;
    match &report.fit {
        Some(fitted) => write_fit(&fitted.report, out),
        None => Ok(()),
    }
}

fn write_summary(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    let mut line = |name: &str, value: String| writeln!(out, "{name:<22}{value}");
    line("images", report.images.to_string())?;
    if report.failed > 0 {
        line("failed", report.failed.to_string())?;
    }
    if report.left_out.unknown > 0 {
        line("left out", format!("{}: nothing says what they show", report.left_out.unknown))?;
    }
    if report.left_out.outside > 0 {
        let words: Vec<_> =
            report.left_out.words.iter().map(|(word, images)| format!("{word} {images}")).collect();
        let some = &words[..words.len().min(MOST_ROWS)];
        let more = if words.len() > some.len() { ", …" } else { "" };
        line("left out", format!("{} of no label: {}{more}", report.left_out.outside, some.join(", ")))?;
    }
    let name = if report.average_precisions.is_some() { "all labels right" } else { "accuracy" };
    if let Some(share) = share(report.accuracy) {
        line(name, share)?;
    }
    // All of five labels are among the five best.
    if let Some(share) = report.top5.filter(|_| report.label_count > 5).and_then(share) {
        line("among the best five", share)?;
    }
    let numbers = [
        ("mean of the classes", report.balanced_accuracy),
        ("mean average precision", report.mean_average_precision()),
        ("macro F1", report.macro_f1),
        ("micro F1", report.micro_f1),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            line(name, format!("{value:.4}"))?;
        }
    }
    if !report.decides {
        line(
            "",
            "no rule says which labels an image has: --threshold, --min-cosine or --classifier".to_owned(),
        )?;
    }
    if let Some(images) = report.sampled {
        line("", format!("average precision is of {images} images drawn at random"))?;
    }
    Ok(())
}

/// A share in percent, with its interval.
fn share(share: Share) -> Option<String> {
    let (value, Interval(low, high)) = (share.value()?, share.interval()?);
    Some(format!(
        "{:.2} % ({} of {}), 95 % interval {:.2} to {:.2} %",
        100.0 * value,
        share.count,
        share.of,
        100.0 * low,
        100.0 * high
    ))
}

fn write_classes(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    // The worst are what people look for.
    let mut order: Vec<_> = (0..report.classes.len()).filter(|&i| report.classes[i].support > 0).collect();
    let precision = |i: usize| report.average_precisions.as_ref().and_then(|all| *all.get(i)?);
    let value = |i: usize| if report.decides { report.classes[i].f1() } else { precision(i).unwrap_or(0.0) };
    order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
    let more = order.len().saturating_sub(MOST_ROWS);
    order.truncate(MOST_ROWS);
    let names: Vec<_> = order.iter().map(|&i| shown(&report.class_names[i])).collect();
    let width = names.iter().map(|name| name.width()).max().unwrap_or(0).max(6);
    write!(out, "\n{:<width$}", "class")?;
    if report.decides {
        write!(out, "  precision  recall      F1")?;
    }
    if report.average_precisions.is_some() {
        write!(out, "  average precision")?;
    }
    writeln!(out, "  images")?;
    for (&i, name) in order.iter().zip(&names) {
        let class = report.classes[i];
        write!(out, "{name}{:padding$}", "", padding = width - name.width())?;
        if report.decides {
            write!(out, "  {:>9.4}  {:.4}  {:.4}", class.precision(), class.recall(), class.f1())?;
        }
        if report.average_precisions.is_some() {
            write!(out, "  {:>17.4}", precision(i).unwrap_or(0.0))?;
        }
        let few = if class.support < FEW_IMAGES { "  few" } else { "" };
        writeln!(out, "  {:>6}{few}", class.support)?;
    }
    if more > 0 {
        writeln!(out, "and {more} classes that do better; --json has all")?;
    }
    Ok(())
}

fn write_confusions(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    let Some(confusion) = &report.confusion else { return Ok(()) };
    let worst = confusion.worst(&report.confusion_names(), MOST_ROWS);
    if worst.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nmost often confused")?;
    for pair in worst {
        writeln!(out, "{:>6}  {} taken for {}", pair.images, shown(pair.label), shown(pair.prediction))?;
    }
    Ok(())
}

fn write_calibration(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    let Some(calibration) = &report.calibration else { return Ok(()) };
    let number = |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.4}"));
    writeln!(
        out,
        "\ncalibration: expected error {}, Brier {}, log loss {}",
        number(calibration.ece()),
        number(Calibration::brier(calibration)),
        number(calibration.log_loss())
    )?;
    let what = if report.is_sigmoid && report.average_precisions.is_some() { "labels" } else { "images" };
    writeln!(out, "probability        {what:>8}  said    right")?;
    for bin in calibration.reliability() {
        if let (Some(probability), Some(accuracy)) = (bin.probability, bin.accuracy) {
            let (from, to) = (bin.from, bin.to);
            writeln!(out, "{from:.3} to {to:.3}     {:>8}  {probability:.4}  {accuracy:.4}", bin.images)?;
        }
    }
    Ok(())
}

fn write_templates(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    if report.templates.is_empty() {
        return Ok(());
    }
    // Those whose absence helps most come first.
    let mut order: Vec<_> = report.templates.iter().collect();
    order.sort_by(|a, b| b.without.unwrap_or(0.0).total_cmp(&a.without.unwrap_or(0.0)));
    let of = if order[0].label.is_some() { "prompt" } else { "template" };
    writeln!(out, "\n  alone  without it  {of}, those that hurt most first")?;
    for result in order.iter().take(MOST_ROWS) {
        let number = |value: Option<f64>| value.map_or("      ".to_owned(), |value| format!("{value:.4}"));
        let label = result.label.as_ref().map_or(String::new(), |label| format!(" ({})", shown(label)));
        let (alone, without) = (number(result.accuracy), number(result.without));
        writeln!(out, " {alone}      {without}  {}{label}", shown(&result.template))?;
    }
    write_more(order.len(), out)
}

fn write_findings(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    let findings = &report.findings;
    if !findings.coinciding.is_empty() {
        writeln!(out, "\nlabels that nearly coincide")?;
        for pair in findings.coinciding.iter().take(MOST_ROWS) {
            writeln!(
                out,
                "  cosine {:.4}  {}, {}",
                pair.cosine,
                shown(&pair.labels[0]),
                shown(&pair.labels[1])
            )?;
        }
        write_more(findings.coinciding.len(), out)?;
    }
    for (what, names) in [
        ("labels never predicted", &findings.never_predicted),
        ("labels not in the truth", &findings.not_in_truth),
    ] {
        if !names.is_empty() {
            let some: Vec<_> = names.iter().take(MOST_ROWS).map(|name| shown(name)).collect();
            let more = if names.len() > some.len() { ", …" } else { "" };
            writeln!(out, "\n{what}: {}{more}", some.join(", "))?;
        }
    }
    Ok(())
}

fn write_mistakes(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    let mistakes = report.mistakes.worst_first();
    if mistakes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nworst mistakes")?;
    for mistake in mistakes.iter().take(MOST_ROWS) {
        let prediction = mistake.prediction.as_deref().unwrap_or(crate::eval::truth::NONE);
        let probability = mistake.probability;
        let (label, prediction) = (shown(&mistake.label), shown(prediction));
        writeln!(out, "  {}: {label} taken for {prediction}, {probability:.4}", mistake.image)?;
    }
    let more = report.mistakes.count().saturating_sub(MOST_ROWS as u64);
    if more > 0 {
        writeln!(out, "and {more} more; --json has the worst {}", mistakes.len())?;
    }
    Ok(())
}

fn write_failures(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    if report.failures.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nfailed")?;
    for failure in report.failures.iter().take(MOST_ROWS) {
        writeln!(out, "  {}: {}", failure.image, failure.message)?;
    }
    let more = report.failed.saturating_sub(MOST_ROWS as u64);
    if more > 0 {
        writeln!(out, "and {more} more")?;
    }
    Ok(())
}

/// What was fitted, a line for each part, and how it did on images that it was not fitted on.
fn write_fit(fit: &Value, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\nfitted, and measured on images that it was not fitted on")?;
    let Value::Object(parts) = fit else { return Ok(()) };
    for (part, said) in parts {
        let said = match said {
            Value::Object(said) => {
                let pairs =
                    said.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), number(value)));
                pairs.collect::<Vec<_>>().join(", ")
            }
            Value::Array(said) => said.iter().map(number).collect::<Vec<_>>().join("; "),
            other => number(other),
        };
        writeln!(out, "  {}: {said}", part.replace('_', " "))?;
    }
    Ok(())
}

fn number(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Number(number) if number.is_f64() => format!("{:.4}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

fn write_more(rows: usize, out: &mut dyn Write) -> Result<()> {
    if rows > MOST_ROWS {
        writeln!(out, "and {} more; --json has all", rows - MOST_ROWS)?;
    }
    Ok(())
}

/// A name without what could drive a terminal.
fn shown(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
