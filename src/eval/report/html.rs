//! A page for a browser: what the text has, with drawings, every class, and pictures of mistakes.

mod drawn;
mod tables;

use super::{EvalReport, FailedImage};
use crate::eval::calibration::Calibration;
use crate::eval::interval::{Interval, Share};
use crate::eval::mistakes::Mistake;
use crate::eval::truth::NONE;
use crate::report::html::{
    Cards, Column, Document, Element, Figure, MistakeCard, PageCell, PageTable, Section,
};
use serde_json::Value;

/// The most rows of a table that is not of the classes, as many as JSON has of confused pairs.
const MOST_ROWS: usize = 100;

/// The page of a report; `facts` say what it is of.
pub(super) fn document(report: &EvalReport, facts: Vec<(&'static str, String)>) -> Document {
    let sections = [
        Some(figures(report)),
        drawn::confusion(report),
        drawn::calibration(report),
        Some(tables::classes(report)),
        tables::templates(report),
        tables::findings(report),
        fitted(report),
        mistakes(report),
        failures(report),
    ];
    Document { title: "clipclass eval", facts, sections: sections.into_iter().flatten().collect() }
}

fn figures(report: &EvalReport) -> Section {
    let mut figures = vec![count("images", "images", report.images, "whose truth is known")];
    if report.failed > 0 {
        figures.push(count("failed", "failed", report.failed, "left out of all figures"));
    }
    let left_out = &report.left_out;
    if left_out.unknown + left_out.outside > 0 {
        let remark = format!("{} of no label, {} of unknown truth", left_out.outside, left_out.unknown);
        figures.push(count("left_out", "left out", left_out.unknown + left_out.outside, &remark));
    }
    let several = report.average_precisions.is_some();
    let name = if several { "all labels right" } else { "accuracy" };
    figures.extend(share("accuracy", name, report.accuracy));
    // All of five labels are among the five best.
    figures.extend(
        report.top5.filter(|_| report.label_count > 5).and_then(|top5| share("top5", "top-5 accuracy", top5)),
    );
    let calibration = report.calibration.as_ref();
    let numbers = [
        (
            "mean_average_precision",
            "mAP",
            "mean of the labels' average precisions",
            report.mean_average_precision(),
        ),
        ("balanced_accuracy", "balanced accuracy", "mean recall of the classes", report.balanced_accuracy),
        ("macro_f1", "macro F1", "mean of the classes", report.macro_f1),
        ("micro_f1", "micro F1", "of all classes' counts together", report.micro_f1),
        ("ece", "ECE", "expected calibration error; 0 is perfect", calibration.and_then(Calibration::ece)),
        ("brier", "Brier score", "0 is perfect", calibration.and_then(Calibration::brier)),
        ("log_loss", "log loss", "0 is perfect", calibration.and_then(Calibration::log_loss)),
    ];
    let number = |(id, name, remark, value): (_, _, &str, Option<f64>)| {
        let value = value?;
        Some(Figure { id, name, value, shown: format!("{value:.4}"), remark: remark.to_owned() })
    };
    figures.extend(numbers.into_iter().filter_map(number));
    let mut elements = vec![Element::Figures(figures)];
    if !report.decides {
        let said = "No rule says which labels an image has, so they only rank the images: --threshold, \
                    --min-cosine or --classifier gives one.";
        elements.push(Element::Text(said.to_owned()));
    }
    if let Some(images) = report.sampled {
        elements.push(Element::Text(format!("Average precision is of {images} images drawn at random.")));
    }
    if !left_out.words.is_empty() {
        let words = left_out.words.iter().map(|(word, images)| format!("{word} {images}")).collect();
        let said = "Words that stand for no label, and how many images were left out for them:";
        elements.push(Element::Names(said.to_owned(), words));
    }
    Section { id: "figures", title: "Figures", elements }
}

fn count(id: &'static str, name: &'static str, count: u64, remark: &str) -> Figure {
    Figure { id, name, value: count as f64, shown: count.to_string(), remark: remark.to_owned() }
}

/// A share in percent, with its interval.
fn share(id: &'static str, name: &'static str, share: Share) -> Option<Figure> {
    let (value, Interval(low, high)) = (share.value()?, share.interval()?);
    let remark =
        format!("{} of {}, 95 % interval {:.2} to {:.2} %", share.count, share.of, 100.0 * low, 100.0 * high);
    Some(Figure { id, name, value, shown: format!("{:.2} %", 100.0 * value), remark })
}

/// What was fitted, and how it did on images that it was not fitted on.
fn fitted(report: &EvalReport) -> Option<Section> {
    let fitted = report.fit.as_ref()?;
    let mut rows = Vec::new();
    let mut say = |part: &str, name: &str, cell: PageCell| {
        rows.push(vec![text(&part.replace('_', " ")), text(&name.replace('_', " ")), cell]);
    };
    for (part, said) in fitted.report.as_object().into_iter().flatten() {
        match said {
            Value::Object(said) => said.iter().for_each(|(name, value)| say(part, name, cell(value))),
            value => say("images", part, cell(value)),
        }
    }
    let none = fitted.none.unwrap_or_default();
    for (name, value) in [
        ("least probability", none.threshold),
        ("least cosine", none.min_cosine),
        ("least margin", none.min_margin),
    ] {
        if let Some(value) = value {
            say("none", name, PageCell::Number(value.into()));
        }
    }
    if let Some(sets) = &fitted.sets {
        say("prediction_sets", "least probability", PageCell::Number(sets.min_probability.into()));
    }
    let said = "Learned from these images, and measured on images that it was not fitted on. The thresholds of the \
                labels are among the classes above.";
    let table = PageTable { columns: [words("part"), words("what"), numbers("value")].into(), rows };
    let elements = vec![Element::Text(said.to_owned()), Element::Table(table)];
    Some(Section { id: "fit", title: "Fitted", elements })
}

fn cell(value: &Value) -> PageCell {
    match value {
        Value::Null => PageCell::Nothing,
        Value::String(text) => PageCell::Text(text.clone()),
        Value::Number(number) => match number.as_u64() {
            Some(count) => PageCell::Count(count),
            None => number.as_f64().map_or(PageCell::Nothing, PageCell::Number),
        },
        other => PageCell::Text(other.to_string()),
    }
}

fn mistakes(report: &EvalReport) -> Option<Section> {
    let worst = report.mistakes.worst_first();
    if worst.is_empty() {
        return None;
    }
    let said = format!("{}, the worst first.", most(worst.len(), report.mistakes.count() as usize));
    let cards = Cards { cards: worst.into_iter().map(card).collect(), order: "worst first" };
    Some(Section {
        id: "mistakes",
        title: "Mistakes",
        elements: vec![Element::Text(said), Element::Cards(cards)],
    })
}

fn card(mistake: &Mistake) -> MistakeCard {
    let prediction = mistake.prediction.as_deref().unwrap_or(NONE);
    let best = mistake.prediction.as_deref().unwrap_or("the best, which a rule rejected");
    let own = mistake.label_probability.map(|probability| (mistake.label.clone(), probability));
    MistakeCard {
        image: mistake.image.clone(),
        thumbnail: mistake.thumbnail.clone(),
        truth: mistake.label.clone(),
        prediction: prediction.to_owned(),
        scores: [(best.to_owned(), mistake.probability)].into_iter().chain(own).collect(),
    }
}

fn failures(report: &EvalReport) -> Option<Section> {
    if report.failures.is_empty() {
        return None;
    }
    let said =
        format!("{}, in the order of the inputs.", most(report.failures.len(), report.failed as usize));
    let row = |failure: &FailedImage| vec![text(&failure.image), text(failure.kind), text(&failure.message)];
    let columns = [words("image"), words("kind"), words("what happened")].into();
    let table = PageTable { columns, rows: report.failures.iter().map(row).collect() };
    Some(Section {
        id: "failed-images",
        title: "Failed",
        elements: vec![Element::Text(said), Element::Table(table)],
    })
}

/// How many of all are shown.
fn most(shown: usize, of: usize) -> String {
    if shown < of { format!("{shown} of {of}") } else { of.to_string() }
}

/// Where the others are, if not all are shown.
fn elsewhere(shown: usize, of: usize) -> &'static str {
    if shown < of { " (--json has all)" } else { "" }
}

fn words(name: &str) -> Column {
    Column::Words(name.to_owned())
}

fn numbers(name: &str) -> Column {
    Column::Numbers(name.to_owned())
}

fn text(text: &str) -> PageCell {
    PageCell::Text(text.to_owned())
}
