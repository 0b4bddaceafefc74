//! A scan header → which components a scan has, and which part of their coefficients.

use super::frame::{Frame, Passes};
use super::{Broken, JpegError};
use std::ops::RangeInclusive;

/// What a scan header says.
#[derive(Debug, Clone)]
pub struct Scan {
    pub components: Vec<ScanComponent>,
    /// The coefficients sent, in zigzag order.
    pub band: RangeInclusive<u8>,
    /// The bit that was sent before, if this scan refines it.
    pub refines: bool,
    /// The lowest bit that is sent.
    pub low_bit: u8,
    /// Minimum coded units in a row, and rows.
    pub wide: usize,
    pub high: usize,
}

/// A component in a scan.
#[derive(Debug, Clone, Copy)]
pub struct ScanComponent {
    /// Its place in the frame.
    pub index: usize,
    /// Blocks in a minimum coded unit.
    pub h: usize,
    pub v: usize,
    /// The numbers of its tables.
    pub dc: usize,
    pub ac: usize,
}

impl Scan {
    /// Reads the segment of a start-of-scan marker.
    ///
    /// *Errors* when it is not made as T.81 B.2.3 wants it.
    pub fn read(body: &[u8], frame: &Frame) -> Result<Self, JpegError> {
        const LENGTH: JpegError = Broken("a scan header is of the wrong length");
        let (count, rest) = body.split_first().ok_or(LENGTH)?;
        let (listed, band) = rest.split_at_checked(usize::from(*count) * 2).ok_or(LENGTH)?;
        let [first, last, bits] = *band else { return Err(LENGTH) };
        if !(1..=4).contains(count) {
            return Err(Broken("a scan has no valid number of channels"));
        }
        let mut components = Vec::<ScanComponent>::new();
        for [id, tables] in listed.as_chunks().0.iter().copied() {
            // Files exist that give all components the same id.
            let is_free = |index: usize| components.iter().all(|component| component.index != index);
            let mut places = frame.components.iter().enumerate();
            let (index, component) = places
                .find(|(index, component)| component.id == id && is_free(*index))
                .ok_or(Broken("a scan has a channel that is not in the picture"))?;
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            components.push(ScanComponent { index, h: component.h, v: component.v, dc, ac });
        }
        let (mut wide, mut high) = (frame.mcus_wide(), frame.mcus_high());
        if let [only] = &mut components[..] {
            // Alone, a component is sent without the blocks that fill up units.
            let component = frame.components.get(only.index).ok_or(LENGTH)?;
            (wide, high) = (component.blocks_wide(), component.blocks_high());
            (only.h, only.v) = (1, 1);
        }
        if components.iter().map(|component| component.h * component.v).sum::<usize>() > 10 {
            return Err(Broken("a scan has more than 10 blocks in a unit"));
        }
        let (high_bit, low_bit) = (bits >> 4, bits & 15);
        let mut scan = Self { components, band: first..=last, refines: high_bit > 0, low_bit, wide, high };
        match frame.passes {
            // These files do not need the numbers, and some have odd ones.
            Passes::Sequential => (scan.band, scan.refines, scan.low_bit) = (0..=63, false, 0),
            Passes::Progressive => {
                let is_band = if first == 0 { last == 0 } else { first <= last && last < 64 && *count == 1 };
                if !is_band || low_bit > 13 || (scan.refines && high_bit != low_bit + 1) {
                    return Err(Broken("a scan sends no valid part of the coefficients"));
                }
            }
        }
        Ok(scan)
    }
}
