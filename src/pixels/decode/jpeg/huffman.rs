//! Huffman codes as a file lists them → tables to decode with, and the codes of T.81 annex K, which
//! cameras that film in JPEGs leave out.

use super::bits::{Bits, extend};
use super::{Broken, JpegError};

/// Codes up to this length are found with one look.
const SHORT: u32 = 10;

/// A code as a DHT segment lists it: how many codes there are of each length, and their symbols.
#[derive(Debug, Clone)]
pub struct Code {
    pub counts: [u8; 16],
    pub symbols: Vec<u8>,
}

impl Code {
    fn known(counts: [u8; 16], symbols: &[u8]) -> Self {
        Self { counts, symbols: symbols.to_vec() }
    }
}

/// Decodes symbols.
#[derive(Debug, Clone)]
pub struct Symbols {
    /// By the next bits: the length of the code (none: 0), and its symbol.
    short: [(u8, u8); 1 << SHORT],
    /// For each length, what 16 bits beginning with such a code are less than …
    limits: [u32; 17],
    /// … and what to add to the code for the place of its symbol.
    offsets: [u32; 17],
    symbols: [u8; 256],
}

impl Symbols {
    /// Assigns the codes as T.81 annex C does.
    ///
    /// *Errors* when there are more codes of a length than there can be.
    pub fn new(code: &Code) -> Result<Self, JpegError> {
        let mut table =
            Self { short: [(0, 0); 1 << SHORT], limits: [0; 17], offsets: [0; 17], symbols: [0; 256] };
        table.symbols.iter_mut().zip(&code.symbols).for_each(|(to, symbol)| *to = *symbol);
        let (mut next, mut listed) = (0u32, 0u32);
        let mut symbols = code.symbols.iter();
        for ((length, count), (limit, offset)) in
            (1u32..).zip(code.counts).zip(table.limits.iter_mut().zip(&mut table.offsets).skip(1))
        {
            let count = u32::from(count);
            *offset = listed.wrapping_sub(next);
            // A code of nothing but ones is not allowed.
            if next + count >= 1 << length && count > 0 {
                return Err(Broken("a Huffman table is not possible"));
            }
            for code in next..next + count {
                let symbol = *symbols.next().ok_or(Broken("a Huffman table lacks symbols"))?;
                if length <= SHORT {
                    let (from, copies) = (code << (SHORT - length), 1 << (SHORT - length));
                    let entries = table.short.iter_mut().skip(from as usize).take(copies);
                    entries.for_each(|entry| *entry = (length as u8, symbol));
                }
            }
            next += count;
            listed += count;
            *limit = next << (16 - length);
            next <<= 1;
        }
        Ok(table)
    }

    /// Takes a code and returns its symbol; leaves 16 bits fetched.
    #[inline(always)]
    pub fn take(&self, bits: &mut Bits) -> Result<u8, JpegError> {
        bits.fetch();
        let (length, symbol) = self.short.get(bits.peek(SHORT) as usize).copied().unwrap_or_default();
        if length > 0 {
            bits.take(length.into());
            return Ok(symbol);
        }
        self.take_long(bits)
    }

    #[cold]
    #[inline(never)]
    fn take_long(&self, bits: &mut Bits) -> Result<u8, JpegError> {
        let next = bits.peek(16);
        for (length, (limit, offset)) in
            (0..).zip(self.limits.iter().zip(&self.offsets)).skip(SHORT as usize + 1)
        {
            if next < *limit {
                bits.take(length);
                let place = (next >> (16 - length)).wrapping_add(*offset);
                return Ok(self.symbols.get(place as usize).copied().unwrap_or_default());
            }
        }
        Err(Broken("a Huffman code is not in its table"))
    }
}

/// Decodes the AC coefficients of sequential scans, runs and values at once.
#[derive(Debug, Clone)]
pub struct AcSymbols {
    symbols: Symbols,
    short: [Ac; 1 << SHORT],
}

/// What the next bits stand for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ac {
    pub kind: AcKind,
    /// Bits that it takes, without those of a value that follows.
    pub bits: u8,
    /// Zeros before the value.
    pub run: u8,
    /// The size of a value that follows.
    pub size: u8,
    /// The value.
    pub value: i16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AcKind {
    /// The code is longer than the table goes.
    #[default]
    Long,
    Value,
    /// The value follows the code.
    ValueFollows,
    EndOfBlock,
}

