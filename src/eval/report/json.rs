//! One JSON object.

use super::{EvalReport, FailedImage, LeftOut};
use crate::eval::calibration::{Calibration, ReliabilityBin};
use crate::eval::classes::{Confused, Confusion};
use crate::eval::interval::{Interval, Share};
use crate::eval::lookover::LabelFindings;
use crate::eval::mistakes::Mistake;
use crate::eval::prompts::PromptResult;
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use std::io::Write;

/// The most classes whose whole matrix is written: one of a thousand has a million cells.
const MOST_CLASSES_IN_MATRIX: usize = 1001;

/// The most pairs of classes that are named.
const MOST_CONFUSED: usize = 100;

#[derive(Serialize)]
struct Report<'a> {
    images: u64,
    failed: u64,
    accuracy: Option<f64>,
    accuracy_interval: Option<Interval>,
    top5: Option<f64>,
    top5_interval: Option<Interval>,
    balanced_accuracy: Option<f64>,
    macro_f1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micro_f1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_average_precision: Option<f64>,
    /// Of so many images drawn at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    average_precision_images: Option<usize>,
    ece: Option<f64>,
    brier: Option<f64>,
    log_loss: Option<f64>,
    classes: Vec<Class<'a>>,
    confusion: Option<Vec<Vec<u64>>>,
    confused: Vec<Confused<'a>>,
    calibration: Vec<ReliabilityBin>,
    templates: &'a [PromptResult],
    labels: &'a LabelFindings,
    mistakes: Vec<&'a Mistake>,
    mistakes_in_all: u64,
    failures: &'a [FailedImage],
    left_out: &'a LeftOut,
    #[serde(skip_serializing_if = "Option::is_none")]
    fit: Option<&'a Value>,
}

#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    average_precision: Option<f64>,
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
    support: u64,
}

/// Writes a report as one line.
pub(super) fn write(report: &EvalReport, out: &mut dyn Write) -> Result<()> {
    let names: Vec<_> = report.class_names.iter().map(String::as_str).collect();
    let average_precision = |i: usize| report.average_precisions.as_ref()?.get(i).copied().flatten();
    let class = |(i, count): (usize, &crate::eval::classes::ClassCount)| Class {
        label: names[i],
        average_precision: average_precision(i),
        precision: report.decides.then(|| count.precision()),
        recall: report.decides.then(|| count.recall()),
        f1: report.decides.then(|| count.f1()),
        support: count.support,
    };
    let told = report.confusion_names();
    let matrix_classes = report.matrix_classes();
    let matrix = |confusion: &Confusion| confusion.matrix(matrix_classes);
    let json = Report {
        images: report.images,
        failed: report.failed,
        accuracy: report.accuracy.value(),
        accuracy_interval: report.accuracy.interval(),
        top5: report.top5.and_then(Share::value),
        top5_interval: report.top5.and_then(Share::interval),
        balanced_accuracy: report.balanced_accuracy,
        macro_f1: report.macro_f1,
        micro_f1: report.micro_f1,
        mean_average_precision: report.mean_average_precision(),
        average_precision_images: report.sampled,
        ece: report.calibration.as_ref().and_then(Calibration::ece),
        brier: report.calibration.as_ref().and_then(Calibration::brier),
        log_loss: report.calibration.as_ref().and_then(Calibration::log_loss),
        classes: report.classes.iter().enumerate().map(class).collect(),
        confusion: report.confusion.as_ref().filter(|_| matrix_classes <= MOST_CLASSES_IN_MATRIX).map(matrix),
        confused: report
            .confusion
            .as_ref()
            .map_or(Vec::new(), |confusion| confusion.worst(&told, MOST_CONFUSED)),
        calibration: report.calibration.as_ref().map_or(Vec::new(), Calibration::reliability),
        templates: &report.templates,
        labels: &report.findings,
        mistakes: report.mistakes.worst_first(),
        mistakes_in_all: report.mistakes.count(),
        failures: &report.failures,
        left_out: &report.left_out,
        fit: report.fit.as_ref().map(|fitted| &fitted.report),
    };
    serde_json::to_writer(&mut *out, &json)?;
    Ok(out.write_all(b"\n")?)
}
