//! Coded bytes → decisions: the adaptive binary arithmetic decoder of T.81 annex D.

use super::bits::PADDING;
use super::{Broken, JpegError};

/// Zero bytes after the end that a decoder may ask for: an encoder leaves out those at the end.
const MAX_ZEROS: usize = 4096;

/// What DAC segments set (T.81 F.1.4.4).
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// Bounds of a small difference of DC coefficients, L and U.
    pub dc: [(u8, u8); 16],
    /// The last of the low coefficients, Kx.
    pub ac: [u8; 16],
}

impl Default for Conditioning {
    fn default() -> Self {
        Self { dc: [(0, 1); 16], ac: [5; 16] }
    }
}

impl Conditioning {
    /// Takes what a DAC segment says.
    ///
    /// *Errors* when it is not made as T.81 B.2.4.3 wants it.
    pub fn take(&mut self, body: &[u8]) -> Result<(), JpegError> {
        const INVALID: JpegError = Broken("the conditioning of arithmetic coding is not valid");
        let (pairs, excess) = body.as_chunks();
        for &[number, value] in pairs {
            let place = usize::from(number & 15);
            match number >> 4 {
                0 if value & 15 <= value >> 4 => {
                    *self.dc.get_mut(place).ok_or(INVALID)? = (value & 15, value >> 4)
                }
                1 => *self.ac.get_mut(place).ok_or(INVALID)? = value,
                _ => return Err(INVALID),
            }
        }
        if excess.is_empty() { Ok(()) } else { Err(INVALID) }
    }
}

/// How probable a decision is: a row of [`ESTIMATES`], twice, and the more probable symbol.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bin(u8);

impl Bin {
    /// Both symbols are equally probable, and stay so.
    pub const EVEN: Self = Self(113 << 1);
}

/// The registers of the decoder.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    /// The size of the interval, A.
    size: u32,
    /// Where the code is in it, C: the upper half is compared with A.
    code: u32,
    /// Shifts until the next byte, CT.
    shifts: u32,
    /// The next byte.
    at: usize,
}

impl Decoder {
    /// Initdec (T.81 D.2.7).
    pub fn new(coded: &[u8]) -> Self {
        let mut decoder = Self { size: 0x1_0000, code: 0, shifts: 0, at: 0 };
        for _ in 0..2 {
            decoder.code |= decoder.next_byte(coded) << 8;
            decoder.code <<= 8;
        }
        decoder
    }

    fn next_byte(&mut self, coded: &[u8]) -> u32 {
        let byte = coded.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        byte.into()
    }

    /// Whether far more was decoded than there is.
    pub fn is_past_end(&self, coded: &[u8]) -> bool {
        self.at > coded.len() + MAX_ZEROS
    }

    pub fn bytes_left(&self, coded: &[u8]) -> usize {
        coded.len().saturating_sub(PADDING).saturating_sub(self.at)
    }

    /// Decode(S) (T.81 D.2.4).
    #[inline]
    pub fn decode(&mut self, coded: &[u8], bin: &mut Bin) -> bool {
        let (probability, after_less, after_more, switches) =
            ESTIMATES.get(usize::from(bin.0 >> 1)).copied().unwrap_or_default();
        let more = bin.0 & 1;
        let probability = u32::from(probability);
        self.size -= probability;
        let is_upper = self.code >> 16 >= self.size;
        if !is_upper && self.size >= 0x8000 {
            return more != 0;
        }
        // The less probable symbol has the upper interval, unless that is the larger one.
        let is_less = is_upper != (self.size < probability);
        if is_upper {
            self.code -= self.size << 16;
            self.size = probability;
        }
        let symbol = more ^ u8::from(is_less);
        *bin = if is_less {
            Bin(after_less << 1 | (more ^ u8::from(switches)))
        } else {
            Bin(after_more << 1 | more)
        };
        // Renorm_d (T.81 D.2.6).
        while self.size < 0x8000 {
            if self.shifts == 0 {
                self.code |= self.next_byte(coded) << 8;
                self.shifts = 8;
            }
            self.size <<= 1;
            self.code <<= 1;
            self.shifts -= 1;
        }
        symbol != 0
    }
}

