//! A BMP, of Windows or OS/2 → RGB, as Pillow reads it.
//!
//! The number of planes and the size of the file are not believed, since programs write what they like
//! there. Alpha is dropped.

use super::{ByteCursor, Palette, check_size, from_rows};
use crate::PixelsError;
use image::RgbImage;

/// The bytes before the header, which say where the pixels are.
const FILE_HEADER_BYTES: usize = 14;

/// Decodes a picture.
///
/// *Errors* when it is not whole, too large, or packed in a way that Pillow does not read either.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    BmpHeader::read(bytes)?.picture(bytes)
}

/// Whether these bytes begin like a BMP without the header of a file, as Windows keeps it in memory.
pub fn begins_bare(bytes: &[u8]) -> bool {
    matches!(bytes, [12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0, ..]) && BmpHeader::read_at(0, bytes).is_ok()
}

/// Decodes a BMP without the header of a file.
///
/// *Errors* as those of [`decode`].
pub fn decode_bare(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    BmpHeader::read_at(0, bytes)?.picture(bytes)
}

/// Decodes what an icon has instead of a file: no header of one, and below the picture a mask, which is
/// dropped like alpha.
///
/// *Errors* as those of [`decode`].
pub fn decode_in_icon(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    BmpHeader::read_in_icon(bytes)?.picture(bytes)
}

/// Decodes what a cursor has, which is what an icon has. In black and white, what is masked is black: some
/// of it only says where to invert the screen.
///
/// *Errors* as those of [`decode`].
pub fn decode_in_cursor(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let header = BmpHeader::read_in_icon(bytes)?;
    let mut picture = header.picture(bytes)?;
    if header.is_black_and_white() {
        let (width, height) = (header.width as usize, header.height as usize);
        let stride = width.div_ceil(32) * 4;
        let mask_at = header.pixels_at + stride * height;
        let mask = bytes.get(mask_at..mask_at + stride * height);
        let mask = mask.ok_or_else(|| PixelsError::Decode("the cursor's mask ends early".into()))?;
        for (row, mask) in picture.chunks_exact_mut(3 * width).rev().zip(mask.chunks_exact(stride)) {
            for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                if mask[x / 8] << (x % 8) & 0x80 != 0 {
                    *pixel = [0; 3];
                }
            }
        }
    }
    Ok(picture)
}

/// How indices are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BmpPacking {
    None,
    Rle8,
    Rle4,
}

/// What a pixel's bits are.
#[derive(Debug, Clone)]
enum BmpColours {
    Indexed(Box<Palette>),
    /// Where red, green and blue are.
    Masks([u32; 3]),
}

/// What stands before the pixels.
#[derive(Debug, Clone)]
struct BmpHeader {
    width: u32,
    height: u32,
    is_top_down: bool,
    bits: u16,
    packing: BmpPacking,
    colours: BmpColours,
    pixels_at: usize,
}

impl BmpHeader {
    /// *Errors* when it is cut short, or says what cannot be read.
    fn read(bytes: &[u8]) -> Result<Self, PixelsError> {
        let header = Self::read_at(FILE_HEADER_BYTES, bytes)?;
        let number =
            |at: usize| bytes.get(at..).and_then(|rest| ByteCursor { rest }.u32()).unwrap_or_default();
        // Some programs count the palette out.
        let before_palette = number(FILE_HEADER_BYTES).saturating_add(FILE_HEADER_BYTES as u32);
        Ok(match number(10) {
            0 => header,
            at if at == before_palette && header.bits <= 8 => header,
            at => Self { pixels_at: at as usize, ..header },
        })
    }

    /// Reads a header that counts the rows of a mask as well.
    fn read_in_icon(bytes: &[u8]) -> Result<Self, PixelsError> {
        let header = Self::read_at(0, bytes)?;
        Ok(Self { height: header.height / 2, ..header })
    }

