//! The head of a lossless picture of WebP → how much memory its Huffman codes take, and whether they mean one
//! thing.
//!
//! A picture may have 65,536 groups of five codes, one for each part of it, and a code of a few bytes asks for
//! thousands: the tables of a file of 600 KB can take 4 GiB. image-webp makes them all before it
//! decodes a pixel. So the groups are counted first. Their number stands in a picture of its own, the largest
//! value in which is looked for here; pictures before that are passed over.
//!
//! A code of two symbols may name the larger one first, or one twice. libwebp sorts them, image-webp does not, and
//! would show another picture.

/// The symbols of a code that are no distances or levels: lengths of copies.
const LENGTHS: u32 = 24;
const LEVELS: u32 = 256;
const DISTANCES: u32 = 40;
const CODES_IN_GROUP: usize = 5;
/// The longest word of a code.
const MAX_BITS: usize = 15;
/// What image-webp keeps of a code: itself, a table for words of up to 10 bits, and two nodes for each symbol that
/// has a longer one.
const CODE_BYTES: u64 = 64 + 4 * 1024;
const SYMBOL_BYTES: u64 = 2 * 16;

/// The memory that the codes of a picture take at most, or none where the head is damaged or a code has its
/// symbols in disorder. The size is told for a picture that does not tell it itself, like one of alpha.
pub fn code_bytes(bytes: &[u8], told_size: Option<(u32, u32)>) -> Option<u64> {
    const SIGNATURE: u32 = 0x2f;
    let mut bits = Bits { bytes, at: 0 };
    let (mut width, height) = match told_size {
        Some(size) => size,
        None => {
            let signature = bits.take(8)?;
            let size = (bits.take(14)? + 1, bits.take(14)? + 1);
            let _alpha_and_version = bits.take(4)?;
            (signature == SIGNATURE).then_some(size)?
        }
    };
    while bits.take(1)? == 1 {
        match bits.take(2)? {
            // Predictors, and colours that others are taken off from.
            0 | 1 => {
                let block = bits.take(3)? + 2;
                walk(&mut bits, parts(width, block) * parts(height, block))?;
            }
            2 => {}
            _ => {
                let colours = bits.take(8)? + 1;
                walk(&mut bits, colours.into())?;
                let several_in_one = match colours {
                    ..=2 => 3,
                    3..=4 => 2,
                    5..=16 => 1,
                    _ => 0,
                };
                width = width.div_ceil(1 << several_in_one);
            }
        }
    }
    let remembered = remembered_colours(&mut bits)?;
    let mut groups = 1;
    if bits.take(1)? == 1 {
        let block = bits.take(3)? + 2;
        groups = u64::from(walk(&mut bits, parts(width, block) * parts(height, block))?) + 1;
    }
    for _ in 0..groups {
        group(&mut bits, remembered)?;
    }
    let symbols: u32 = group_symbols(remembered).iter().sum();
    let code_bytes = CODE_BYTES * CODES_IN_GROUP as u64;
    Some(groups * (code_bytes + u64::from(symbols) * SYMBOL_BYTES))
}

/// How many symbols each code of a group has.
fn group_symbols(remembered: u32) -> [u32; CODES_IN_GROUP] {
    [LEVELS + LENGTHS + remembered, LEVELS, LEVELS, LEVELS, DISTANCES]
}

/// The codes of green and copies, red, blue, alpha and distances.
fn group(bits: &mut Bits, remembered: u32) -> Option<Vec<Code>> {
    group_symbols(remembered).into_iter().map(|symbols| Code::read(bits, symbols)).collect()
}

/// How many blocks of that many bits a side has.
fn parts(side: u32, block: u32) -> u64 {
    side.div_ceil(1 << block).into()
}

/// How many colours are remembered, to be named by a number.
fn remembered_colours(bits: &mut Bits) -> Option<u32> {
    if bits.take(1)? == 0 {
        return Some(0);
    }
    let count_bits = bits.take(4)?;
    (1..=11).contains(&count_bits).then_some(1 << count_bits)
}

/// Passes over a picture of so many pixels that has one group of codes. Returns the largest number that is
/// written in red and green. All others are copies.
fn walk(bits: &mut Bits, pixels: u64) -> Option<u32> {
    let remembered = remembered_colours(bits)?;
    let codes = group(bits, remembered)?;
    let (mut passed, mut largest) = (0, 0);
    while passed < pixels {
        let green = codes[0].symbol(bits)?;
        if green < LEVELS {
            let red = codes[1].symbol(bits)?;
            let _blue_and_alpha = (codes[2].symbol(bits)?, codes[3].symbol(bits)?);
            largest = largest.max(red << 8 | green);
            passed += 1;
        } else if green < LEVELS + LENGTHS {
            passed += u64::from(long_number(bits, green - LEVELS)?);
            let distance = codes[4].symbol(bits)?;
            long_number(bits, distance)?;
        } else {
            passed += 1;
        }
    }
    (passed == pixels).then_some(largest)
}

