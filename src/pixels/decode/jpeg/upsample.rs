//! The lines of a component → a row as wide as the picture, as libjpeg's "fancy" upsampling makes it.
//!
//! Half as many samples are stretched with a triangle filter, three quarters of the nearer sample and one
//! of the farther, which is rounded up and down by turns. In all other ratios samples are repeated.

use super::frame::{Component, Frame};

/// How the samples of a component become those of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// How many pixels a sample is wide and high.
    pub wide: usize,
    pub high: usize,
    filter: UpsampleFilter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UpsampleFilter {
    Repeat,
    /// A triangle along the row, down the column, or both.
    Wide,
    High,
    Both,
}

impl Stretch {
    pub fn of(component: &Component, frame: &Frame) -> Self {
        let (wide, high) = (frame.max_h / component.h, frame.max_v / component.v);
        // Two samples are too few for libjpeg's filter along the row.
        let filter = match (wide, high) {
            (2, 1) if component.width > 2 => UpsampleFilter::Wide,
            (2, 2) if component.width > 2 => UpsampleFilter::Both,
            (1, 2) => UpsampleFilter::High,
            _ => UpsampleFilter::Repeat,
        };
        Self { wide, high, filter }
    }

    /// Which line row `y` of the picture is mostly made of, and which it takes a quarter of, if any: that
    /// may be the line before the first or after the last one, for which these stand.
    pub fn lines(&self, y: usize, lines: usize) -> (usize, Option<usize>) {
        let near = y / self.high;
        let far = match self.filter {
            UpsampleFilter::Repeat | UpsampleFilter::Wide => None,
            _ if y.is_multiple_of(2) => Some(near.saturating_sub(1)),
            _ => Some((near + 1).min(lines.saturating_sub(1))),
        };
        (near, far)
    }

    /// Makes row `y` of the picture from its lines, which may be longer than the component is wide.
    /// Returns `near` itself where it is the row.
    #[inline(always)]
    pub fn row<'a>(
        &self,
        y: usize,
        near: &'a [u8],
        far: Option<&[u8]>,
        sums: &'a mut Vec<u16>,
        row: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        row.resize(near.len() * self.wide, 0);
        match (self.filter, far) {
            (UpsampleFilter::Wide, _) => stretch_wide(near, row),
            (UpsampleFilter::High, Some(far)) => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                for ((to, near), far) in row.iter_mut().zip(near).zip(far) {
                    *to = ((3 * u16::from(*near) + u16::from(*far) + bias) >> 2) as u8;
                }
            }
            (UpsampleFilter::Both, Some(far)) => {
                sums.clear();
                sums.extend(near.iter().zip(far).map(|(near, far)| 3 * u16::from(*near) + u16::from(*far)));
                stretch_sums(sums, row);
            }
            _ if self.wide == 1 => return near,
            _ => {
                for (to, from) in row.chunks_exact_mut(self.wide).zip(near) {
                    to.fill(*from);
                }
            }
        }
        row
    }
}

#[inline(always)]
fn stretch_wide(from: &[u8], to: &mut [u8]) {
    let (pairs, _) = to.as_chunks_mut::<2>();
    let middle = pairs.iter_mut().skip(1);
    let before = from.iter();
    let (at, after) = (from.iter().skip(1), from.iter().skip(2));
    for (((pair, before), at), after) in middle.zip(before).zip(at).zip(after) {
        let near = 3 * u16::from(*at);
        *pair = [((near + u16::from(*before) + 1) >> 2) as u8, ((near + u16::from(*after) + 2) >> 2) as u8];
    }
    // The picture goes on beyond its sides as it is there.
    let ends = |at: u8, inside: u8, bias: u16| ((3 * u16::from(at) + u16::from(inside) + bias) >> 2) as u8;
    if let ([first, second, ..], [pair, ..]) = (from, &mut *pairs) {
        *pair = [*first, ends(*first, *second, 2)];
    }
    if let ([.., second, last], [.., pair]) = (from, pairs) {
        *pair = [ends(*last, *second, 1), *last];
    }
}

/// From sums of four.
#[inline(always)]
fn stretch_sums(from: &[u16], to: &mut [u8]) {
    let (pairs, _) = to.as_chunks_mut::<2>();
    let middle = pairs.iter_mut().skip(1);
    let (at, after) = (from.iter().skip(1), from.iter().skip(2));
    for (((pair, before), at), after) in middle.zip(from).zip(at).zip(after) {
        *pair = [((3 * at + before + 8) >> 4) as u8, ((3 * at + after + 7) >> 4) as u8];
    }
    if let ([first, second, ..], [pair, ..]) = (from, &mut *pairs) {
        *pair = [((4 * first + 8) >> 4) as u8, ((3 * first + second + 7) >> 4) as u8];
    }
    if let ([.., second, last], [.., pair]) = (from, pairs) {
        *pair = [((3 * last + second + 8) >> 4) as u8, ((4 * last + 7) >> 4) as u8];
    }
}