    /// Reads the header that begins there; pixels are behind it and its palette.
    fn read_at(at: usize, bytes: &[u8]) -> Result<Self, PixelsError> {
        let ends_early = || PixelsError::Decode("the BMP's header is cut short".into());
        let unsupported = |what: String| Err(PixelsError::Decode(format!("{what} is not supported")));
        let mut cursor = ByteCursor { rest: bytes.get(at..).unwrap_or_default() };
        let header_bytes = cursor.u32().ok_or_else(ends_early)?;
        let body = header_bytes.checked_sub(4).and_then(|length| cursor.take(length as usize));
        let body = body.ok_or_else(ends_early)?;
        let is_first_os2 = header_bytes == 12;
        if !matches!(header_bytes, 12 | 40 | 52 | 56 | 64 | 108 | 124) {
            return unsupported(format!("BMP with a header of {header_bytes} bytes"));
        }
        let fields = if is_first_os2 { BmpFields::read_short(body) } else { BmpFields::read(body) };
        let BmpFields { width, height, bits, packing, colour_count } = fields.ok_or_else(ends_early)?;
        // Rows that run down have a height below 0, and one that is not too far below.
        let is_top_down = height >> 24 == 0xff;
        let height = if is_top_down { height.wrapping_neg() } else { height };
        if !matches!(bits, 1 | 4 | 8 | 16 | 24 | 32) {
            return unsupported(format!("BMP with {bits} bits a pixel"));
        }
        let (packing, has_masks) = match packing {
            0 => (BmpPacking::None, false),
            1 if bits <= 8 => (BmpPacking::Rle8, false),
            2 if bits <= 8 => (BmpPacking::Rle4, false),
            3 if bits > 8 => (BmpPacking::None, true),
            3 => return unsupported("BMP with Huffman compression".into()),
            4 => return unsupported("BMP with JPEG compression or runs of 24 bits".into()),
            5 => return unsupported("BMP with PNG compression".into()),
            other => return unsupported(format!("BMP with compression {other}")),
        };
        let colours = match bits {
            1 | 4 | 8 => {
                let colour_bytes = if is_first_os2 { 3 } else { 4 };
                let count = if colour_count == 0 { 1 << bits } else { colour_count as usize };
                let listed = count.saturating_mul(colour_bytes).min(cursor.rest.len());
                let listed = cursor.take(listed).unwrap_or_default().chunks_exact(colour_bytes);
                let rgb = listed.filter_map(|bgr| Some([*bgr.get(2)?, *bgr.get(1)?, *bgr.first()?]));
                BmpColours::Indexed(Box::new(Palette::new(rgb)))
            }
            _ if has_masks => {
                // Short headers have them behind, longer ones at their end.
                let mut masks = body.get(36..48).map_or(cursor, |rest| ByteCursor { rest });
                if header_bytes < 52 {
                    masks = cursor;
                    cursor.take(12);
                }
                let [r, g, b] =
                    [masks.u32(), masks.u32(), masks.u32()].map(|mask| mask.ok_or_else(ends_early));
                BmpColours::Masks([r?, g?, b?])
            }
            16 => BmpColours::Masks([0x7c00, 0x03e0, 0x001f]),
            _ => BmpColours::Masks(DEFAULT_MASKS),
        };
        let colours = match colours {
            BmpColours::Masks([0, 0, 0]) if bits == 32 => BmpColours::Masks(DEFAULT_MASKS),
            BmpColours::Masks(masks) if !masks.iter().all(|mask| is_contiguous(*mask)) => {
                return unsupported("BMP with colours in scattered bits".into());
            }
            colours => colours,
        };
        let pixels_at = bytes.len() - cursor.rest.len();
        Ok(Self { width, height, is_top_down, bits, packing, colours, pixels_at })
    }

    fn is_black_and_white(&self) -> bool {
        match &self.colours {
            BmpColours::Indexed(palette) => {
                self.bits == 1 && [palette.colour(0), palette.colour(1)] == [[0; 3], [255; 3]]
            }
            BmpColours::Masks(_) => false,
        }
    }

    /// Reads the pixels.
    fn picture(&self, bytes: &[u8]) -> Result<RgbImage, PixelsError> {
        let ends_early = || PixelsError::Decode("the BMP's pixels end early".into());
        check_size(self.width.into(), self.height.into())?;
        let (width, height) = (self.width as usize, self.height as usize);
        let packed = bytes.get(self.pixels_at..).unwrap_or_default();
        let order = |row: usize| if self.is_top_down { row } else { height - 1 - row };
        let unpacked;
        let (rows, row_bits, stride) = match self.packing {
            BmpPacking::None => {
                let row_bits = width * usize::from(self.bits);
                (packed, row_bits, row_bits.div_ceil(32) * 4)
            }
            BmpPacking::Rle8 | BmpPacking::Rle4 => {
                unpacked = unpack_runs(packed, width, height, self.packing).ok_or_else(ends_early)?;
                (&unpacked[..], width * 8, width)
            }
        };
        from_rows(self.width, self.height, |row, to| {
            let start = order(row) * stride;
            // Only the last row may lack the bytes that fill it up.
            let from = rows.get(start..start + row_bits.div_ceil(8))?;
            self.colours.convert(from, row_bits / width, to);
            Some(())
        })
        .ok_or_else(ends_early)
    }
}

