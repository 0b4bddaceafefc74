//! A page for a browser: what the text has, with drawings, every class, and pictures of mistakes.

use super::EvalReport;
use crate::eval::calibration::Calibration;
use crate::eval::interval::{Interval, Share};
use crate::eval::lookover::MOST_FINDINGS;
use crate::eval::mistakes::Mistake;
use crate::eval::truth::NONE;
use crate::report::html::{
    Cards, Column, ConfusionMatrix, Document, Element, Figure, MistakeCard, PageCell, PageTable, Reliability,
    ReliabilityBar, Section,
};
use serde_json::Value;

/// The most classes whose whole matrix is drawn, and of how many it is drawn where there are more.
const MOST_DRAWN: usize = 40;
const DRAWN_OF_MORE: usize = 30;

/// The most rows of a table of classes: a page of more is hard to open.
const MOST_CLASSES: usize = 1001;

/// The most rows of any other table, as many as JSON has of confused pairs.
const MOST_ROWS: usize = 100;

/// The page of a report; `facts` say what it is of.
pub(super) fn document(report: &EvalReport, facts: Vec<(&'static str, String)>) -> Document {
    let sections = [
        Some(figures(report)),
        confusion(report),
        calibration(report),
        Some(classes(report)),
        templates(report),
        findings(report),
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

fn confusion(report: &EvalReport) -> Option<Section> {
    let confusion = report.confusion.as_ref()?;
    let (all, classes) = (report.confusion_names(), report.matrix_classes());
    let pairs = confusion.pairs();
    let mut elements = Vec::new();
    let chosen = if classes > MOST_DRAWN { confusion.most_confused(DRAWN_OF_MORE) } else { Vec::new() };
    let how = "A row is what images show, a column what they were taken for; the number is how many, the colour \
               their share of the row, blue where that is right and red where it is wrong.";
    let mut draw = |matrix: ConfusionMatrix, said: String| {
        let table = matrix_table(&matrix);
        elements.push(Element::Matrix(matrix, said, table));
    };
    if classes <= MOST_DRAWN {
        let names = all[..classes].iter().map(|&name| name.to_owned()).collect();
        draw(ConfusionMatrix { names, counts: confusion.matrix(classes), has_rest: false }, how.to_owned());
    } else if !chosen.is_empty() {
        let rest = format!("the other {}", classes - chosen.len());
        let names = chosen.iter().map(|&class| all[class].to_owned()).chain([rest]).collect();
        let said = format!(
            "The {} of {classes} classes that are confused most often. All others are summed up in the last row and \
             column, whose common cell has images that are right and images that are wrong. {how}",
            chosen.len()
        );
        draw(ConfusionMatrix { names, counts: confusion.matrix_with_rest(&chosen), has_rest: true }, said);
    }
    if pairs == 0 {
        elements.push(Element::Text("No image was taken for another class.".to_owned()));
    } else {
        let worst = confusion.worst(&all, MOST_ROWS);
        elements.push(Element::Text(format!(
            "{} that are confused most often:",
            most(worst.len(), pairs, "pairs")
        )));
        let columns = [words("truth"), words("taken for"), numbers("images")].into();
        let row = |pair: crate::eval::classes::Confused| {
            vec![text(pair.label), text(pair.prediction), PageCell::Count(pair.images)]
        };
        elements.push(Element::Table(PageTable { columns, rows: worst.into_iter().map(row).collect() }));
    }
    Some(Section { id: "confusion", title: "Confusion", elements })
}

fn matrix_table(matrix: &ConfusionMatrix) -> PageTable {
    let columns = [words("truth")].into_iter().chain(matrix.names.iter().map(|name| numbers(name))).collect();
    let row = |(name, counts): (&String, &Vec<u64>)| {
        [text(name)].into_iter().chain(counts.iter().map(|&count| PageCell::Count(count))).collect()
    };
    PageTable { columns, rows: matrix.names.iter().zip(&matrix.counts).map(row).collect() }
}

fn calibration(report: &EvalReport) -> Option<Section> {
    let calibration = report.calibration.as_ref()?;
    let counted = if report.is_sigmoid && report.average_precisions.is_some() { "labels" } else { "images" };
    let bins = calibration.reliability();
    let bar = |bin: &crate::eval::calibration::ReliabilityBin| ReliabilityBar {
        from: bin.from,
        to: bin.to,
        count: bin.images,
        probability: bin.probability,
        accuracy: bin.accuracy,
        interval: bin.interval.map(|Interval(low, high)| (low, high)),
    };
    let bars: Vec<_> = bins.iter().map(bar).collect();
    let number = |value: Option<f64>| value.map_or(PageCell::Nothing, PageCell::Number);
    let row = |bar: &ReliabilityBar| {
        vec![
            PageCell::Text(format!("{:.3} to {:.3}", bar.from, bar.to)),
            PageCell::Count(bar.count),
            number(bar.probability),
            number(bar.accuracy),
            number(bar.interval.map(|interval| interval.0)),
            number(bar.interval.map(|interval| interval.1)),
        ]
    };
    let columns = [
        words("probability"),
        numbers(counted),
        numbers("mean probability"),
        numbers("share that is right"),
        numbers("95 % interval from"),
        numbers("to"),
    ];
    let table = PageTable { columns: columns.into(), rows: bars.iter().map(row).collect() };
    let said = "Of predictions whose probability is 0.8, four in five should be right: points on the dashed line \
                are as right as they say, points below it are too sure of themselves, points above it too unsure. \
                The line through a point is the 95 % interval of its share. Below is how many there are."
        .to_owned();
    let elements = vec![Element::Reliability(Reliability { bars, counted }, said, table)];
    Some(Section { id: "calibration", title: "Calibration", elements })
}

fn classes(report: &EvalReport) -> Section {
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
    let mut elements =
        vec![Element::Text(format!("{}, the worst first.", most(shown.len(), order.len(), "classes")))];
    elements.push(Element::Table(table));
    Section { id: "classes", title: "Classes", elements }
}

fn templates(report: &EvalReport) -> Option<Section> {
    let mut order: Vec<_> = report.templates.iter().collect();
    // Those whose absence helps most come first.
    order.sort_by(|a, b| b.without.unwrap_or(0.0).total_cmp(&a.without.unwrap_or(0.0)));
    let are_prompts = order.first()?.label.is_some();
    let name = if are_prompts { "prompts" } else { "templates" };
    let all = report.accuracy.value();
    let mut columns = vec![words(name.trim_end_matches('s'))];
    if are_prompts {
        columns.push(words("label"));
    }
    columns.extend(["accuracy alone", "accuracy without it", "gain without it"].map(numbers));
    let number = |value: Option<f64>| value.map_or(PageCell::Nothing, PageCell::Number);
    let row = |result: &&crate::eval::PromptResult| {
        let mut row = vec![text(&result.template)];
        row.extend(result.label.as_deref().map(text));
        let gain = result.without.zip(all).map(|(without, all)| without - all);
        row.extend([number(result.accuracy), number(result.without), number(gain)]);
        row
    };
    let shown = &order[..order.len().min(MOST_ROWS)];
    let said = format!(
        "{}, those that hurt most first. All together are right on {:.4} of the images.",
        most(shown.len(), order.len(), name),
        all.unwrap_or_default()
    );
    let table = PageTable { columns, rows: shown.iter().map(row).collect() };
    let elements = vec![Element::Text(said), Element::Table(table)];
    Some(Section { id: "templates", title: if are_prompts { "Prompts" } else { "Templates" }, elements })
}

fn findings(report: &EvalReport) -> Option<Section> {
    let findings = &report.findings;
    let mut elements = Vec::new();
    if !findings.coinciding.is_empty() {
        elements.push(Element::Text(
            "Labels that nearly coincide, so that CLIP can hardly tell them apart:".to_owned(),
        ));
        let row = |pair: &crate::eval::NearPair| {
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
    let said = format!("{}.", most(worst.len(), report.mistakes.count() as usize, "mistakes"));
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
    let said = format!("{}.", most(report.failures.len(), report.failed as usize, "images that failed"));
    let row =
        |failure: &super::FailedImage| vec![text(&failure.image), text(failure.kind), text(&failure.message)];
    let columns = [words("image"), words("kind"), words("what happened")].into();
    let table = PageTable { columns, rows: report.failures.iter().map(row).collect() };
    Some(Section {
        id: "failed-images",
        title: "Failed",
        elements: vec![Element::Text(said), Element::Table(table)],
    })
}

/// How many things of all are shown.
fn most(shown: usize, of: usize, what: &str) -> String {
    if shown < of { format!("{shown} of {of} {what}; --json has more") } else { format!("{of} {what}") }
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
