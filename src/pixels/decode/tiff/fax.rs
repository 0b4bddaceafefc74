//! CCITT codes → rows of black and white, as ITU-T T.4 (groups 2 and 3) and T.6 (group 4) define them.
//!
//! A row is a list of places where its colour changes, beginning with white. A code gives the next
//! change by its distance, in one dimension, or relative to the row above, in two.

use std::sync::LazyLock;

/// How rows are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaxScheme {
    /// Runs only; each row begins with a new unit of so many bits.
    Runs { align_bits: usize },
    /// Group 3: a code ends each row; with `two_dimensional` it says how the next one is coded.
    Group3 { two_dimensional: bool },
    /// Group 4: every row is coded relative to the one above.
    Group4,
}

const BROKEN: &str = "a CCITT code has no meaning";
const ENDS_EARLY: &str = "the CCITT codes end early";

/// Unpacks rows to a bit a pixel; black is 1. Each row begins with a new byte.
///
/// *Errors* when there are fewer rows, or they are not as wide as they should be.
pub fn unpack(packed: &[u8], scheme: FaxScheme, width: usize, rows: usize) -> Result<Vec<u8>, &'static str> {
    let mut bits = FaxBits { packed, at: 0 };
    let row_bytes = width.div_ceil(8);
    let mut unpacked = Vec::new();
    let (mut above, mut row) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        row.clear();
        match scheme {
            FaxScheme::Runs { align_bits } => {
                bits.at = bits.at.next_multiple_of(align_bits);
                read_runs(&mut bits, width, &mut row)?;
            }
            FaxScheme::Group3 { two_dimensional } => {
                bits.skip_end_of_line();
                if two_dimensional && bits.take(1)? == 0 {
                    read_relative(&mut bits, width, &above, &mut row)?;
                } else {
                    read_runs(&mut bits, width, &mut row)?;
                }
            }
            FaxScheme::Group4 => read_relative(&mut bits, width, &above, &mut row)?,
        }
        if bits.at > packed.len() * 8 {
            return Err(ENDS_EARLY);
        }
        let start = unpacked.len();
        unpacked.resize(start + row_bytes, 0);
        let to = unpacked.get_mut(start..).unwrap_or_default();
        for black in row.chunks(2) {
            let end = black.get(1).copied().unwrap_or(width);
            blacken(to, black[0], end);
        }
        std::mem::swap(&mut above, &mut row);
    }
    Ok(unpacked)
}

/// Sets bits from `start` up to `end`.
fn blacken(row: &mut [u8], start: usize, end: usize) {
    let (first, last) = (start / 8, end / 8);
    for (byte, to) in row.iter_mut().enumerate().take(last + 1).skip(first) {
        let after_start = if byte == first { 0xff >> (start % 8) } else { 0xff };
        let before_end = if byte == last { !(0xff_u16 >> (end % 8)) as u8 } else { 0xff };
        *to |= after_start & before_end;
    }
}

/// Reads runs of white and black by turns.
fn read_runs(bits: &mut FaxBits, width: usize, row: &mut Vec<usize>) -> Result<(), &'static str> {
    let (mut x, mut colour) = (0, FaxColour::White);
    while x < width {
        x += bits.run(colour)?;
        if x > width {
            return Err(BROKEN);
        }
        row.push(x);
        colour = colour.other();
    }
    Ok(())
}

