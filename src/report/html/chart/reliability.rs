//! Probabilities and how often they came true → a reliability diagram.

use super::{Area, Drawn, FAINT, INK, LINE, RIGHT, short_count, svg, text};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

const SIZE_PX: (u32, u32) = (520, 520);
/// Height of the diagram; below it is how many there are of each bar.
const DIAGRAM_PX: u32 = 400;
const TEXT_PX: f64 = 12.0;

/// A reliability diagram.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    pub bars: Vec<ReliabilityBar>,
    /// What is counted: images, or labels of images.
    pub counted: &'static str,
}

/// Predictions of about the same probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityBar {
    /// The least and the most of their probabilities.
    pub from: f64,
    pub to: f64,
    /// How many there are.
    pub count: u64,
    /// Mean of their probabilities; absent where there are none.
    pub probability: Option<f64>,
    /// Share of them that is right, and its 95 % interval.
    pub accuracy: Option<f64>,
    pub interval: Option<(f64, f64)>,
}

impl Reliability {
    /// A drawing: bars of what is right, with a point where the probability and the share are, and the
    /// line on which it would be if probabilities could be believed.
    ///
    /// *Errors* when it cannot be drawn.
    pub(in super::super) fn svg(&self) -> Result<String> {
        svg(SIZE_PX, |area| {
            let (upper, lower) = area.split_vertically(DIAGRAM_PX);
            self.draw_diagram(&upper)?;
            self.draw_counts(&lower)
        })
    }

    fn draw_diagram(&self, area: &Area) -> Drawn {
        let mut chart = ChartBuilder::on(area)
            .margin_top(10)
            .margin_right(14)
            // Else a browser's larger letters are cut off.
            .margin_left(4)
            .x_label_area_size(26)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .axis_style(LINE)
            .bold_line_style(LINE)
            .light_line_style(TRANSPARENT)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|x| format!("{x:.1}"))
            .y_label_formatter(&|y| format!("{y:.1}"))
            .label_style(text(TEXT_PX, FAINT, HPos::Center, VPos::Center))
            .axis_desc_style(text(TEXT_PX, FAINT, HPos::Center, VPos::Center))
            .y_desc("share that is right")
            .draw()?;
        let filled = self.bars.iter().filter_map(|bar| Some((bar, bar.accuracy?)));
        chart.draw_series(filled.map(|(bar, accuracy)| {
            let mut area = Rectangle::new([(bar.from, 0.0), (bar.to, accuracy)], RIGHT.filled());
            area.set_margin(0, 0, 1, 1);
            area
        }))?;
        chart.draw_series(DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 6, 5, FAINT.stroke_width(1)))?;
        for bar in &self.bars {
            if let (Some(x), Some((low, high))) = (bar.probability, bar.interval) {
                chart.draw_series([PathElement::new([(x, low), (x, high)], INK.stroke_width(1))])?;
            }
            if let (Some(x), Some(y)) = (bar.probability, bar.accuracy) {
                chart.draw_series([Circle::new((x, y), 3, INK.filled())])?;
            }
        }
        Ok(())
    }

    fn draw_counts(&self, area: &Area) -> Drawn {
        let most = self.bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
        let mut chart = ChartBuilder::on(area)
            .margin_right(14)
            // Else a browser's larger letters are cut off.
            .margin_left(4)
            .x_label_area_size(24)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..1.0, 0.0..most as f64)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(LINE)
            .x_labels(0)
            .y_labels(2)
            .y_label_formatter(&|count| short_count(*count as u64))
            .label_style(text(TEXT_PX, FAINT, HPos::Center, VPos::Center))
            .axis_desc_style(text(TEXT_PX, FAINT, HPos::Center, VPos::Center))
            .x_desc("probability")
            .y_desc(self.counted)
            .draw()?;
        chart.draw_series(self.bars.iter().filter(|bar| bar.count > 0).map(|bar| {
            let mut area =
                Rectangle::new([(bar.from, 0.0), (bar.to, bar.count as f64)], FAINT.mix(0.5).filled());
            area.set_margin(0, 0, 1, 1);
            area
        }))?;
        Ok(())
    }
}
