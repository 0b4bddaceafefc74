//! A TGA → RGB, as Pillow reads it. Alpha is dropped.
//!
//! The format has no mark at its beginning. What is taken for one has a header that makes sense and all its
//! pixels.

use super::{ByteCursor, Palette, check_size, from_rows};
use crate::PixelsError;
use image::RgbImage;

/// Whether these bytes begin like a TGA.
pub fn begins(bytes: &[u8]) -> bool {
    TgaHeader::read(&mut ByteCursor { rest: bytes }).is_some()
}

/// Decodes a picture.
///
/// *Errors* when it is not whole or too large.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let ends_early = || PixelsError::Decode("the TGA's pixels end early".into());
    let mut cursor = ByteCursor { rest: bytes };
    let header = TgaHeader::read(&mut cursor).ok_or(PixelsError::Format)?;
    check_size(header.width.into(), header.height.into())?;
    let palette = header.read_palette(&mut cursor).ok_or_else(ends_early)?;
    let (width, height) = (usize::from(header.width), usize::from(header.height));
    let row_bytes = (width * usize::from(header.bits)).div_ceil(8);
    let unpacked;
    let rows = if header.is_packed {
        let pixel_bytes = usize::from(header.bits).div_ceil(8);
        unpacked = unpack(cursor.rest, pixel_bytes, row_bytes * height).ok_or_else(ends_early)?;
        &unpacked
    } else {
        cursor.take(row_bytes * height).ok_or_else(ends_early)?
    };
    from_rows(header.width.into(), header.height.into(), |y, to| {
        let y = if header.runs_down { y } else { height - 1 - y };
        let row = rows.get(y * row_bytes..)?;
        for (x, to) in to.as_chunks_mut().0.iter_mut().enumerate() {
            let x = if header.runs_left { width - 1 - x } else { x };
            *to = header.colour(row, x, &palette)?;
        }
        Some(())
    })
    .ok_or_else(ends_early)
}

/// What a pixel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TgaColours {
    Indexed,
    True,
    Grey,
}

/// What stands before the pixels.
#[derive(Debug, Clone, Copy)]
struct TgaHeader {
    /// The length of a text that nobody shows.
    text_bytes: u8,
    palette: Option<TgaPalette>,
    colours: TgaColours,
    is_packed: bool,
    width: u16,
    height: u16,
    bits: u8,
    runs_down: bool,
    runs_left: bool,
}

#[derive(Debug, Clone, Copy)]
struct TgaPalette {
    /// The index of the first colour.
    first: u16,
    colours: u16,
    bits: u8,
}

impl TgaHeader {
    fn read(cursor: &mut ByteCursor) -> Option<Self> {
        let (text_bytes, has_palette, kind) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
        let palette = TgaPalette { first: cursor.u16()?, colours: cursor.u16()?, bits: cursor.u8()? };
        let palette = match has_palette {
            0 => None,
            1 if matches!(palette.bits, 15 | 16 | 24 | 32) => Some(palette),
            _ => return None,
        };
        let _corner = cursor.u32()?;
        let (width, height) = (cursor.u16()?, cursor.u16()?);
        let (bits, flags) = (cursor.u8()?, cursor.u8()?);
        let is_packed = kind & 8 != 0;
        let colours = match (kind & !8, bits) {
            (1, 8) if palette.is_some() => TgaColours::Indexed,
            (2, 15 | 16 | 24 | 32) => TgaColours::True,
            (3, 8 | 16) => TgaColours::Grey,
            (3, 1) if !is_packed => TgaColours::Grey,
            _ => return None,
        };
        let (runs_left, runs_down) = (flags & 0x10 != 0, flags & 0x20 != 0);
        // Fifteen bits take as many bytes as sixteen.
        let bits = if bits == 15 { 16 } else { bits };
        let is_empty = width == 0 || height == 0;
        (!is_empty).then_some(Self {
            text_bytes,
            palette,
            colours,
            is_packed,
            width,
            height,
            bits,
            runs_down,
            runs_left,
        })
    }

    /// Takes what stands between the header and the pixels.
    fn read_palette(&self, cursor: &mut ByteCursor) -> Option<Palette> {
        cursor.take(self.text_bytes.into())?;
        let Some(TgaPalette { first, colours, bits }) = self.palette else { return Some(Palette::grey()) };
        let colour_bytes = usize::from(bits).div_ceil(8);
        let listed = cursor.take(usize::from(colours) * colour_bytes)?.chunks_exact(colour_bytes);
        let before = std::iter::repeat_n([0; 3], first.into());
        Some(Palette::new(before.chain(listed.filter_map(true_colour))))
    }

    /// The colour of the pixel at `x` of a row.
    fn colour(&self, row: &[u8], x: usize, palette: &Palette) -> Option<[u8; 3]> {
        let bytes = usize::from(self.bits / 8);
        Some(match self.colours {
            TgaColours::Grey if self.bits == 1 => {
                [if row.get(x / 8)? << (x % 8) & 0x80 == 0 { 0 } else { 255 }; 3]
            }
            TgaColours::Grey => [*row.get(x * bytes)?; 3],
            TgaColours::Indexed => palette.colour(*row.get(x)?),
            TgaColours::True => true_colour(row.get(x * bytes..(x + 1) * bytes)?)?,
        })
    }
}

/// Of two bytes each channel has five bits; of more, a byte. Blue is first.
fn true_colour(pixel: &[u8]) -> Option<[u8; 3]> {
    Some(match *pixel {
        [low, high] => {
            let pixel = u16::from_le_bytes([low, high]);
            [10, 5, 0].map(|shift| ((pixel >> shift & 31) * 255 / 31) as u8)
        }
        [blue, green, red] | [blue, green, red, _] => [red, green, blue],
        _ => return None,
    })
}

/// Unpacks runs, which may go on in the next row.
fn unpack(packed: &[u8], pixel_bytes: usize, wanted: usize) -> Option<Vec<u8>> {
    let mut cursor = ByteCursor { rest: packed };
    let mut unpacked = Vec::new();
    while unpacked.len() < wanted {
        let head = cursor.u8()?;
        let pixels = usize::from(head & 0x7f) + 1;
        if head & 0x80 == 0 {
            // The last pixels may be missing where they are not wanted.
            let bytes = (pixels * pixel_bytes).min(wanted - unpacked.len());
            unpacked.extend_from_slice(cursor.take(bytes)?);
        } else {
            let pixel = cursor.take(pixel_bytes)?;
            (0..pixels).for_each(|_| unpacked.extend_from_slice(pixel));
        }
    }
    unpacked.truncate(wanted);
    Some(unpacked)
}