/// Reads changes relative to those of the row above.
fn read_relative(
    bits: &mut FaxBits,
    width: usize,
    above: &[usize],
    row: &mut Vec<usize>,
) -> Result<(), &'static str> {
    let (mut x, mut colour) = (0, FaxColour::White);
    // Before the first pixel, so that a change at 0 is to the right of it.
    let mut is_before = true;
    let mut next = 0;
    while x < width {
        // The first change of the row above that is to the right, and to the other colour.
        while next > 0 && above.get(next - 1).is_some_and(|change| *change > x) {
            next -= 1;
        }
        while above.get(next).is_some_and(|change| *change < x || (*change == x && !is_before)) {
            next += 1;
        }
        if next % 2 != colour as usize {
            next += 1;
        }
        let change = |at: usize| above.get(at).copied().unwrap_or(width);
        let (first, second) = (change(next), change(next + 1));
        match bits.mode()? {
            FaxMode::Pass => x = second,
            FaxMode::Runs => {
                for colour in [colour, colour.other()] {
                    x += bits.run(colour)?;
                    row.push(x);
                }
            }
            FaxMode::Change(distance) => {
                let change =
                    first.checked_add_signed(distance).filter(|change| *change >= x).ok_or(BROKEN)?;
                x = change;
                row.push(x);
                colour = colour.other();
            }
        }
        if x > width {
            return Err(BROKEN);
        }
        is_before = false;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaxColour {
    White,
    Black,
}

impl FaxColour {
    fn other(self) -> Self {
        match self {
            Self::White => Self::Black,
            Self::Black => Self::White,
        }
    }
}

/// What the next change is relative to.
enum FaxMode {
    /// The row above has a run here that this one has not.
    Pass,
    /// Two runs follow.
    Runs,
    /// So many pixels to the right of the change above.
    Change(isize),
}

struct FaxBits<'a> {
    packed: &'a [u8],
    /// The next bit, which may be behind the last.
    at: usize,
}

impl FaxBits<'_> {
    /// The next bits, up to 16. Behind the last one are zeros.
    fn peek(&self, count: usize) -> u32 {
        let bytes = (0..3).map(|i| u32::from(self.packed.get(self.at / 8 + i).copied().unwrap_or_default()));
        let bits = bytes.fold(0, |bits, byte| bits << 8 | byte);
        bits >> (24 - self.at % 8 - count) & ((1 << count) - 1)
    }

    fn take(&mut self, count: usize) -> Result<u32, &'static str> {
        let bits = self.peek(count);
        self.at += count;
        if self.at > self.packed.len() * 8 { Err(ENDS_EARLY) } else { Ok(bits) }
    }

    /// Skips the code between rows, with the zeros that may stand before it, if it is next.
    fn skip_end_of_line(&mut self) {
        if self.peek(11) != 0 {
            return;
        }
        let end = self.packed.len() * 8;
        while self.at < end && self.peek(1) == 0 {
            self.at += 1;
        }
        self.at += 1;
    }

    /// A run of any length: codes for multiples of 64, and one for the rest.
    fn run(&mut self, colour: FaxColour) -> Result<usize, &'static str> {
        let codes = match colour {
            FaxColour::White => &CODES.0,
            FaxColour::Black => &CODES.1,
        };
        let mut run = 0;
        loop {
            let (pixels, length) = codes.get(self.peek(LONGEST) as usize).copied().flatten().ok_or(BROKEN)?;
            self.take(length)?;
            run += pixels;
            if pixels < 64 {
                return Ok(run);
            }
        }
    }

    fn mode(&mut self) -> Result<FaxMode, &'static str> {
        let (mode, length) = match self.peek(7) {
            0b1000000.. => (FaxMode::Change(0), 1),
            0b0110000.. => (FaxMode::Change(1), 3),
            0b0100000.. => (FaxMode::Change(-1), 3),
            0b0010000.. => (FaxMode::Runs, 3),
            0b0001000.. => (FaxMode::Pass, 4),
            0b0000110.. => (FaxMode::Change(2), 6),
            0b0000100.. => (FaxMode::Change(-2), 6),
            0b0000011 => (FaxMode::Change(3), 7),
            0b0000010 => (FaxMode::Change(-3), 7),
            0b0000001 => return Err("CCITT's uncompressed mode is not supported"),
            _ => return Err(ENDS_EARLY),
        };
        self.take(length)?;
        Ok(mode)
    }
}

/// Bits of the longest code of a run.
const LONGEST: usize = 13;

/// For each `LONGEST` bits the run they begin with, and the bits of its code.
type FaxCodes = Vec<Option<(usize, usize)>>;

