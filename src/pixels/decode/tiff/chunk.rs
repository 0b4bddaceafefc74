//! Packed chunks → their samples, row by row, in the file's order of bytes.

use super::directory::ByteOrder;
use super::layout::{Predictor, TiffLayout, TiffPacking};
use super::{broken, fax, ycbcr};
use crate::PixelsError;
use crate::decode::jpeg;
use crate::decode::lzw::{self, Packing};
use flate2::read::ZlibDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use std::io::{ErrorKind, Read};

const ENDS_EARLY: &str = "the TIFF's pixels end early";
/// The most memory for unpacking LZMA: twice what its own program asks for at most.
const MAX_LZMA_KIB: u32 = 128 << 10;

/// Unpacks the chunk of this number, with that many rows.
///
/// *Errors* when the file does not have it, or not whole.
pub fn read_chunk(
    file: &[u8],
    layout: &TiffLayout,
    number: usize,
    rows: usize,
) -> Result<Vec<u8>, PixelsError> {
    let packed = packed_chunk(file, layout, number).ok_or_else(|| broken(ENDS_EARLY))?;
    if layout.packing == TiffPacking::Jpeg {
        return unpack_jpeg(packed, layout, rows);
    }
    let wanted = layout.row_bytes() * rows;
    let (across, down) = layout.chunk_subsampling(number, wanted);
    let blocks = ycbcr::Blocks { across, down, width: layout.chunk_width, rows };
    let is_spread = (across, down) != (1, 1);
    let wanted = if is_spread { blocks.bytes() } else { wanted };
    let mut unpacked = if layout.is_bit_reversed {
        let reversed: Vec<u8> = packed.iter().map(|byte| byte.reverse_bits()).collect();
        unpack(&reversed, layout, rows, wanted)?
    } else {
        unpack(packed, layout, rows, wanted)?
    };
    if unpacked.len() < wanted {
        return Err(broken(ENDS_EARLY));
    }
    unpacked.truncate(wanted);
    if is_spread {
        return Ok(blocks.spread(&unpacked));
    }
    for row in unpacked.chunks_exact_mut(layout.row_bytes()) {
        match layout.predictor {
            Predictor::None => {}
            Predictor::Difference => undo_differences(row, layout),
            Predictor::Float => undo_float_differences(row, layout),
        }
    }
    Ok(unpacked)
}

/// The packed bytes of a chunk. Where their number is not told, they may go on to the end of the file.
fn packed_chunk<'a>(file: &'a [u8], layout: &TiffLayout, number: usize) -> Option<&'a [u8]> {
    let rest = file.get(usize::try_from(layout.offsets.whole(number)?).ok()?..)?;
    match layout.byte_count(number) {
        // Of pixels that are not packed the number is known, and what a program tells may be wrong.
        Some(count) if layout.packing != TiffPacking::None => rest.get(..count.min(rest.len())),
        _ => Some(rest),
    }
}

/// Unpacks until there are `wanted` bytes, or no more.
fn unpack(packed: &[u8], layout: &TiffLayout, rows: usize, wanted: usize) -> Result<Vec<u8>, PixelsError> {
    match layout.packing {
        TiffPacking::None => Ok(packed.get(..wanted).unwrap_or_default().to_vec()),
        TiffPacking::Fax(scheme) => fax::unpack(packed, scheme, layout.chunk_width, rows).map_err(broken),
        // An early version of LZW, which packed as GIF does.
        TiffPacking::Lzw if matches!(packed, [0, second, ..] if second & 1 == 1) => {
            lzw::unpack(packed, Packing::Gif(8), wanted).map_err(broken)
        }
        TiffPacking::Lzw => lzw::unpack(packed, Packing::Tiff, wanted).map_err(broken),
        TiffPacking::Deflate => read_from(ZlibDecoder::new(packed), wanted),
        TiffPacking::PackBits => Ok(unpack_bits(packed, wanted)),
        TiffPacking::Lzma => read_from(XzReader::new_mem_limit(packed, false, MAX_LZMA_KIB), wanted),
        TiffPacking::Zstandard => {
            let decoder = StreamingDecoder::new(packed);
            read_from(decoder.map_err(|error| damaged(&error.to_string()))?, wanted)
        }
        TiffPacking::Jpeg => unpack_jpeg(packed, layout, rows),
    }
}

