//! Numbers → drawings, as SVG that stands in the page.
//!
//! The page's policy allows no styles in elements, and a drawing is to be read in light and dark. So each
//! colour here is the name of a role, and the style sheet says what it looks like; without the style sheet
//! it is itself.

mod matrix;
mod reliability;

pub use matrix::ConfusionMatrix;
pub use reliability::{Reliability, ReliabilityBar};

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Text and what is measured.
pub(super) const INK: RGBColor = RGBColor(0x1b, 0x1c, 0x1e);
/// What explains.
pub(super) const FAINT: RGBColor = RGBColor(0x66, 0x68, 0x6c);
/// What parts.
pub(super) const LINE: RGBColor = RGBColor(0xdc, 0xdc, 0xd8);
/// An area of what is right.
pub(super) const RIGHT: RGBColor = RGBColor(0x6f, 0xa3, 0xe0);
/// An area of what is wrong.
pub(super) const WRONG: RGBColor = RGBColor(0xf0, 0x93, 0x8a);

/// All of them.
#[cfg(test)]
pub(super) const COLOURS: [RGBColor; 5] = [INK, FAINT, LINE, RIGHT, WRONG];

/// Width of a cell of text compared with its size, in most fonts without serifs.
const CELL: f64 = 0.6;

/// Where shapes are drawn, by pixels.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What drawing may fail with.
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A drawing of a size.
fn svg(size_px: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> Result<String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size_px).into_drawing_area();
    draw(&area).and_then(|()| area.present()).context("cannot draw a chart")?;
    drop(area);
    Ok(text)
}

/// Text of a size, which plotters counts in its own way.
fn text(size_px: f64, colour: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    const POINTS: f64 = 1.24;
    ("sans-serif", size_px * POINTS).into_font().color(&colour).pos(Pos::new(horizontal, vertical))
}

/// About how wide a text is.
fn width_px(text: &str, size_px: f64) -> f64 {
    text.width() as f64 * CELL * size_px
}

/// A name that is at most so many cells wide, and what it lost.
fn shortened(name: &str, most_cells: usize) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    if name.width() <= most_cells {
        return name;
    }
    let mut cells = 1;
    let fits = |c: &char| {
        cells += c.width().unwrap_or(0);
        cells <= most_cells
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

/// A count in few digits.
fn short_count(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..9_950 => format!("{:.1}k", count as f64 / 1e3),
        9_950..999_500 => format!("{:.0}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_too_long_are_cut_by_their_width() {
        assert_eq!(shortened("a cat", 5), "a cat");
        assert_eq!(shortened("a kitten", 5), "a ki…");
        assert_eq!(shortened("猫猫猫", 5), "猫猫…");
        assert_eq!(shortened("a\u{1b}b", 5), "ab");
    }

    #[test]
    fn counts_have_few_digits() {
        let counts = [0, 999, 1_049, 9_949, 9_950, 12_345, 999_499, 999_500, 2_000_000];
        let told = ["0", "999", "1.0k", "9.9k", "10k", "12k", "999k", "1.0M", "2.0M"];
        assert_eq!(counts.map(short_count), told);
    }
}
