//! Decisions of the arithmetic decoder → coefficients (T.81 F.2.4, G.2): which bin each is made with.

use super::arithmetic::{Bin, Conditioning, Decoder};
use super::coefficients::{Blocks, CoefficientBlock};
use super::scan::Scan;
use super::sequential::{BlockDecoder, DC_TOO_LARGE, PAST_BLOCK, for_each_block};
use super::{Broken, JpegError};
use std::ops::Range;

const TOO_LARGE: JpegError = Broken("an arithmetic code goes beyond all coefficients");

/// Bins of the DC coefficients of a table, and of its AC coefficients.
type DcBins = [Bin; 64];
type AcBins = [Bin; 256];

/// Arithmetic codes of one scan, sequential or progressive.
pub struct Arithmetic {
    conditioning: Conditioning,
    /// Under the numbers of the tables.
    dc: [DcBins; 16],
    ac: [AcBins; 16],
    predictors: [i32; 4],
    /// The bins that the last difference of each component leads to.
    contexts: [usize; 4],
    /// None at the beginning of an interval.
    decoder: Option<Decoder>,
}

impl Arithmetic {
    pub fn new(conditioning: &Conditioning) -> Self {
        Self {
            conditioning: conditioning.clone(),
            dc: [[Bin::default(); 64]; 16],
            ac: [[Bin::default(); 256]; 16],
            predictors: [0; 4],
            contexts: [0; 4],
            decoder: None,
        }
    }
}

impl BlockDecoder for Arithmetic {
    const LEAVES_LOST_EMPTY: bool = false;

    fn decode_units(
        &mut self,
        coded: &[u8],
        scan: &Scan,
        row: usize,
        columns: Range<usize>,
        blocks: &mut [Blocks],
    ) -> Result<(), JpegError> {
        let mut decoder = self.decoder.unwrap_or_else(|| Decoder::new(coded));
        let decisions = &mut Decisions { decoder: &mut decoder, coded };
        let low_bit = scan.low_bit;
        let (first, last) = (usize::from(*scan.band.start()), usize::from(*scan.band.end()));
        for_each_block(scan, row, columns, blocks, |i, block| {
            let component = scan.components.get(i).ok_or(TOO_LARGE)?;
            if first == 0 && scan.refines {
                block.set(0, block.get(0) | i16::from(decisions.even()) << low_bit);
                return Ok(());
            }
            if first == 0 {
                let bins = &mut self.dc[component.dc % 16];
                let context = &mut self.contexts[i % 4];
                let predictor = &mut self.predictors[i % 4];
                *predictor +=
                    dc_difference(decisions, bins, context, self.conditioning.dc[component.dc % 16])?;
                let value = i16::try_from(*predictor).map_err(|_| DC_TOO_LARGE)?;
                block.set(0, i16::try_from(i32::from(value) << low_bit).map_err(|_| DC_TOO_LARGE)?);
            }
            if last > 0 {
                let bins = &mut self.ac[component.ac % 16];
                let band = first.max(1)..last + 1;
                if scan.refines {
                    refine_ac(decisions, bins, band, low_bit, block)?;
                } else {
                    let low = usize::from(self.conditioning.ac[component.ac % 16]);
                    decode_ac(decisions, bins, low, band, low_bit, block)?;
                }
            }
            Ok(())
        })?;
        self.decoder = Some(decoder);
        Ok(())
    }

    fn restart(&mut self) {
        self.dc = [[Bin::default(); 64]; 16];
        self.ac = [[Bin::default(); 256]; 16];
        self.predictors = [0; 4];
        self.contexts = [0; 4];
        self.decoder = None;
    }

    fn is_past_end(&self, coded: &[u8]) -> bool {
        self.decoder.is_some_and(|decoder| decoder.is_past_end(coded))
    }

    fn bytes_left(&self, coded: &[u8]) -> usize {
        self.decoder.map_or(coded.len(), |decoder| decoder.bytes_left(coded))
    }
}

/// A decoder with what it decodes.
struct Decisions<'a> {
    decoder: &'a mut Decoder,
    coded: &'a [u8],
}