fn read_from(reader: impl Read, wanted: usize) -> Result<Vec<u8>, PixelsError> {
    let mut unpacked = Vec::with_capacity(wanted);
    // What comes after the pixels, a checksum for example, does not matter.
    match reader.take(wanted as u64).read_to_end(&mut unpacked) {
        Err(error) if error.kind() == ErrorKind::OutOfMemory => {
            Err(PixelsError::Limit("the TIFF's LZMA needs too much memory; save the image anew".into()))
        }
        Err(error) if unpacked.len() < wanted => Err(damaged(&error.to_string())),
        _ => Ok(unpacked),
    }
}

fn damaged(error: &str) -> PixelsError {
    broken(&format!("the TIFF's pixels are damaged: {error}"))
}

/// Bytes that are told to be repeated, or to be taken as they are.
fn unpack_bits(mut packed: &[u8], wanted: usize) -> Vec<u8> {
    let mut unpacked = Vec::new();
    while let [control, rest @ ..] = packed
        && unpacked.len() < wanted
    {
        packed = match usize::from(*control) {
            128 => rest,
            repeats @ 129.. => {
                let Some((byte, rest)) = rest.split_first() else { break };
                unpacked.extend(std::iter::repeat_n(*byte, 257 - repeats));
                rest
            }
            last => {
                let (bytes, rest) = rest.split_at(rest.len().min(last + 1));
                unpacked.extend_from_slice(bytes);
                rest
            }
        };
    }
    unpacked
}

/// Decodes a JPEG to samples. Colours of YCbCr become RGB if they are together.
fn unpack_jpeg(packed: &[u8], layout: &TiffLayout, rows: usize) -> Result<Vec<u8>, PixelsError> {
    let mut decoded =
        jpeg::decode_part(packed, layout.jpeg_tables, layout.jpeg_colours, layout.max_jpeg_pixels())?;
    let (width, height) = (decoded.width as usize, decoded.height as usize);
    if width != layout.chunk_width || height < rows || decoded.channels != layout.chunk_samples() {
        return Err(broken("a JPEG in the TIFF is not of the size that the TIFF tells"));
    }
    decoded.levels.truncate(layout.row_bytes() * rows);
    Ok(decoded.levels)
}

/// Adds to each sample the one to its left.
fn undo_differences(row: &mut [u8], layout: &TiffLayout) {
    fn sum<const BYTES: usize>(
        row: &mut [u8],
        samples: usize,
        add: impl Fn([u8; BYTES], [u8; BYTES]) -> [u8; BYTES],
    ) {
        let row = row.as_chunks_mut::<BYTES>().0;
        for i in samples..row.len() {
            row[i] = add(row[i - samples], row[i]);
        }
    }
    let samples = layout.chunk_samples();
    match (layout.sample.bits(), layout.order) {
        (8, _) => sum(row, samples, |[a], [b]| [a.wrapping_add(b)]),
        (16, ByteOrder::Little) => {
            sum(row, samples, |a, b| u16::from_le_bytes(a).wrapping_add(u16::from_le_bytes(b)).to_le_bytes());
        }
        (16, ByteOrder::Big) => {
            sum(row, samples, |a, b| u16::from_be_bytes(a).wrapping_add(u16::from_be_bytes(b)).to_be_bytes());
        }
        (_, ByteOrder::Little) => {
            sum(row, samples, |a, b| u32::from_le_bytes(a).wrapping_add(u32::from_le_bytes(b)).to_le_bytes());
        }
        (_, ByteOrder::Big) => {
            sum(row, samples, |a, b| u32::from_be_bytes(a).wrapping_add(u32::from_be_bytes(b)).to_be_bytes());
        }
    }
}

/// Adds to each byte the one to its left, and puts the bytes of each number together.
fn undo_float_differences(row: &mut [u8], layout: &TiffLayout) {
    let samples = layout.chunk_samples();
    for i in samples..row.len() {
        row[i] = row[i].wrapping_add(row[i - samples]);
    }
    let planes = row.to_vec();
    let count = row.len() / 4;
    for (i, number) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *number = std::array::from_fn(|plane| planes[plane * count + i]);
        if layout.order == ByteOrder::Little {
            number.reverse();
        }
    }
}