impl AcSymbols {
    /// *Errors* as [`Symbols::new`] does.
    pub fn new(code: &Code) -> Result<Self, JpegError> {
        let symbols = Symbols::new(code)?;
        let mut short = [Ac::default(); 1 << SHORT];
        for (next, (entry, (length, symbol))) in (0u32..).zip(short.iter_mut().zip(&symbols.short)) {
            if *length > 0 {
                *entry = Ac::of(*symbol, *length);
                let bits = u32::from(entry.bits) + u32::from(entry.size);
                if entry.kind == AcKind::ValueFollows && bits <= SHORT {
                    let size = u32::from(entry.size);
                    let number = (next >> (SHORT - bits)) & ((1 << size) - 1);
                    *entry = Ac {
                        kind: AcKind::Value,
                        bits: bits as u8,
                        value: extend(number, size) as i16,
                        ..*entry
                    };
                }
            }
        }
        Ok(Self { symbols, short })
    }

    /// What the next bits stand for, without taking them. Fetches.
    #[inline(always)]
    pub fn peek(&self, bits: &mut Bits) -> Ac {
        bits.fetch();
        self.short.get(bits.peek(SHORT) as usize).copied().unwrap_or_default()
    }

    /// Takes a code that is too long to be peeked.
    #[cold]
    #[inline(never)]
    pub fn take_long(&self, bits: &mut Bits) -> Result<Ac, JpegError> {
        Ok(Ac::of(self.symbols.take_long(bits)?, 0))
    }
}

impl Ac {
    fn of(symbol: u8, bits: u8) -> Self {
        let (run, size) = (symbol >> 4, symbol & 15);
        let kind = match (run, size) {
            // Sixteen zeros.
            (15, 0) => AcKind::Value,
            (_, 0) => AcKind::EndOfBlock,
            _ => AcKind::ValueFollows,
        };
        Self { kind, bits, run, size, value: 0 }
    }
}

/// The codes of T.81 K.3.3: for DC and AC coefficients, each for luminance and chrominance.
pub fn annex_k() -> ([Code; 2], [Code; 2]) {
    let dc_symbols: [u8; 12] = std::array::from_fn(|size| size as u8);
    let dc = [
        Code::known([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], &dc_symbols),
        Code::known([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], &dc_symbols),
    ];
    let ac = [
        Code::known([0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d], &LUMINANCE_AC),
        Code::known([0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77], &CHROMINANCE_AC),
    ];
    (dc, ac)
}

/// T.81 table K.5.
#[rustfmt::skip]
const LUMINANCE_AC: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
    0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

/// T.81 table K.6.
#[rustfmt::skip]
const CHROMINANCE_AC: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

#[cfg(test)]
mod tests {
    use super::super::bits::{PADDING, Position};
    use super::*;

    #[test]
    fn codes_of_annex_k_are_those_of_its_tables() {
        let (dc, ac) = annex_k();
        // T.81 table K.3: category 5 is 110, 11 is 1 1111 1110; table K.5: 0/1 is 00, F/F sixteen bits.
        let coded = [&[0b1101_1111, 0b1110_0000, 0][..], &[0; PADDING]].concat();
        let mut bits = Bits::new(&coded, Position::default());
        let table = Symbols::new(&dc[0]).unwrap();
        assert_eq!([table.take(&mut bits), table.take(&mut bits)], [Ok(5), Ok(11)]);
        let coded = [&[0b0011_1111, 0b1111_1111, 0b1000_0000][..], &[0; PADDING]].concat();
        let mut bits = Bits::new(&coded, Position::default());
        let table = Symbols::new(&ac[0]).unwrap();
        assert_eq!([table.take(&mut bits), table.take(&mut bits)], [Ok(1), Ok(0xfa)]);
    }

    #[test]
    fn more_codes_than_bits_give_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 2;
        assert!(Symbols::new(&Code { counts, symbols: vec![1, 2] }).is_err());
        counts[0] = 1;
        assert!(Symbols::new(&Code { counts, symbols: vec![1] }).is_ok());
        assert!(Symbols::new(&Code { counts, symbols: vec![] }).is_err());
    }
}