/// T.81 table D.3: the probability of the less probable symbol, where to go after it and after the more
/// probable one, and whether they change places. The last row is for even chances.
#[rustfmt::skip]
const ESTIMATES: [(u16, u8, u8, bool); 114] = [
    (0x5a1d, 1, 1, true), (0x2586, 14, 2, false), (0x1114, 16, 3, false), (0x080b, 18, 4, false),
    (0x03d8, 20, 5, false), (0x01da, 23, 6, false), (0x00e5, 25, 7, false), (0x006f, 28, 8, false),
    (0x0036, 30, 9, false), (0x001a, 33, 10, false), (0x000d, 35, 11, false), (0x0006, 9, 12, false),
    (0x0003, 10, 13, false), (0x0001, 12, 13, false), (0x5a7f, 15, 15, true), (0x3f25, 36, 16, false),
    (0x2cf2, 38, 17, false), (0x207c, 39, 18, false), (0x17b9, 40, 19, false), (0x1182, 42, 20, false),
    (0x0cef, 43, 21, false), (0x09a1, 45, 22, false), (0x072f, 46, 23, false), (0x055c, 48, 24, false),
    (0x0406, 49, 25, false), (0x0303, 51, 26, false), (0x0240, 52, 27, false), (0x01b1, 54, 28, false),
    (0x0144, 56, 29, false), (0x00f5, 57, 30, false), (0x00b7, 59, 31, false), (0x008a, 60, 32, false),
    (0x0068, 62, 33, false), (0x004e, 63, 34, false), (0x003b, 32, 35, false), (0x002c, 33, 9, false),
    (0x5ae1, 37, 37, true), (0x484c, 64, 38, false), (0x3a0d, 65, 39, false), (0x2ef1, 67, 40, false),
    (0x261f, 68, 41, false), (0x1f33, 69, 42, false), (0x19a8, 70, 43, false), (0x1518, 72, 44, false),
    (0x1177, 73, 45, false), (0x0e74, 74, 46, false), (0x0bfb, 75, 47, false), (0x09f8, 77, 48, false),
    (0x0861, 78, 49, false), (0x0706, 79, 50, false), (0x05cd, 48, 51, false), (0x04de, 50, 52, false),
    (0x040f, 50, 53, false), (0x0363, 51, 54, false), (0x02d4, 52, 55, false), (0x025c, 53, 56, false),
    (0x01f8, 54, 57, false), (0x01a4, 55, 58, false), (0x0160, 56, 59, false), (0x0125, 57, 60, false),
    (0x00f6, 58, 61, false), (0x00cb, 59, 62, false), (0x00ab, 61, 63, false), (0x008f, 61, 32, false),
    (0x5b12, 65, 65, true), (0x4d04, 80, 66, false), (0x412c, 81, 67, false), (0x37d8, 82, 68, false),
    (0x2fe8, 83, 69, false), (0x293c, 84, 70, false), (0x2379, 86, 71, false), (0x1edf, 87, 72, false),
    (0x1aa9, 87, 73, false), (0x174e, 72, 74, false), (0x1424, 72, 75, false), (0x119c, 74, 76, false),
    (0x0f6b, 74, 77, false), (0x0d51, 75, 78, false), (0x0bb6, 77, 79, false), (0x0a40, 77, 48, false),
    (0x5832, 80, 81, true), (0x4d1c, 88, 82, false), (0x438e, 89, 83, false), (0x3bdd, 90, 84, false),
    (0x34ee, 91, 85, false), (0x2eae, 92, 86, false), (0x299a, 93, 87, false), (0x2516, 86, 71, false),
    (0x5570, 88, 89, true), (0x4ca9, 95, 90, false), (0x44d9, 96, 91, false), (0x3e22, 97, 92, false),
    (0x3824, 99, 93, false), (0x32b4, 99, 94, false), (0x2e17, 93, 86, false), (0x56a8, 95, 96, true),
    (0x4f46, 101, 97, false), (0x47e5, 102, 98, false), (0x41cf, 103, 99, false), (0x3c3d, 104, 100, false),
    (0x375e, 99, 93, false), (0x5231, 105, 102, false), (0x4c0f, 106, 103, false), (0x4639, 107, 104, false),
    (0x415e, 103, 99, false), (0x5627, 105, 106, true), (0x50e7, 108, 107, false), (0x4b85, 109, 103, false),
    (0x5597, 110, 109, false), (0x504f, 111, 107, false), (0x5a10, 110, 111, true), (0x5522, 112, 109, false),
    (0x59eb, 112, 111, true), (0x5a1d, 113, 113, false),
];