impl Decisions<'_> {
    #[inline]
    fn next(&mut self, bins: &mut [Bin], bin: usize) -> Result<bool, JpegError> {
        Ok(self.decoder.decode(self.coded, bins.get_mut(bin).ok_or(TOO_LARGE)?))
    }

    /// A decision that is as likely as not.
    #[inline]
    fn even(&mut self) -> bool {
        let mut bin = Bin::EVEN;
        self.decoder.decode(self.coded, &mut bin)
    }

    /// The highest bit of a magnitude: doubled as long as the decisions of the bins from `bin` on say so.
    /// Returns it with the bin that stopped it (T.81 figure F.23).
    fn double(
        &mut self,
        bins: &mut [Bin],
        mut bin: usize,
        mut high_bit: i32,
    ) -> Result<(i32, usize), JpegError> {
        while self.next(bins, bin)? {
            high_bit <<= 1;
            if high_bit == 0x8000 {
                return Err(TOO_LARGE);
            }
            bin += 1;
        }
        Ok((high_bit, bin))
    }

    /// A magnitude of which the highest bit is known, from 0 on (T.81 figure F.24).
    fn magnitude(&mut self, bins: &mut [Bin], bin: usize, high_bit: i32) -> Result<i32, JpegError> {
        let (mut magnitude, mut bit) = (high_bit, high_bit >> 1);
        while bit > 0 {
            if self.next(bins, bin + 14)? {
                magnitude |= bit;
            }
            bit >>= 1;
        }
        Ok(magnitude)
    }
}

/// The difference to the DC coefficient before (T.81 F.1.4.1, F.1.4.4.1).
fn dc_difference(
    decisions: &mut Decisions,
    bins: &mut DcBins,
    context: &mut usize,
    (lower, upper): (u8, u8),
) -> Result<i32, JpegError> {
    let start = std::mem::take(context);
    if !decisions.next(bins, start)? {
        return Ok(0);
    }
    let is_negative = decisions.next(bins, start + 1)?;
    let sign_bin = start + 2 + usize::from(is_negative);
    let (high_bit, bin) =
        if decisions.next(bins, sign_bin)? { decisions.double(bins, 20, 1)? } else { (0, sign_bin) };
    if high_bit > (1 << upper) >> 1 {
        *context = 12 + 4 * usize::from(is_negative);
    } else if high_bit >= (1 << lower) >> 1 {
        *context = 4 + 4 * usize::from(is_negative);
    }
    let magnitude = decisions.magnitude(bins, bin, high_bit)? + 1;
    Ok(if is_negative { -magnitude } else { magnitude })
}

/// AC coefficients, or their first bits (T.81 F.1.4.2, F.1.4.4.2). Those up to `low` are expected smaller.
fn decode_ac(
    decisions: &mut Decisions,
    bins: &mut AcBins,
    low: usize,
    band: Range<usize>,
    low_bit: u8,
    block: &mut CoefficientBlock,
) -> Result<(), JpegError> {
    let mut k = band.start;
    while k < band.end {
        if decisions.next(bins, 3 * k - 3)? {
            break;
        }
        while !decisions.next(bins, 3 * k - 2)? {
            k += 1;
            if k >= band.end {
                return Err(PAST_BLOCK);
            }
        }
        let is_negative = decisions.even();
        let bin = 3 * k - 1;
        let (high_bit, bin) = if !decisions.next(bins, bin)? {
            (0, bin)
        } else if !decisions.next(bins, bin)? {
            (1, bin)
        } else {
            decisions.double(bins, if k <= low { 189 } else { 217 }, 2)?
        };
        let magnitude = decisions.magnitude(bins, bin, high_bit)? + 1;
        let value = if is_negative { -magnitude } else { magnitude };
        block.set(k, (value << low_bit) as i16);
        block.reach(k as u8);
        k += 1;
    }
    Ok(())
}

/// One more bit of AC coefficients, and those that it makes differ from 0 (T.81 G.1.3.3).
fn refine_ac(
    decisions: &mut Decisions,
    bins: &mut AcBins,
    band: Range<usize>,
    low_bit: u8,
    block: &mut CoefficientBlock,
) -> Result<(), JpegError> {
    let bit = 1i16 << low_bit;
    // The block did not end before its last coefficient.
    let known = (0..band.end).rev().find(|k| block.get(*k) != 0 || *k == 0).unwrap_or_default();
    let mut k = band.start;
    while k < band.end {
        if k > known && decisions.next(bins, 3 * k - 3)? {
            break;
        }
        loop {
            let value = block.get(k);
            if value != 0 {
                if decisions.next(bins, 3 * k - 1)? {
                    block.set(k, value.wrapping_add(if value < 0 { -bit } else { bit }));
                }
                break;
            }
            if decisions.next(bins, 3 * k - 2)? {
                block.set(k, if decisions.even() { -bit } else { bit });
                block.reach(k as u8);
                break;
            }
            k += 1;
            if k >= band.end {
                return Err(PAST_BLOCK);
            }
        }
        k += 1;
    }
    Ok(())
}
