//! Coded bits → all coefficients of a block, in one go (T.81 F.2).

use super::bits::{Bits, Position};
use super::coefficients::{Blocks, CoefficientBlock};
use super::huffman::{AcKind, AcSymbols, Symbols};
use super::intervals::{Interval, Intervals};
use super::scan::{Scan, ScanComponent};
use super::tables::Tables;
use super::{Broken, ENDS_EARLY, JpegError};
use std::ops::Range;

pub const NO_TABLE: JpegError = Broken("a scan uses a Huffman table that is not there");
pub const PAST_BLOCK: JpegError = Broken("a run of coefficients goes past its block");
const OUTSIDE: JpegError = Broken("a scan goes past the picture");

/// A way of coding coefficients.
pub trait BlockDecoder {
    /// Whether libjpeg leaves blocks empty when their data are lost, instead of making them up.
    const LEAVES_LOST_EMPTY: bool;

    /// Decodes units of a row, `columns`, from the coded bytes of an interval.
    fn decode_units(
        &mut self,
        coded: &[u8],
        scan: &Scan,
        row: usize,
        columns: Range<usize>,
        blocks: &mut [Blocks],
    ) -> Result<(), JpegError>;

    /// Forgets what the interval before left behind.
    fn restart(&mut self);

    /// Whether more was decoded than is there.
    fn is_past_end(&self, coded: &[u8]) -> bool;

    /// Coded bytes that were not used.
    fn bytes_left(&self, coded: &[u8]) -> usize;
}

/// Goes through a scan, row by row and interval by interval.
pub struct ScanReader<'a, D> {
    decoder: D,
    intervals: Intervals<'a>,
    coded: Vec<u8>,
    restart_interval: usize,
    /// Units until the next restart.
    until_restart: usize,
    /// Lost intervals since the last that was found.
    lost: Option<Lost>,
}

/// What libjpeg makes of an interval whose data are lost: one unit of zero bits, then nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    First,
    Others,
}

impl<'a, D: BlockDecoder> ScanReader<'a, D> {
    /// Begins a scan whose coded data begin at `at`.
    pub fn new(decoder: D, bytes: &'a [u8], at: usize, restart_interval: u32) -> Self {
        let mut coded = Vec::new();
        let intervals = Intervals::new(bytes, at, &mut coded);
        let restart_interval = restart_interval as usize;
        let until_restart = if restart_interval == 0 { usize::MAX } else { restart_interval };
        Self { decoder, intervals, coded, restart_interval, until_restart, lost: None }
    }

    /// Decodes the next row of units, to row `row` of `blocks`.
    ///
    /// *Errors* when the data are not what they should be, or less.
    pub fn decode_row(&mut self, scan: &Scan, row: usize, blocks: &mut [Blocks]) -> Result<(), JpegError> {
        let mut column = 0;
        while column < scan.wide {
            if self.until_restart == 0 {
                self.until_restart = self.restart_interval;
                self.decoder.restart();
                self.lost = match self.intervals.restart(&mut self.coded)? {
                    Interval::Coded => None,
                    Interval::Lost if D::LEAVES_LOST_EMPTY => self.lost.or(Some(Lost::First)),
                    Interval::Lost => return Err(Broken("a restart marker is missing")),
                };
            }
            let end = column + self.until_restart.min(scan.wide - column);
            self.until_restart -= end - column;
            match self.lost {
                None => {
                    self.decoder.decode_units(&self.coded, scan, row, column..end, blocks)?;
                    if self.decoder.is_past_end(&self.coded) {
                        return Err(ENDS_EARLY);
                    }
                }
                Some(Lost::First) => {
                    self.decoder.decode_units(&self.coded, scan, row, column..column + 1, blocks)?;
                    self.lost = Some(Lost::Others);
                }
                Some(Lost::Others) => {}
            }
            column = end;
        }
        Ok(())
    }

    /// Where the segment after the scan begins.
    pub fn end(&self) -> usize {
        self.intervals.end()
    }

    /// Whether the file goes on after the scan: with a marker, or with what was not decoded.
    pub fn goes_on(&self) -> bool {
        // libjpeg looks this many bytes ahead.
        const AHEAD: usize = 8;
        self.intervals.is_ended_by_marker() || self.decoder.bytes_left(&self.coded) >= AHEAD
    }
}

