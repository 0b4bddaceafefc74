//! Coded bits → a part of a block's coefficients: Huffman codes in progressive files (T.81 G.1.2, G.2).

use super::bits::{Bits, Position};
use super::coefficients::{Blocks, CoefficientBlock};
use super::huffman::Symbols;
use super::scan::{Scan, ScanComponent};
use super::sequential::{BlockDecoder, DC_TOO_LARGE, NO_TABLE, PAST_BLOCK, dc_difference, for_each_block};
use super::tables::Tables;
use super::{Broken, JpegError};
use std::ops::Range;

/// Huffman codes of one scan.
pub struct Progressive {
    /// The table of each component; none is needed to refine DC coefficients.
    tables: Vec<Symbols>,
    predictors: [i32; 4],
    /// Blocks, this one included, that have no further coefficients in this scan.
    ended: u32,
    position: Position,
}

impl Progressive {
    /// *Errors* when a table is missing or not possible.
    pub fn new(scan: &Scan, tables: &Tables) -> Result<Self, JpegError> {
        let is_dc = *scan.band.start() == 0;
        let of = |component: &ScanComponent| {
            let code = if is_dc { tables.dc.get(component.dc) } else { tables.ac.get(component.ac) };
            Symbols::new(code.and_then(Option::as_ref).ok_or(NO_TABLE)?)
        };
        let components = if is_dc && scan.refines { &[] } else { &scan.components[..] };
        let tables = components.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Self { tables, predictors: [0; 4], ended: 0, position: Position::default() })
    }
}

impl BlockDecoder for Progressive {
    const LEAVES_LOST_EMPTY: bool = true;

    fn decode_units(
        &mut self,
        coded: &[u8],
        scan: &Scan,
        row: usize,
        columns: Range<usize>,
        blocks: &mut [Blocks],
    ) -> Result<(), JpegError> {
        let bits = &mut Bits::new(coded, self.position);
        let Self { tables, predictors, ended, .. } = self;
        let low_bit = scan.low_bit;
        let band = usize::from(*scan.band.start())..usize::from(*scan.band.end()) + 1;
        match (band.start == 0, scan.refines) {
            (true, false) => for_each_block(scan, row, columns, blocks, |i, block| {
                let predictor = &mut predictors[i % 4];
                *predictor += dc_difference(tables.get(i).ok_or(NO_TABLE)?, bits)?;
                let value = i16::try_from(*predictor).map_err(|_| DC_TOO_LARGE)?;
                block.set(0, i16::try_from(i32::from(value) << low_bit).map_err(|_| DC_TOO_LARGE)?);
                Ok(())
            }),
            (true, true) => for_each_block(scan, row, columns, blocks, |_, block| {
                block.set(0, block.get(0) | i16::from(bits.bit()) << low_bit);
                Ok(())
            }),
            (false, true) => {
                let table = tables.first().ok_or(NO_TABLE)?;
                for_each_block(scan, row, columns, blocks, |_, block| {
                    refine_ac(table, bits, ended, band.clone(), low_bit, block)
                })
            }
            (false, false) => {
                let table = tables.first().ok_or(NO_TABLE)?;
                let mut column = columns.start;
                loop {
                    // Blocks that have nothing are not even looked at.
                    let skipped = (*ended as usize).min(columns.end - column);
                    *ended -= skipped as u32;
                    column += skipped;
                    if column >= columns.end {
                        break Ok(());
                    }
                    for_each_block(scan, row, column..column + 1, blocks, |_, block| {
                        decode_ac(table, bits, ended, band.clone(), low_bit, block)
                    })?;
                    column += 1;
                }
            }
        }?;
        self.position = bits.position();
        Ok(())
    }

    fn restart(&mut self) {
        (self.predictors, self.ended, self.position) = Default::default();
    }

    fn is_past_end(&self, coded: &[u8]) -> bool {
        Bits::new(coded, self.position).is_past_end()
    }

    fn bytes_left(&self, coded: &[u8]) -> usize {
        Bits::new(coded, self.position).bytes_left()
    }
}

/// What a symbol of an AC scan says.
enum Run {
    /// So many zeros, then a value of a size.
    Zeros(usize, u8),
    /// So many blocks end here.
    Blocks(u32),
}

#[inline(always)]
fn take_run(table: &Symbols, bits: &mut Bits) -> Result<Run, JpegError> {
    let symbol = table.take(bits)?;
    Ok(match (symbol >> 4, symbol & 15) {
        (run @ ..15, 0) => Run::Blocks((1 << run) + bits.number(run.into())),
        (run, size) => Run::Zeros(run.into(), size),
    })
}

/// The first bits of AC coefficients.
#[inline(always)]
fn decode_ac(
    table: &Symbols,
    bits: &mut Bits,
    ended: &mut u32,
    band: Range<usize>,
    low_bit: u8,
    block: &mut CoefficientBlock,
) -> Result<(), JpegError> {
    let mut k = band.start;
    while k < band.end {
        match take_run(table, bits)? {
            Run::Blocks(count) => {
                *ended = count - 1;
                break;
            }
            Run::Zeros(run, size) => {
                let value = bits.value(size.into());
                k += run;
                if k > 63 {
                    return Err(PAST_BLOCK);
                }
                if size > 0 {
                    block.set(k, (value << low_bit) as i16);
                    block.reach(k as u8);
                }
                k += 1;
            }
        }
    }
    Ok(())
}

/// One more bit of AC coefficients, and those that it makes differ from 0.
#[inline(always)]
fn refine_ac(
    table: &Symbols,
    bits: &mut Bits,
    ended: &mut u32,
    band: Range<usize>,
    low_bit: u8,
    block: &mut CoefficientBlock,
) -> Result<(), JpegError> {
    let bit = 1 << low_bit;
    let mut k = band.start;
    while *ended == 0 && k < band.end {
        let (mut zeros, value) = match take_run(table, bits)? {
            Run::Blocks(count) => {
                *ended = count;
                break;
            }
            Run::Zeros(run, 0) => (run, 0),
            Run::Zeros(run, 1) => (run, if bits.bit() { bit } else { -bit }),
            Run::Zeros(..) => return Err(Broken("a new coefficient has more than one bit")),
        };
        while k < band.end {
            if block.get(k) != 0 {
                refine(bits, bit, k, block);
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            k += 1;
        }
        if value != 0 {
            if k >= band.end {
                return Err(PAST_BLOCK);
            }
            block.set(k, value);
            block.reach(k as u8);
        }
        k += 1;
    }
    if *ended > 0 {
        // Beyond this one there is nothing to refine.
        let end = band.end.min(usize::from(*block.last) + 1);
        for k in k..end {
            if block.get(k) != 0 {
                refine(bits, bit, k, block);
            }
        }
        *ended -= 1;
    }
    Ok(())
}

/// Takes the next bit of a coefficient that differs from 0.
#[inline(always)]
fn refine(bits: &mut Bits, bit: i16, k: usize, block: &mut CoefficientBlock) {
    let value = block.get(k);
    if bits.bit() && value & bit == 0 {
        block.set(k, value.wrapping_add(if value < 0 { -bit } else { bit }));
    }
}
