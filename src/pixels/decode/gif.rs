//! A GIF → its first frame, on the canvas that Pillow lays it on.
//!
//! The canvas holds the screen and the frame, whichever is larger. Around the frame is the transparent
//! colour or, without one, colour 0; the background of the file is used by nobody. What stands between
//! blocks and is none is passed over.

use super::lzw::{self, Packing};
use super::{ByteCursor, Palette, check_size};
use crate::PixelsError;
use image::RgbImage;

/// Decodes the first frame.
///
/// *Errors* when there is none, it is not whole, or the canvas is too large.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let broken = |what: &str| PixelsError::Decode(what.into());
    let ends_early = || broken("the GIF ends before its first picture");
    let mut cursor = ByteCursor { rest: bytes };
    let screen = Screen::read(&mut cursor).ok_or_else(ends_early)?;
    let frame = Frame::find(&mut cursor, &screen).ok_or_else(ends_early)?;
    let (frame_width, frame_height) = (usize::from(frame.width), usize::from(frame.height));
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let width = (left + frame_width).max(screen.width.into());
    let height = (top + frame_height).max(screen.height.into());
    check_size(width as u64, height as u64)?;
    if !(2..=11).contains(&frame.code_bits) {
        return Err(broken("the GIF's codes have no valid width"));
    }
    let wanted = frame_width * frame_height;
    if wanted == 0 {
        return Err(broken("the GIF's first picture has no pixels"));
    }
    let indices = lzw::unpack(&frame.packed, Packing::Gif(frame.code_bits), wanted).map_err(broken)?;
    if indices.len() < wanted {
        return Err(broken("the GIF's first picture ends early"));
    }
    let around = frame.palette.colour(frame.transparent.unwrap_or(0));
    let mut canvas = RgbImage::from_pixel(width as u32, height as u32, image::Rgb(around));
    let rows = indices.chunks_exact(frame_width).zip(frame.row_order());
    for (row, y) in rows {
        let start = ((top + y) * width + left) * 3;
        let to = canvas.get_mut(start..).unwrap_or_default().as_chunks_mut().0;
        to.iter_mut().zip(row).for_each(|(to, index)| *to = frame.palette.colour(*index));
    }
    Ok(canvas)
}

/// What a GIF says before its first block.
struct Screen {
    width: u16,
    height: u16,
    palette: Option<Palette>,
}

impl Screen {
    fn read(cursor: &mut ByteCursor) -> Option<Self> {
        let _signature = cursor.take(6)?;
        let (width, height) = (cursor.u16()?, cursor.u16()?);
        let flags = cursor.u8()?;
        let _background_and_aspect = cursor.u16()?;
        Some(Self { width, height, palette: read_palette(cursor, flags)? })
    }
}

/// The palette that flags announce. The inner option is empty where they do not.
fn read_palette(cursor: &mut ByteCursor, flags: u8) -> Option<Option<Palette>> {
    if flags & 0x80 == 0 {
        return Some(None);
    }
    let colours = cursor.take(3 << ((flags & 7) + 1))?;
    Some(Some(Palette::new(colours.as_chunks().0.iter().copied())))
}

/// The first frame, still packed.
struct Frame {
    left: u16,
    top: u16,
    width: u16,
    height: u16,
    is_interlaced: bool,
    palette: Palette,
    transparent: Option<u8>,
    code_bits: u8,
    packed: Vec<u8>,
}

impl Frame {
    /// Looks for the first frame among the blocks.
    fn find(cursor: &mut ByteCursor, screen: &Screen) -> Option<Self> {
        let mut transparent = None;
        loop {
            match cursor.u8()? {
                b'!' => {
                    let label = cursor.u8()?;
                    let body = take_blocks(cursor);
                    if let (0xf9, &[flags, _, _, index, ..]) = (label, &body[..])
                        && flags & 1 != 0
                    {
                        transparent = Some(index);
                    }
                }
                b',' => return Self::read(cursor, screen, transparent),
                b';' => return None,
                _ => {}
            }
        }
    }

    fn read(cursor: &mut ByteCursor, screen: &Screen, transparent: Option<u8>) -> Option<Self> {
        let [left, top, width, height] = [cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?];
        let flags = cursor.u8()?;
        let palette = read_palette(cursor, flags)?.or_else(|| screen.palette.clone());
        let palette = palette.unwrap_or_else(Palette::grey);
        let code_bits = cursor.u8()?;
        let is_interlaced = flags & 0x40 != 0;
        let packed = take_blocks(cursor);
        Some(Self { left, top, width, height, is_interlaced, palette, transparent, code_bits, packed })
    }

    /// Which row each row of the file is.
    fn row_order(&self) -> Vec<usize> {
        let passes: &[_] = if self.is_interlaced { &[(0, 8), (4, 8), (2, 4), (1, 2)] } else { &[(0, 1)] };
        let height = usize::from(self.height);
        passes.iter().flat_map(|(first, step)| (*first..height).step_by(*step)).collect()
    }
}

/// Joins what is in blocks of up to 255 bytes, up to the empty one that ends them.
fn take_blocks(cursor: &mut ByteCursor) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(length @ 1..) = cursor.u8() {
        // The last block of a file that is cut is as long as the file has it.
        let length = usize::from(length).min(cursor.rest.len());
        joined.extend_from_slice(cursor.take(length).unwrap_or_default());
    }
    joined
}
