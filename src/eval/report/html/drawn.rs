//! Which class was taken for which, and how far probabilities can be believed, as drawings.

use super::{EvalReport, MOST_ROWS, most, numbers, text, words};
use crate::eval::calibration::ReliabilityBin;
use crate::eval::classes::Confused;
use crate::eval::interval::Interval;
use crate::report::html::{
    ConfusionMatrix, Element, PageCell, PageTable, Reliability, ReliabilityBar, Section,
};

/// The most classes whose whole matrix is drawn, and of how many it is drawn where there are more.
const MOST_DRAWN: usize = 40;
const DRAWN_OF_MORE: usize = 30;

pub(super) fn confusion(report: &EvalReport) -> Option<Section> {
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
            "Pairs of classes that are confused: {}, the most frequent first.",
            most(worst.len(), pairs)
        )));
        let columns = [words("truth"), words("taken for"), numbers("images")].into();
        let row =
            |pair: Confused| vec![text(pair.label), text(pair.prediction), PageCell::Count(pair.images)];
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

pub(super) fn calibration(report: &EvalReport) -> Option<Section> {
    let calibration = report.calibration.as_ref()?;
    let counted = if report.is_sigmoid && report.average_precisions.is_some() { "labels" } else { "images" };
    let bins = calibration.reliability();
    let bar = |bin: &ReliabilityBin| ReliabilityBar {
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