/// The codes of white and of black runs.
static CODES: LazyLock<(FaxCodes, FaxCodes)> = LazyLock::new(|| (codes(WHITE), codes(BLACK)));

/// T.4, tables 2 and 3a: runs of 0 to 63, then of 64, 128 … 1728.
const WHITE: &str = "\
    00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101 \
    101010 101011 0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 0011000 \
    00000010 00000011 00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111 00101000 \
    00101001 00101010 00101011 00101100 00101101 00000100 00000101 00001010 00001011 01010010 01010011 \
    01010100 01010101 00100100 00100101 01011000 01011001 01011010 01011011 01001010 01001011 00110010 \
    00110011 00110100 \
    11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 01100111 011001100 011001101 \
    011010010 011010011 011010100 011010101 011010110 011010111 011011000 011011001 011011010 011011011 \
    010011000 010011001 010011010 011000 010011011";
const BLACK: &str = "\
    0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111 \
    000011000 0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 00000101000 \
    00000010111 00000011000 000011001010 000011001011 000011001100 000011001101 000001101000 000001101001 \
    000001101010 000001101011 000011010010 000011010011 000011010100 000011010101 000011010110 000011010111 \
    000001101100 000001101101 000011011010 000011011011 000001010100 000001010101 000001010110 000001010111 \
    000001100100 000001100101 000001010010 000001010011 000000100100 000000110111 000000111000 000000100111 \
    000000101000 000001011000 000001011001 000000101011 000000101100 000001011010 000001100110 000001100111 \
    0000001111 000011001000 000011001001 000001011011 000000110011 000000110100 000000110101 0000001101100 \
    0000001101101 0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 0000001110011 \
    0000001110100 0000001110101 0000001110110 0000001110111 0000001010010 0000001010011 0000001010100 \
    0000001010101 0000001011010 0000001011011 0000001100100 0000001100101";
/// T.4, table 3b: runs of 1792, 1856 … 2560 of either colour.
const LONG: &str = "\
    00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101 000000010110 \
    000000010111 000000011100 000000011101 000000011110 000000011111";

fn codes(listed: &str) -> FaxCodes {
    let mut codes = vec![None; 1 << LONGEST];
    let listed = listed.split_whitespace().chain(LONG.split_whitespace());
    for (place, code) in listed.enumerate() {
        let run = if place < 64 { place } else { (place - 63) * 64 };
        let bits = code.bytes().fold(0, |bits, digit| bits << 1 | usize::from(digit == b'1'));
        let rest = LONGEST - code.len();
        codes[bits << rest..(bits + 1) << rest].fill(Some((run, code.len())));
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_begins_with_another() {
        for listed in [WHITE, BLACK] {
            let all: Vec<&str> = listed.split_whitespace().chain(LONG.split_whitespace()).collect();
            assert_eq!(all.len(), 64 + 40);
            for (i, code) in all.iter().enumerate() {
                assert!(
                    all.iter().enumerate().all(|(j, other)| i == j || !other.starts_with(code)),
                    "{code}"
                );
            }
        }
    }

    #[test]
    fn rows_relative_to_the_one_above_are_put_together() {
        // White 2 (0111), black 3 (10), then a change at the end; the next row: one to the right, none.
        let packed = [0b0010_1111, 0b0101_1110, 0b0000_0000];
        let rows = unpack(&packed, FaxScheme::Group4, 8, 2).unwrap();
        assert_eq!(rows, [0b0011_1000, 0b0001_1000]);
    }

    #[test]
    fn what_is_missing_or_too_wide_is_an_error() {
        for scheme in [
            FaxScheme::Runs { align_bits: 8 },
            FaxScheme::Group3 { two_dimensional: false },
            FaxScheme::Group4,
        ] {
            assert!(unpack(&[], scheme, 8, 1).is_err(), "{scheme:?}");
            // A white run of 9.
            assert!(unpack(&[0b0011_0100, 0b1010_0000], scheme, 8, 1).is_err(), "{scheme:?}");
        }
    }
}
