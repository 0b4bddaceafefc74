//! Blocks of 4 × 4 pixels in a few bytes (BC1 to BC5, also known as S3TC and RGTC) → RGB.
//!
//! Colours between the two of a block are reckoned in whole numbers of 8 bits, as in Pillow.

use super::super::from_rows;
use image::RgbImage;

/// What a block is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockCoding {
    /// Colours, of which one may be black.
    Bc1,
    /// Alpha, and colours.
    Bc2,
    Bc3,
    /// Grey.
    Bc4,
    /// Red and green; there is no blue.
    Bc5,
    /// The same, signed, to which 128 is added.
    Bc5Signed,
}

impl BlockCoding {
    fn block_bytes(self) -> usize {
        match self {
            Self::Bc1 | Self::Bc4 => 8,
            Self::Bc2 | Self::Bc3 | Self::Bc5 | Self::Bc5Signed => 16,
        }
    }

    /// The pixels of a block, row by row.
    fn pixels(self, block: &[u8]) -> Option<[[u8; 3]; 16]> {
        let (first, second) = (*block.first_chunk::<8>()?, *block.last_chunk::<8>()?);
        Some(match self {
            Self::Bc1 => colours(first, Fourth::MayBeBlack),
            Self::Bc2 | Self::Bc3 => colours(second, Fourth::Between),
            Self::Bc4 => levels(first).map(|level| [level; 3]),
            Self::Bc5 => red_and_green(levels(first), levels(second), 0),
            Self::Bc5Signed => red_and_green(levels(biased(first)), levels(biased(second)), 128),
        })
    }
}

/// Makes a picture of blocks, or none if some are missing.
pub fn decode(bytes: &[u8], coding: BlockCoding, width: u32, height: u32) -> Option<RgbImage> {
    let row_bytes = width.div_ceil(4) as usize * coding.block_bytes();
    let mut blocks: Vec<[[u8; 3]; 16]> = Vec::new();
    from_rows(width, height, |y, row| {
        if y.is_multiple_of(4) {
            let start = y / 4 * row_bytes;
            let coded = bytes.get(start..start + row_bytes)?.chunks_exact(coding.block_bytes());
            blocks = coded.map(|block| coding.pixels(block)).collect::<Option<_>>()?;
        }
        for (to, block) in row.chunks_mut(12).zip(&blocks) {
            let pixels = &block.as_flattened()[y % 4 * 12..];
            to.copy_from_slice(&pixels[..to.len()]);
        }
        Some(())
    })
}

/// What the fourth colour of a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fourth {
    /// Black, where the order of the first two colours says so.
    MayBeBlack,
    /// It lies between the first two, as the third does.
    Between,
}

fn colours(block: [u8; 8], fourth: Fourth) -> [[u8; 3]; 16] {
    let [a, b, c, d, indices @ ..] = block;
    let (first, second) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let (p, q) = (expanded(first), expanded(second));
    let mixed = |of_p: u16, of_q: u16| {
        std::array::from_fn(|c| ((of_p * u16::from(p[c]) + of_q * u16::from(q[c])) / (of_p + of_q)) as u8)
    };
    let palette = if first > second || fourth == Fourth::Between {
        [p, q, mixed(2, 1), mixed(1, 2)]
    } else {
        [p, q, mixed(1, 1), [0; 3]]
    };
    let indices = u32::from_le_bytes(indices);
    std::array::from_fn(|i| palette[(indices >> (2 * i) & 3) as usize])
}

/// Five, six and five bits to eight.
fn expanded(colour: u16) -> [u8; 3] {
    let (red, green, blue) = (colour >> 11, colour >> 5 & 63, colour & 31);
    [red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2].map(|level| level as u8)
}

/// The levels of a block: two are given, and three bits a pixel choose from the steps made of them.
fn levels(block: [u8; 8]) -> [u8; 16] {
    let [first, second, ..] = block;
    let (p, q) = (u16::from(first), u16::from(second));
    // Six levels between the two; or four, and the least and the most.
    let steps: [u16; 8] = std::array::from_fn(|i| match i as u16 {
        0 => p,
        1 => q,
        i if p > q => ((8 - i) * p + (i - 1) * q) / 7,
        6 => 0,
        7 => 255,
        i => ((6 - i) * p + (i - 1) * q) / 5,
    });
    let indices = u64::from_le_bytes(block) >> 16;
    std::array::from_fn(|i| steps[(indices >> (3 * i) & 7) as usize] as u8)
}

/// A block of signed levels with 128 added to both.
fn biased([first, second, indices @ ..]: [u8; 8]) -> [u8; 8] {
    let mut block = [first ^ 0x80, second ^ 0x80, 0, 0, 0, 0, 0, 0];
    block[2..].copy_from_slice(&indices);
    block
}

fn red_and_green(red: [u8; 16], green: [u8; 16], blue: u8) -> [[u8; 3]; 16] {
    std::array::from_fn(|i| [red[i], green[i], blue])
}