/// Blue is first, then green and red.
const DEFAULT_MASKS: [u32; 3] = [0xff_0000, 0xff00, 0xff];

/// The fields of a header.
struct BmpFields {
    width: u32,
    height: u32,
    bits: u16,
    packing: u32,
    /// 0: as many as there are indices.
    colour_count: u32,
}

impl BmpFields {
    /// Those of the first OS/2.
    fn read_short(body: &[u8]) -> Option<Self> {
        let mut cursor = ByteCursor { rest: body };
        let (width, height, _planes) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
        let bits = cursor.u16()?;
        Some(Self { width: width.into(), height: height.into(), bits, packing: 0, colour_count: 0 })
    }

    fn read(body: &[u8]) -> Option<Self> {
        let mut cursor = ByteCursor { rest: body };
        let (width, height, _planes) = (cursor.u32()?, cursor.u32()?, cursor.u16()?);
        let (bits, packing) = (cursor.u16()?, cursor.u32()?);
        let _image_size_and_resolution = cursor.take(12)?;
        Some(Self { width, height, bits, packing, colour_count: cursor.u32()? })
    }
}

fn is_contiguous(mask: u32) -> bool {
    mask != 0 && {
        let low = mask >> mask.trailing_zeros();
        low & low.wrapping_add(1) == 0
    }
}

impl BmpColours {
    /// Converts a row of pixels of that many bits.
    fn convert(&self, from: &[u8], bits: usize, to: &mut [u8]) {
        let to = to.as_chunks_mut::<3>().0;
        match self {
            Self::Indexed(palette) => {
                for (i, to) in to.iter_mut().enumerate() {
                    let byte = from.get(i * bits / 8).copied().unwrap_or_default();
                    let index = byte << (i * bits % 8) >> (8 - bits);
                    *to = palette.colour(index);
                }
            }
            Self::Masks(masks) => {
                for (to, pixel) in to.iter_mut().zip(from.chunks_exact(bits / 8)) {
                    let pixel = pixel.iter().rev().fold(0, |pixel, byte| pixel << 8 | u32::from(*byte));
                    *to = masks.map(|mask| level(pixel, mask));
                }
            }
        }
    }
}

/// What is under a mask, brought to 0–255.
fn level(pixel: u32, mask: u32) -> u8 {
    let shift = mask.trailing_zeros();
    let (value, max) = (u64::from((pixel & mask) >> shift), u64::from(mask >> shift));
    (value * 255 / max) as u8
}

/// Unpacks runs to an index a byte. A run that is too long for its row is cut; a jump leaves index 0.
fn unpack_runs(packed: &[u8], width: usize, height: usize, packing: BmpPacking) -> Option<Vec<u8>> {
    let (mut cursor, wanted) = (ByteCursor { rest: packed }, width * height);
    let mut indices: Vec<u8> = Vec::new();
    // How far the row is, which may be farther than it is wide.
    let mut x = 0;
    let halves = |byte: u8| [byte >> 4, byte & 15];
    while indices.len() < wanted {
        match (cursor.u8()?, cursor.u8()?) {
            (0, 0) => {
                let is_new = indices.len().is_multiple_of(width) && x > 0;
                if !is_new {
                    indices.resize((indices.len() / width + 1) * width, 0);
                }
                x = 0;
            }
            (0, 1) => return None,
            (0, 2) => {
                let (right, down) = (usize::from(cursor.u8()?), usize::from(cursor.u8()?));
                indices.resize((indices.len() + right + down * width).min(wanted), 0);
                x = indices.len() % width;
            }
            (0, count) => {
                let count = usize::from(count);
                if packing == BmpPacking::Rle4 {
                    let bytes = cursor.take(count.div_ceil(2))?;
                    indices.extend(bytes.iter().flat_map(|byte| halves(*byte)).take(count));
                } else {
                    indices.extend_from_slice(cursor.take(count)?);
                }
                x += count;
                // Runs are filled up to two bytes.
                if (packed.len() - cursor.rest.len()) % 2 == 1 {
                    cursor.u8();
                }
            }
            (count, value) => {
                let count = usize::from(count).min(width.saturating_sub(x));
                let [first, second] = if packing == BmpPacking::Rle4 { halves(value) } else { [value; 2] };
                indices.extend((0..count).map(|i| if i % 2 == 0 { first } else { second }));
                x += count;
            }
        }
    }
    indices.truncate(wanted);
    Some(indices)
}
