//! A DDS texture → RGB, as Pillow reads it: its first surface at full size. Alpha is dropped.

mod blocks;

use super::{ByteCursor, Palette, check_size, from_rows};
use crate::PixelsError;
use blocks::BlockCoding;
use image::RgbImage;

/// Decodes the first surface.
///
/// *Errors* when it is not whole, too large, or of a kind that is not decoded.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let ends_early = || PixelsError::Decode("the DDS ends early".into());
    let mut cursor = ByteCursor { rest: bytes };
    let header = DdsHeader::read(&mut cursor).ok_or_else(ends_early)?;
    check_size(header.width.into(), header.height.into())?;
    let coding = header.coding(&mut cursor)?;
    let bytes = cursor.rest;
    let picture = match coding {
        DdsCoding::Blocks(coding) => blocks::decode(bytes, coding, header.width, header.height),
        DdsCoding::Masks { pixel_bytes, masks } => header.picture(bytes, pixel_bytes, |pixel| {
            let pixel = pixel.iter().rev().fold(0, |pixel, byte| pixel << 8 | u32::from(*byte));
            masks.map(|mask| level(pixel, mask))
        }),
        DdsCoding::Bytes { pixel_bytes, channels } => {
            header.picture(bytes, pixel_bytes, |pixel| channels.map(|channel| pixel[channel]))
        }
        DdsCoding::Indexed(palette) => header.picture(bytes, 1, |pixel| palette.colour(pixel[0])),
    };
    picture.ok_or_else(ends_early)
}

/// How pixels are stored.
#[derive(Debug, Clone)]
enum DdsCoding {
    Blocks(BlockCoding),
    /// Where the bits of red, green and blue are in a little-endian number.
    Masks {
        pixel_bytes: usize,
        masks: [u32; 3],
    },
    /// Which bytes are red, green and blue.
    Bytes {
        pixel_bytes: usize,
        channels: [usize; 3],
    },
    Indexed(Box<Palette>),
}

/// What stands before the pixels.
#[derive(Debug, Clone, Copy)]
struct DdsHeader {
    width: u32,
    height: u32,
    flags: u32,
    four_letters: [u8; 4],
    bits: u32,
    masks: [u32; 3],
}

impl DdsHeader {
    fn read(cursor: &mut ByteCursor) -> Option<Self> {
        /// What else says how the surfaces of a texture lie in memory.
        const BETWEEN_BYTES: usize = 56;
        const BEHIND_BYTES: usize = 24;
        let _mark_length_and_flags = cursor.take(12)?;
        let (height, width) = (cursor.u32()?, cursor.u32()?);
        let _between = cursor.take(BETWEEN_BYTES)?;
        let (_length, flags) = (cursor.u32()?, cursor.u32()?);
        let four_letters = cursor.take(4)?.try_into().ok()?;
        let (bits, masks) = (cursor.u32()?, [cursor.u32()?, cursor.u32()?, cursor.u32()?]);
        let _behind = cursor.take(BEHIND_BYTES)?;
        Some(Self { width, height, flags, four_letters, bits, masks })
    }

    /// Says how pixels are stored, and takes what still stands before them.
    fn coding(&self, cursor: &mut ByteCursor) -> Result<DdsCoding, PixelsError> {
        const FOUR_LETTERS: u32 = 0x4;
        const INDEXED: u32 = 0x20;
        const COLOURS: u32 = 0x40;
        const GREY: u32 = 0x2_0000;
        let has = |flag| self.flags & flag != 0;
        let grey = |pixel_bytes| Ok(DdsCoding::Bytes { pixel_bytes, channels: [0; 3] });
        match self.bits {
            8 | 16 | 24 | 32 if has(COLOURS) => {
                Ok(DdsCoding::Masks { pixel_bytes: self.bits as usize / 8, masks: self.masks })
            }
            8 if has(GREY) => grey(1),
            16 if has(GREY) => grey(2),
            8 if has(INDEXED) => {
                let colours = cursor.take(1024).unwrap_or_default().as_chunks::<4>().0;
                Ok(DdsCoding::Indexed(Box::new(Palette::new(
                    colours.iter().map(|[r, g, b, _]| [*r, *g, *b]),
                ))))
            }
            _ if has(FOUR_LETTERS) => self.named_coding(cursor),
            bits => Err(not_decoded(&format!("pixels of {bits} bits of kind {:#x}", self.flags))),
        }
    }

