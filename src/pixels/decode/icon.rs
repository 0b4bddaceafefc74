//! An icon or a cursor of Windows → RGB: of the pictures in it the one that Pillow takes. Masks and alpha
//! are dropped.

use super::{ByteCursor, bmp, decode_other};
use crate::PixelsError;
use image::{ImageFormat, RgbImage};

/// Decodes the largest picture; of several of that size, which differ in their bits, the one with the fewest.
///
/// *Errors* when there is none or it is damaged.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let entries = Entry::list(bytes)?;
    let largest = entries.iter().min_by_key(|entry| (std::cmp::Reverse(entry.pixels()), entry.depth()));
    let picture = largest.and_then(|entry| bytes.get(entry.at as usize..)).ok_or_else(damaged)?;
    decode_entry(picture, bmp::decode_in_icon)
}

/// Whether these bytes begin like a cursor's. Many a TGA begins alike, and goes on with zeros.
pub fn is_cursor(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 2, 0, low, high, ..] if (*low, *high) != (0, 0))
}

/// Decodes the first picture, or a later one if it is both wider and higher.
///
/// *Errors* when it is damaged.
pub fn decode_cursor(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let entries = Entry::list(bytes)?.into_iter();
    let largest = entries
        .reduce(|a, b| if b.width > a.width && b.height > a.height { b } else { a })
        .ok_or_else(damaged)?;
    let picture = bytes.get(largest.at as usize..).ok_or_else(damaged)?;
    decode_entry(picture, bmp::decode_in_cursor)
}

fn decode_entry(
    picture: &[u8],
    decode_bmp: fn(&[u8]) -> Result<RgbImage, PixelsError>,
) -> Result<RgbImage, PixelsError> {
    if picture.starts_with(b"\x89PNG") {
        decode_other(picture, ImageFormat::Png)
    } else {
        decode_bmp(picture)
    }
}

fn damaged() -> PixelsError {
    PixelsError::Decode("the icon is damaged or cut short".into())
}

/// What an icon says of one of its pictures.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// 0 stands for 256.
    width: u8,
    height: u8,
    colours: u8,
    /// Bits a pixel; 0 where it is not said.
    bits: u16,
    at: u32,
}

impl Entry {
    fn list(bytes: &[u8]) -> Result<Vec<Self>, PixelsError> {
        let mut cursor = ByteCursor { rest: bytes };
        let _mark = cursor.u32();
        let count = cursor.u16().ok_or_else(damaged)?;
        (0..count).map(|_| Self::read(&mut cursor).ok_or_else(damaged)).collect()
    }

    fn read(cursor: &mut ByteCursor) -> Option<Self> {
        let (width, height, colours, _) = (cursor.u8()?, cursor.u8()?, cursor.u8()?, cursor.u8()?);
        let (_planes, bits, _length) = (cursor.u16()?, cursor.u16()?, cursor.u32()?);
        Some(Self { width, height, colours, bits, at: cursor.u32()? })
    }

    fn pixels(self) -> u32 {
        let side = |side: u8| if side == 0 { 256 } else { u32::from(side) };
        side(self.width) * side(self.height)
    }

    /// Bits a pixel, as far as they are said.
    fn depth(self) -> u32 {
        match (self.bits, self.colours) {
            (0, 0 | 1) => 256,
            (0, colours) => u8::BITS - (colours - 1).leading_zeros(),
            (bits, _) => bits.into(),
        }
    }
}
