//! A WebP → whether its pictures fit on its canvas, and what memory they take. image-webp decodes a lossy
//! picture of any size before it looks whether it does, and counts no memory.

mod lossless;

use crate::PixelsError;

/// Width and height.
type Size = (u32, u32);

/// Bytes before the first chunk.
const HEADER_BYTES: usize = 12;
/// Bytes of a picture of an animation before its chunks.
const PLACE_BYTES: usize = 16;

/// Memory for a pixel of a lossless picture, one of an animation, and any other, beside what is kept for
/// longer: samples, alpha before and after it is unpacked, frame and canvas.
const LOSSLESS_PIXEL_BYTES: u64 = 8;
const ANIMATED_PIXEL_BYTES: u64 = 15;
const PIXEL_BYTES: u64 = 11;

/// The memory that decoding takes, of which the picture is a part.
///
/// *Errors* when the codes of a lossless picture are damaged, or in disorder.
pub fn memory(bytes: &[u8], pixels: u64) -> Result<u64, PixelsError> {
    let damaged = || {
        PixelsError::Decode(
            "the WebP's lossless picture is damaged, cut short, or has codes in disorder; save it anew"
                .into(),
        )
    };
    let mut pixel_bytes = LOSSLESS_PIXEL_BYTES;
    let mut code_bytes = 0;
    for (name, body, size) in picture_chunks(bytes) {
        let codes = match (&name, body) {
            (b"VP8L", _) => lossless::code_bytes(body, None),
            (b"ALPH", [flags, packed @ ..]) if flags & 3 == 1 => lossless::code_bytes(packed, size),
            _ => Some(0),
        };
        code_bytes = code_bytes.max(codes.ok_or_else(damaged)?);
        pixel_bytes = pixel_bytes.max(match &name {
            b"ALPH" => PIXEL_BYTES,
            b"ANMF" => ANIMATED_PIXEL_BYTES,
            _ => 0,
        });
    }
    Ok(pixels.saturating_mul(pixel_bytes).saturating_add(code_bytes))
}

/// *Errors* when a lossy picture is larger than the canvas of its file.
pub fn check_pictures(bytes: &[u8]) -> Result<(), PixelsError> {
    let Some(canvas) = file_chunks(bytes).find_map(canvas) else { return Ok(()) };
    let mut sizes = picture_chunks(bytes).filter_map(|(name, body, _)| lossy(&name, body));
    match sizes.find(|size| size.0 > canvas.0 || size.1 > canvas.1) {
        Some((width, height)) => Err(PixelsError::Decode(format!(
            "a picture of {width} × {height} pixels, of another size than the {} × {} of the file",
            canvas.0, canvas.1
        ))),
        None => Ok(()),
    }
}

/// The chunks of the file, and after them those of the first picture if it is an animation, each with the size
/// that its picture is said to have, if any.
fn picture_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8], Option<Size>)> {
    let canvas = file_chunks(bytes).find_map(canvas);
    let outer = file_chunks(bytes).map(move |(name, body)| (name, body, canvas));
    let first = file_chunks(bytes).find(|(name, _)| name == b"ANMF");
    let inner = first.into_iter().flat_map(|(_, body)| {
        let said = size(body, 6);
        chunks(body.get(PLACE_BYTES..).unwrap_or_default()).map(move |(name, body)| (name, body, said))
    });
    outer.chain(inner)
}

/// The size that an extended header says.
fn canvas((name, body): ([u8; 4], &[u8])) -> Option<Size> {
    if name == *b"VP8X" { size(body, 4) } else { None }
}

/// The size that stands at a place, less one, in three bytes each.
fn size(bytes: &[u8], at: usize) -> Option<Size> {
    let [a, b, c, d, e, f] = *bytes.get(at..)?.first_chunk()?;
    Some((u32::from_le_bytes([a, b, c, 0]) + 1, u32::from_le_bytes([d, e, f, 0]) + 1))
}

/// The size of a lossy picture.
fn lossy(name: &[u8; 4], body: &[u8]) -> Option<Size> {
    let [_, _, _, _, _, _, a, b, c, d, ..] = *body else { return None };
    let size = [[a, b], [c, d]].map(|length| u32::from(u16::from_le_bytes(length) & 0x3fff));
    (name == b"VP8 ").then_some((size[0], size[1]))
}

/// Names and bodies of the chunks of a file, as of [`chunks`].
pub fn file_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> + Clone {
    chunks(bytes.get(HEADER_BYTES..).unwrap_or_default())
}

/// Names and bodies of chunks. The last may be cut short.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> + Clone {
    std::iter::from_fn(move || {
        let (&[n, a, m, e, w, x, y, z], after) = rest.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes([w, x, y, z]) as usize;
        let body = &after[..length.min(after.len())];
        rest = after.get(length.saturating_add(length % 2)..).unwrap_or_default();
        Some(([n, a, m, e], body))
    })
}