/// Calls `decode` with each block of units of a row, and with the number of its component in the scan.
#[inline(always)]
pub fn for_each_block(
    scan: &Scan,
    row: usize,
    columns: Range<usize>,
    blocks: &mut [Blocks],
    mut decode: impl FnMut(usize, &mut CoefficientBlock) -> Result<(), JpegError>,
) -> Result<(), JpegError> {
    for column in columns {
        for (i, &ScanComponent { index, h, v, .. }) in scan.components.iter().enumerate() {
            let blocks = blocks.get_mut(index).ok_or(OUTSIDE)?;
            for y in 0..v {
                for x in 0..h {
                    let mut block = blocks.block(row * v + y, column * h + x).ok_or(OUTSIDE)?;
                    decode(i, &mut block)?;
                }
            }
        }
    }
    Ok(())
}

/// Huffman codes, all of a block in one go.
pub struct Sequential {
    /// For each component of the scan.
    components: Vec<(Symbols, AcSymbols)>,
    predictors: [i32; 4],
    position: Position,
}

impl Sequential {
    /// *Errors* when a table is missing or not possible.
    pub fn new(scan: &Scan, tables: &Tables) -> Result<Self, JpegError> {
        let of = |component: &ScanComponent| {
            let dc = tables.dc.get(component.dc).and_then(Option::as_ref).ok_or(NO_TABLE)?;
            let ac = tables.ac.get(component.ac).and_then(Option::as_ref).ok_or(NO_TABLE)?;
            Ok((Symbols::new(dc)?, AcSymbols::new(ac)?))
        };
        let components = scan.components.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Self { components, predictors: [0; 4], position: Position::default() })
    }
}

impl BlockDecoder for Sequential {
    const LEAVES_LOST_EMPTY: bool = true;

    fn decode_units(
        &mut self,
        coded: &[u8],
        scan: &Scan,
        row: usize,
        columns: Range<usize>,
        blocks: &mut [Blocks],
    ) -> Result<(), JpegError> {
        let mut bits = Bits::new(coded, self.position);
        let mut predictors = self.predictors;
        let components = &self.components;
        for_each_block(scan, row, columns, blocks, |i, block| {
            let (dc, ac) = components.get(i).ok_or(OUTSIDE)?;
            let predictor = &mut predictors[i % 4];
            *predictor += dc_difference(dc, &mut bits)?;
            block.set(0, i16::try_from(*predictor).map_err(|_| DC_TOO_LARGE)?);
            decode_ac(ac, &mut bits, block)
        })?;
        self.predictors = predictors;
        self.position = bits.position();
        Ok(())
    }

    fn restart(&mut self) {
        self.predictors = [0; 4];
        self.position = Position::default();
    }

    fn is_past_end(&self, coded: &[u8]) -> bool {
        Bits::new(coded, self.position).is_past_end()
    }

    fn bytes_left(&self, coded: &[u8]) -> usize {
        Bits::new(coded, self.position).bytes_left()
    }
}

pub const DC_TOO_LARGE: JpegError = Broken("a block is brighter than any can be");

/// The difference to the DC coefficient before (T.81 F.2.2.1).
#[inline(always)]
pub fn dc_difference(table: &Symbols, bits: &mut Bits) -> Result<i32, JpegError> {
    let size = table.take(bits)?;
    if size > 15 {
        return Err(Broken("a Huffman table has symbols that mean nothing"));
    }
    Ok(bits.value(size.into()))
}

/// The other coefficients (T.81 F.2.2.2).
#[inline(always)]
fn decode_ac(table: &AcSymbols, bits: &mut Bits, block: &mut CoefficientBlock) -> Result<(), JpegError> {
    let mut k = 1;
    while k < 64 {
        let mut next = table.peek(bits);
        if next.kind == AcKind::Long {
            next = table.take_long(bits)?;
        } else {
            bits.take(next.bits.into());
        }
        match next.kind {
            AcKind::EndOfBlock => break,
            AcKind::ValueFollows => next.value = bits.value(next.size.into()) as i16,
            AcKind::Value | AcKind::Long => {}
        }
        k += usize::from(next.run);
        if k > 63 {
            return Err(PAST_BLOCK);
        }
        block.set(k, next.value);
        k += 1;
    }
    block.reach(k as u8 - 1);
    Ok(())
}