/// A number whose first bits are a symbol.
fn long_number(bits: &mut Bits, symbol: u32) -> Option<u32> {
    if symbol < 4 {
        return Some(symbol + 1);
    }
    let extra = (symbol - 2) >> 1;
    Some(((2 + (symbol & 1)) << extra) + bits.take(extra)? + 1)
}

/// Bits of bytes, the lowest first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// A number of up to 24 bits.
    fn take(&mut self, count: u32) -> Option<u32> {
        let end = self.at + count as usize;
        if end > 8 * self.bytes.len() {
            return None;
        }
        let near = self.bytes[self.at / 8..].iter().take(4).rev();
        let number = near.fold(0, |number, byte| number << 8 | u32::from(*byte)) >> (self.at % 8);
        self.at = end;
        Some(number & ((1 << count) - 1))
    }
}

/// A Huffman code.
enum Code {
    /// One symbol, which takes no bits.
    Single(u32),
    /// How many words there are of each length, and the symbols in the order of their words.
    Several { counts: [u32; MAX_BITS + 1], symbols: Vec<u32> },
}

impl Code {
    /// Reads a code of up to so many symbols.
    fn read(bits: &mut Bits, symbols: u32) -> Option<Self> {
        if bits.take(1)? == 1 {
            let has_two = bits.take(1)? == 1;
            let first_bits = if bits.take(1)? == 1 { 8 } else { 1 };
            let first = bits.take(first_bits)?;
            if !has_two {
                return Some(Self::Single(first));
            }
            let second = bits.take(8)?;
            let mut counts = [0; MAX_BITS + 1];
            counts[1] = 2;
            return (first < second).then(|| Self::Several { counts, symbols: vec![first, second] });
        }
        const ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        let count = bits.take(4)? as usize + 4;
        let mut lengths_of_lengths = [0; ORDER.len()];
        for place in ORDER.get(..count)? {
            lengths_of_lengths[*place] = bits.take(3)?;
        }
        let code = Self::new(&lengths_of_lengths)?;
        let mut rest = symbols;
        if bits.take(1)? == 1 {
            let length_bits = 2 + 2 * bits.take(3)?;
            rest = bits.take(length_bits)? + 2;
        }
        let (mut lengths, mut previous) = (Vec::new(), 8);
        while lengths.len() < symbols as usize && rest > 0 {
            rest -= 1;
            let (length, times) = match code.symbol(bits)? {
                16 => (previous, 3 + bits.take(2)?),
                17 => (0, 3 + bits.take(3)?),
                18 => (0, 11 + bits.take(7)?),
                length => (length, 1),
            };
            lengths.extend((0..times).map(|_| length));
            if length > 0 {
                previous = length;
            }
        }
        (lengths.len() <= symbols as usize).then(|| Self::new(&lengths))?
    }

    /// The code whose words have these lengths; none where it lacks words or has too many.
    fn new(lengths: &[u32]) -> Option<Self> {
        let mut counts = [0; MAX_BITS + 1];
        for length in lengths {
            counts[*length as usize] += 1;
        }
        counts[0] = 0;
        let mut symbols: Vec<_> =
            (0..lengths.len() as u32).filter(|symbol| lengths[*symbol as usize] > 0).collect();
        if let [symbol] = symbols[..] {
            return Some(Self::Single(symbol));
        }
        let taken: u32 = (1..=MAX_BITS).map(|length| counts[length] << (MAX_BITS - length)).sum();
        symbols.sort_by_key(|symbol| lengths[*symbol as usize]);
        (taken == 1 << MAX_BITS).then_some(Self::Several { counts, symbols })
    }

    fn symbol(&self, bits: &mut Bits) -> Option<u32> {
        let (counts, symbols) = match self {
            Self::Single(symbol) => return Some(*symbol),
            Self::Several { counts, symbols } => (counts, symbols),
        };
        // Words of a length are numbers that follow each other, and are written from the highest bit.
        let (mut word, mut first, mut before) = (0, 0, 0);
        for count in &counts[1..] {
            word = word << 1 | bits.take(1)?;
            first <<= 1;
            if word < first + count {
                return symbols.get((before + word - first) as usize).copied();
            }
            first += count;
            before += count;
        }
        None
    }
}
