//! LZW codes → bytes, as GIF and TIFF pack them.
//!
//! Each code stands for bytes that came before. So the table keeps where they are in what is unpacked
//! already, and not the bytes.

/// How codes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As in GIF: the low bits of a byte are first. The width of the first codes is one more than this.
    Gif(u8),
    /// As in TIFF: the high bits of a byte are first, and codes grow by a bit one code too early.
    Tiff,
}

/// The widest codes.
const MAX_BITS: u32 = 12;

/// Unpacks until there are `wanted` bytes, the codes say that they end, or there are no more.
///
/// *Errors* when a code has no meaning.
pub fn unpack(packed: &[u8], packing: Packing, wanted: usize) -> Result<Vec<u8>, &'static str> {
    const BROKEN: &str = "an LZW code has no meaning";
    let (literal_bits, early) = match packing {
        Packing::Gif(bits) => (u32::from(bits), 0),
        Packing::Tiff => (8, 1),
    };
    let clear = 1_usize << literal_bits;
    let (end, first_free) = (clear + 1, clear + 2);
    let mut bits = LzwBits { packed, packing, buffer: 0, buffered: 0 };
    // The last code may stand for more than is wanted.
    let mut unpacked: Vec<u8> = Vec::with_capacity(wanted + (1 << MAX_BITS));
    // Where the bytes of each code after `end` begin, and how many they are.
    let mut table: Vec<(usize, usize)> = Vec::new();
    // Where the bytes of the last code are.
    let mut last: Option<(usize, usize)> = None;
    let mut width = literal_bits + 1;
    while unpacked.len() < wanted {
        let Some(code) = bits.take(width) else { break };
        let code = code as usize;
        if code == clear {
            table.clear();
            last = None;
            width = literal_bits + 1;
            continue;
        }
        if code == end {
            break;
        }
        let begin = unpacked.len();
        let next = first_free + table.len();
        match (code, last) {
            (literal, _) if literal < clear => unpacked.push(literal as u8),
            (known, Some(_)) if known < next => {
                let (begin, length) = *table.get(known - first_free).ok_or(BROKEN)?;
                unpacked.extend_from_within(begin..begin + length);
            }
            // The code that is about to be defined: the last bytes, and the first of them again.
            (new, Some((begin, length))) if new == next => {
                unpacked.extend_from_within(begin..begin + length);
                unpacked.extend_from_within(begin..begin + 1);
            }
            _ => return Err(BROKEN),
        }
        if let Some((begin, length)) = last
            && next < 1 << MAX_BITS
        {
            table.push((begin, length + 1));
            if next + 1 + early >= 1 << width && width < MAX_BITS {
                width += 1;
            }
        }
        last = Some((begin, unpacked.len() - begin));
    }
    unpacked.truncate(wanted);
    Ok(unpacked)
}

/// The bits of packed bytes.
struct LzwBits<'a> {
    packed: &'a [u8],
    packing: Packing,
    buffer: u32,
    buffered: u32,
}

impl LzwBits<'_> {
    fn take(&mut self, width: u32) -> Option<u32> {
        while self.buffered < width {
            let (byte, rest) = self.packed.split_first()?;
            self.packed = rest;
            let byte = u32::from(*byte);
            self.buffer = match self.packing {
                Packing::Gif(_) => self.buffer | byte << self.buffered,
                Packing::Tiff => self.buffer << 8 | byte,
            };
            self.buffered += 8;
        }
        self.buffered -= width;
        let mask = (1 << width) - 1;
        Some(match self.packing {
            Packing::Gif(_) => {
                let code = self.buffer & mask;
                self.buffer >>= width;
                code
            }
            Packing::Tiff => self.buffer >> self.buffered & mask,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_stand_for_what_it_is_about_to_define() {
        // Clear (4), 1, the new code 6, end (5): three bits each, the low ones first.
        let packed = [0b10_001_100, 0b0000_1011];
        assert_eq!(unpack(&packed, Packing::Gif(2), 9).unwrap(), [1, 1, 1]);
        assert_eq!(unpack(&packed, Packing::Gif(2), 2).unwrap(), [1, 1]);
    }

    #[test]
    fn a_code_without_a_meaning_is_an_error() {
        // Clear (4), then 7, which nothing defines; and 6 with nothing before it.
        assert!(unpack(&[0b00_111_100, 0], Packing::Gif(2), 9).is_err());
        assert!(unpack(&[0b00_110_100, 0], Packing::Gif(2), 9).is_err());
    }

    #[test]
    fn tiffs_codes_begin_with_the_high_bits() {
        // Clear (256), 7, the new code 258, end (257): nine bits each.
        let packed = [0b1000_0000, 0b0000_0001, 0b1110_0000, 0b0101_0000, 0b0001_0000];
        assert_eq!(unpack(&packed, Packing::Tiff, 9).unwrap(), [7, 7, 7]);
    }
}
