//! How often each class was taken for each → a square of cells.

use super::{Area, Drawn, FAINT, INK, LINE, RIGHT, WRONG, short_count, shortened, svg, text, width_px};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Sides of a cell.
const CELL_PX: std::ops::RangeInclusive<u32> = 18..=96;
/// Side of all cells together, where they are neither too small nor too large.
const CELLS_PX: u32 = 640;
const TEXT_PX: f64 = 12.0;
/// Room of what a row or a column of names is called, and beside names.
const TITLE_PX: f64 = 22.0;
const GAP_PX: f64 = 6.0;
/// The most cells of text that a name has.
const NAME_CELLS: usize = 22;
/// What is seen of a share that is hardly more than nothing.
const FAINTEST: f64 = 0.2;

/// A confusion matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    /// The classes, in order.
    pub names: Vec<String>,
    /// *Shape* `[classes][classes]`, a row for each class that images have, a column for each that they
    /// were taken for.
    pub counts: Vec<Vec<u64>>,
    /// Whether the last class is all others, which may be taken for each other.
    pub has_rest: bool,
}

/// Where things are.
struct Plan {
    cell: u32,
    left: u32,
    top: u32,
    names_lie: bool,
}

impl ConfusionMatrix {
    /// A drawing: the colour of a cell is its share of the row, blue where that is right and red where it
    /// is wrong, and its number is how many images that are.
    ///
    /// *Errors* when it cannot be drawn.
    pub(in super::super) fn svg(&self) -> Result<String> {
        let names: Vec<_> = self.names.iter().map(|name| shortened(name, NAME_CELLS)).collect();
        let widest = names.iter().map(|name| width_px(name, TEXT_PX)).fold(0.0, f64::max) + 2.0 * GAP_PX;
        let count = self.names.len().max(1) as u32;
        let cell = (CELLS_PX / count).clamp(*CELL_PX.start(), *CELL_PX.end());
        let names_lie = widest <= f64::from(cell);
        let names_px = if names_lie { TEXT_PX + 2.0 * GAP_PX } else { widest };
        let plan =
            Plan { cell, left: (TITLE_PX + widest) as u32, top: (TITLE_PX + names_px) as u32, names_lie };
        let side = cell * count;
        // Beside the last column there is room for half a title that is longer than the cells.
        let size = ((plan.left + side + 2).max(plan.left + 200), plan.top + side + 2);
        svg(size, |area| {
            plan.draw_names(&names, area)?;
            plan.draw_cells(self, area)?;
            plan.draw_lines(count, area)
        })
    }
}

impl Plan {
    fn x(&self, column: usize) -> i32 {
        (self.left + self.cell * column as u32) as i32
    }

    fn y(&self, row: usize) -> i32 {
        (self.top + self.cell * row as u32) as i32
    }

    fn draw_names(&self, names: &[String], area: &Area) -> Drawn {
        let (half, gap) = (self.cell as i32 / 2, GAP_PX as i32);
        let row = text(TEXT_PX, INK, HPos::Right, VPos::Center);
        let lying = text(TEXT_PX, INK, HPos::Center, VPos::Bottom);
        let standing = text(TEXT_PX, INK, HPos::Left, VPos::Center).transform(FontTransform::Rotate270);
        for (i, name) in names.iter().enumerate() {
            area.draw_text(name, &row, (self.x(0) - gap, self.y(i) + half))?;
            let column = if self.names_lie { &lying } else { &standing };
            area.draw_text(name, column, (self.x(i) + half, self.y(0) - gap))?;
        }
        let across = text(TEXT_PX, FAINT, HPos::Left, VPos::Top);
        area.draw_text("taken for", &across, (self.x(0), 2))?;
        let down = text(TEXT_PX, FAINT, HPos::Right, VPos::Top).transform(FontTransform::Rotate270);
        area.draw_text("truth", &down, (2, self.y(0)))
    }

    fn draw_cells(&self, matrix: &ConfusionMatrix, area: &Area) -> Drawn {
        let side = self.cell as i32;
        let size_px = (f64::from(self.cell) * 0.4).clamp(7.5, 15.0);
        let number = text(size_px, INK, HPos::Center, VPos::Center);
        let rest = matrix.has_rest.then(|| matrix.counts.len() - 1);
        for (row, counts) in matrix.counts.iter().enumerate() {
            let all = counts.iter().sum::<u64>().max(1) as f64;
            for (column, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let colour = match row == column {
                    true if rest == Some(row) => LINE,
                    true => RIGHT,
                    false => WRONG,
                };
                let seen = FAINTEST + (1.0 - FAINTEST) * count as f64 / all;
                let (x, y) = (self.x(column), self.y(row));
                // Two digits of opacity are all that is seen.
                let style = colour.mix((seen * 100.0).round() / 100.0).filled();
                area.draw(&Rectangle::new([(x, y), (x + side, y + side)], style))?;
                area.draw_text(&short_count(count), &number, (x + side / 2, y + side / 2))?;
            }
        }
        Ok(())
    }

    fn draw_lines(&self, count: u32, area: &Area) -> Drawn {
        let last = count as usize;
        for i in 0..=last {
            area.draw(&PathElement::new([(self.x(i), self.y(0)), (self.x(i), self.y(last))], LINE))?;
            area.draw(&PathElement::new([(self.x(0), self.y(i)), (self.x(last), self.y(i))], LINE))?;
        }
        Ok(())
    }
}
