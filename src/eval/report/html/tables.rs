//! Every class, every template or prompt, and what may be wrong with the labels.

use super::{EvalReport, MOST_ROWS, elsewhere, most, numbers, text, words};
use crate::eval::lookover::{MOST_FINDINGS, NearPair};
use crate::eval::prompts::PromptResult;
use crate::report::html::{Element, PageCell, PageTable, Section};

/// The most rows of a table of classes: a page of more is hard to open.
const MOST_CLASSES: usize = 1001;

pub(super) fn classes(report: &EvalReport) -> Section {
    let precision = |i: usize| report.average_precisions.as_ref().and_then(|all| *all.get(i)?);
    let value = |i: usize| if report.decides { report.classes[i].f1() } else { precision(i).unwrap_or(0.0) };
    let mut order: Vec<_> = (0..report.classes.len()).collect();
    // The worst are what people look for; classes without images come last.
    order.sort_by(|&a, &b| {
        let is_empty = |i: usize| report.classes[i].support == 0;
        is_empty(a).cmp(&is_empty(b)).then(value(a).total_cmp(&value(b)))
    });
    let shown = &order[..order.len().min(MOST_CLASSES)];
    let fitted = report.fit.as_ref().and_then(|fitted| fitted.thresholds.as_ref());
    let mut columns = vec![words("class")];
    if report.decides {
        columns.extend(["precision", "recall", "F1"].map(numbers));
    }
    if report.average_precisions.is_some() {
        columns.push(numbers("average precision"));
    }
    columns.push(numbers("images"));
    if let Some(fitted) = fitted {
        columns.push(numbers(&format!("fitted threshold of {}", fitted.quantity.name())));
    }
    let row = |&i: &usize| {
        let class = report.classes[i];
        let mut row = vec![text(&report.class_names[i])];
        if report.decides {
            row.extend([
                PageCell::Number(class.precision()),
                PageCell::Number(class.recall()),
                PageCell::Bar(class.f1()),
            ]);
        }
        if report.average_precisions.is_some() {
            row.push(precision(i).map_or(PageCell::Nothing, PageCell::Bar));
        }
        row.push(PageCell::Count(class.support));
        if let Some(fitted) = fitted {
            let least = fitted.least.get(i);
            row.push(least.map_or(PageCell::Nothing, |&least| PageCell::Number(least.into())));
        }
        row
    };
    let table = PageTable { columns, rows: shown.iter().map(row).collect() };
    let said = format!(
        "{}{}, the worst first; those without images are last.",
        most(shown.len(), order.len()),
        elsewhere(shown.len(), order.len())
    );
    let elements = vec![Element::Text(said), Element::Table(table)];
    Section { id: "classes", title: "Classes", elements }
}

pub(super) fn templates(report: &EvalReport) -> Option<Section> {
    let mut order: Vec<_> = report.templates.iter().collect();
    // Those whose absence helps most come first.
    order.sort_by(|a, b| b.without.unwrap_or(0.0).total_cmp(&a.without.unwrap_or(0.0)));
    let are_prompts = order.first()?.label.is_some();
    let mut columns = vec![words(if are_prompts { "prompt" } else { "template" })];
    if are_prompts {
        columns.push(words("label"));
    }
    columns.extend(["accuracy alone", "accuracy without it"].map(numbers));
    let number = |value: Option<f64>| value.map_or(PageCell::Nothing, PageCell::Number);
    let row = |result: &&PromptResult| {
        let mut row = vec![text(&result.template)];
        row.extend(result.label.as_deref().map(text));
        row.extend([number(result.accuracy), number(result.without)]);
        row
    };
    let shown = &order[..order.len().min(MOST_ROWS)];
    let said = format!(
        "{}{}, those that hurt most first. Accuracies are of the images that have a label, before any rule.",
        most(shown.len(), order.len()),
        elsewhere(shown.len(), order.len())
    );
    let table = PageTable { columns, rows: shown.iter().map(row).collect() };
    let elements = vec![Element::Text(said), Element::Table(table)];
    Some(Section { id: "templates", title: if are_prompts { "Prompts" } else { "Templates" }, elements })
}

pub(super) fn findings(report: &EvalReport) -> Option<Section> {
    let findings = &report.findings;
    let mut elements = Vec::new();
    if !findings.coinciding.is_empty() {
        elements.push(Element::Text(
            "Labels that nearly coincide, so that CLIP can hardly tell them apart:".to_owned(),
        ));
        let row = |pair: &NearPair| {
            vec![text(&pair.labels[0]), text(&pair.labels[1]), PageCell::Number(pair.cosine.into())]
        };
        let columns = [words("label"), words("and"), numbers("cosine")].into();
        elements
            .push(Element::Table(PageTable { columns, rows: findings.coinciding.iter().map(row).collect() }));
    }
    for (said, names) in [
        ("Labels that are never predicted", &findings.never_predicted),
        ("Labels that no image has", &findings.not_in_truth),
    ] {
        if !names.is_empty() {
            let most = if names.len() < MOST_FINDINGS { "" } else { ", the first of them" };
            elements.push(Element::Names(format!("{said}{most}:"), names.clone()));
        }
    }
    (!elements.is_empty()).then_some(Section { id: "labels", title: "Labels to look at", elements })
}