    fn named_coding(&self, cursor: &mut ByteCursor) -> Result<DdsCoding, PixelsError> {
        Ok(DdsCoding::Blocks(match &self.four_letters {
            b"DXT1" => BlockCoding::Bc1,
            b"DXT3" => BlockCoding::Bc2,
            b"DXT5" => BlockCoding::Bc3,
            b"ATI1" | b"BC4U" => BlockCoding::Bc4,
            b"ATI2" | b"BC5U" => BlockCoding::Bc5,
            b"BC5S" => BlockCoding::Bc5Signed,
            b"DXT2" | b"DXT4" => {
                return Err(not_decoded("colours that alpha was multiplied into (DXT2, DXT4)"));
            }
            b"DX10" => return numbered_coding(cursor),
            other => return Err(not_decoded(&format!("the coding \"{}\"", other.escape_ascii()))),
        }))
    }

    /// Makes a picture of pixels of so many bytes, row by row.
    fn picture(
        &self,
        bytes: &[u8],
        pixel_bytes: usize,
        colour: impl Fn(&[u8]) -> [u8; 3],
    ) -> Option<RgbImage> {
        let row_bytes = self.width as usize * pixel_bytes;
        from_rows(self.width, self.height, |y, row| {
            let pixels = bytes.get(y * row_bytes..(y + 1) * row_bytes)?.chunks_exact(pixel_bytes);
            row.as_chunks_mut().0.iter_mut().zip(pixels).for_each(|(to, pixel)| *to = colour(pixel));
            Some(())
        })
    }
}

/// The coding that a second header names by its number in DXGI.
fn numbered_coding(cursor: &mut ByteCursor) -> Result<DdsCoding, PixelsError> {
    let ends_early = || PixelsError::Decode("the DDS's header is cut short".into());
    let number = cursor.u32().ok_or_else(ends_early)?;
    let _dimensions_and_flags = cursor.take(16).ok_or_else(ends_early)?;
    // Those that are sRGB are coded alike.
    Ok(DdsCoding::Blocks(match number {
        27..=29 => return Ok(DdsCoding::Bytes { pixel_bytes: 4, channels: [0, 1, 2] }),
        87 | 88 | 90..=93 => return Ok(DdsCoding::Bytes { pixel_bytes: 4, channels: [2, 1, 0] }),
        70..=72 => BlockCoding::Bc1,
        73..=75 => BlockCoding::Bc2,
        76..=78 => BlockCoding::Bc3,
        79 | 80 => BlockCoding::Bc4,
        82 | 83 => BlockCoding::Bc5,
        84 => BlockCoding::Bc5Signed,
        94..=96 => return Err(not_decoded("a high dynamic range (BC6H)")),
        97..=99 => return Err(not_decoded("the coding BC7")),
        other => return Err(not_decoded(&format!("the format {other} of DXGI"))),
    }))
}

fn not_decoded(what: &str) -> PixelsError {
    PixelsError::Decode(format!("DDS with {what}, which clipclass does not decode; convert the image to PNG"))
}

/// What is under a mask, brought to 0–255 in floats and cut, as in Pillow.
fn level(pixel: u32, mask: u32) -> u8 {
    if mask == 0 {
        return 0;
    }
    let shift = mask.trailing_zeros();
    (f64::from((pixel & mask) >> shift) / f64::from(mask >> shift) * 255.0) as u8
}
